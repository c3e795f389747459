"""Member sites on a real API server: what a member may do with its own token, tried; joining, renewing, revoking."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from littoral.api.assignment import Assignment
from littoral.cluster import hub_access
from littoral.cluster.client import ApiError, Client
from littoral.cluster.hub_access import HubAccess, Pace
from littoral.cluster.informer import Informer
from littoral.cluster.inviting import invite, revoke
from littoral.cluster.membership import HUB_SECRET, Credentials, join_secret_name, member_name
from littoral.cluster.resources import (
    ASSIGNMENTS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    LATENCY_SLOS,
    LEASES,
    MODELS,
    NODE_POOLS,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    Resource,
)
from littoral.hub.members import Members
from tests.cluster.api_server import ApiServer, cluster_of, until

Job = TypeVar("Job", HubAccess, Informer[str | None])

QUICK = Pace(look=0.2, retry_first=0.05, retry_most=0.2)
ADMIN = "littoral-tests"


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A hub, and a site beside it: two namespaces of one cluster, and a member with a name of its own."""

    admin: Client
    server: str
    ca: str
    namespace: str
    site: str
    member: str

    async def invite(self, member: str | None = None) -> Credentials:
        """A join token."""
        made = await invite(
            self.admin,
            member or self.member,
            namespace=self.namespace,
            server=self.server,
            ca=self.ca,
            valid=3600,
        )
        return made.credentials

    async def join(self, credentials: Credentials) -> None:
        """What `littoral join` writes."""
        await self.admin.apply(credentials.to_secret(namespace=self.site), manager="littoral-join")

    async def secret(self) -> Credentials:
        """What the site keeps of its hub."""
        body = await self.admin.get(SECRETS, namespace=self.site, name=HUB_SECRET)
        assert body is not None
        return Credentials.from_secret(body)

    async def tell(self, *names: str, others: Sequence[str] = ()) -> None:
        """What the hub's operator does when these are the Assignments of the member, and of the other one."""
        assignments = [_assignment(name, member=self.member) for name in names]
        assignments += [_assignment(name, member=_other(self)) for name in others]
        members = Members(self.admin, namespace=self.namespace, manager=ADMIN, on_change=lambda: None)
        async with running(members.informer):
            await until(lambda: members.informer.synced, what="the Leases are known")
            assert await members.write(assignments)

    def as_site(self, credentials: Credentials) -> Client:
        """The hub as the holder of these credentials sees it."""
        return Client.at(credentials.server, ca=credentials.ca, token=credentials.token)

    async def accepts(self, credentials: Credentials) -> bool:
        """Whether the hub knows the holder of this token."""
        async with self.as_site(credentials) as client:
            lease = client.get(LEASES, namespace=self.namespace, name=member_name(credentials.member))
            status = await _status_of(lease)
            assert status in (200, 401)
            return status == 200

    def access(self, client: Client | None = None, *, pace: Pace = QUICK) -> HubAccess:
        """What the site's operator has."""
        return HubAccess(client or self.admin, namespace=self.site, member=self.member, pace=pace)


ANNOTATION = "littoral.dev/assignments"


@pytest.fixture
async def hub(api: ApiServer, kubeconfig: Path) -> AsyncIterator[Hub]:
    cluster = cluster_of(kubeconfig)
    ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
    name = uuid4().hex[:8]
    for part in ("hub", "site"):
        api.request("POST", "/api/v1/namespaces", {"metadata": {"name": f"{part}-{name}"}}).granted()
    async with await Client.connect(kubeconfig=str(kubeconfig)) as admin:
        made = Hub(
            admin=admin,
            server=cluster["server"],
            ca=ca,
            namespace=f"hub-{name}",
            site=f"site-{name}",
            member=f"m-{name}",
        )
        yield made
        for member in (made.member, _other(made)):
            await revoke(admin, member, namespace=made.namespace)
            await admin.delete(CLUSTER_ROLES, name=member_name(member))
        for assignment in (name, f"other-{name}"):
            await admin.delete(ASSIGNMENTS, name=assignment)
    for part in ("hub", "site"):
        api.delete(f"/api/v1/namespaces/{part}-{name}/secrets/{HUB_SECRET}")
        api.delete(f"/api/v1/namespaces/{part}-{name}")


def _other(hub: Hub) -> str:
    return f"{hub.member}-other"


def _assignment(name: str, *, member: str) -> Assignment:
    spec = {"tier": "edge", "member": member, "nodeSelector": {"matchLabels": {"littoral.dev/pool": name}}}
    return Assignment.parse(
        {"apiVersion": "littoral.dev/v1alpha1", "kind": "Assignment", "metadata": {"name": name}, "spec": spec}
    )


@asynccontextmanager
async def running(job: Job) -> AsyncIterator[Job]:
    """The task, as the operator runs it."""
    task = asyncio.create_task(job.run())
    try:
        yield job
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def joined(hub: Hub) -> Credentials:
    """The member's own credentials, after it has joined."""
    await hub.join(await hub.invite())
    async with running(hub.access()) as access:
        await until(lambda: access.client is not None and not access.problem, what="the site has joined")
    return await hub.secret()


async def _allowed(client: Client, name: str) -> None:
    """The API server learns of a changed role some moments later."""

    async def allowed() -> bool:
        return await _status_of(client.get(ASSIGNMENTS, name=name)) == 200

    await until(allowed, what=f"the member may read the Assignment {name}")


async def _status_of(request: Coroutine[Any, Any, Any]) -> int:
    try:
        await request
    except ApiError as error:
        return error.status
    return 200


# Joining.


async def test_a_site_joins_and_keeps_a_token_of_its_own(hub: Hub) -> None:
    invitation = await hub.invite()
    own = await joined(hub)
    assert own.secret == ""
    assert own.token != invitation.token
    assert (own.server, own.namespace, own.member) == (hub.server, hub.namespace, hub.member)
    assert await hub.accepts(own)


async def test_a_join_token_is_void_after_its_use(hub: Hub) -> None:
    invitation = await hub.invite()
    await hub.join(invitation)
    assert await hub.accepts(invitation)
    async with running(hub.access()) as access:
        await until(lambda: access.client is not None, what="the site has joined")
    assert await hub.admin.get(SECRETS, namespace=hub.namespace, name=join_secret_name(hub.member)) is None

    async def refused() -> bool:  # The API server remembers for 10 s that a token was good.
        return not await hub.accepts(invitation)

    await until(refused, what="the join token is refused")


async def test_a_join_token_is_void_after_another_invitation(hub: Hub) -> None:
    first, second = await hub.invite(), await hub.invite()
    assert not await hub.accepts(first)
    assert await hub.accepts(second)


async def test_without_a_secret_the_site_says_how_to_join_and_then_joins(hub: Hub) -> None:
    async with running(hub.access()) as access:
        await until(lambda: "littoral invite" in access.problem, what="it says how to join")
        assert access.client is None
        await hub.join(await hub.invite())
        await until(lambda: access.client is not None, what="the site has joined")
        assert access.problem == ""
        assert access.namespace == hub.namespace


class Crash(BaseException):
    """The process dies here."""


STEPS = ("token asked for", "token written", "invitation ended", "all done")


@pytest.mark.parametrize("crash", range(len(STEPS)), ids=STEPS)
async def test_a_crash_in_the_middle_of_joining_is_harmless(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, crash: int
) -> None:
    invitation = await hub.invite()
    await hub.join(invitation)
    async with await _crashing(hub, monkeypatch, crash) as dying:
        with pytest.raises(Crash):
            await hub.access(dying).run()
    monkeypatch.undo()
    async with running(hub.access()) as access:
        await until(lambda: access.client is not None, what="the next process has joined")
        own = await hub.secret()
        assert own.secret == ""
        assert own.token != invitation.token
        assert await hub.accepts(own)
    assert await hub.admin.get(SECRETS, namespace=hub.namespace, name=join_secret_name(hub.member)) is None


async def _crashing(hub: Hub, monkeypatch: pytest.MonkeyPatch, crash: int) -> Client:
    """A client of the site's cluster; the process dies right after that step of the exchange."""
    count = iter(range(len(STEPS)))

    def dying(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*args: Any, **more: Any) -> Any:
            answer = await function(*args, **more)
            if next(count) == crash:
                raise Crash
            return answer

        return call

    client = Client.at(hub.server, ca=hub.ca, token=await _admin_token(hub))
    monkeypatch.setattr(hub_access, "request_token", dying(hub_access.request_token))
    monkeypatch.setattr(hub_access, "end_invitation", dying(hub_access.end_invitation))
    monkeypatch.setattr(client, "patch", dying(client.patch))
    return client


async def _admin_token(hub: Hub) -> str:
    """A token that may do with the site's Secret what the operator may."""
    for body in (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator", "namespace": hub.site}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "operator", "namespace": hub.site},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["secrets"],
                    "resourceNames": [HUB_SECRET],
                    "verbs": ["get", "list", "watch", "patch"],
                }
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "operator", "namespace": hub.site},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": hub.site}],
        },
    ):
        await hub.admin.apply(body, manager=ADMIN)
    answer = await hub.admin.create(
        SERVICE_ACCOUNTS, {"spec": {}}, namespace=hub.site, name="operator", subresource="token"
    )
    return str(answer["status"]["token"])


async def test_two_replicas_join_together(hub: Hub) -> None:
    async with running(hub.access()) as one, running(hub.access()) as two:
        await hub.join(await hub.invite())
        await until(lambda: None not in (one.client, two.client), what="both have joined")
        await until(lambda: not one.problem + two.problem, what="both are content")
        assert await hub.accepts(await hub.secret())


# Renewing.


async def test_renewing_gives_a_new_token_that_works(hub: Hub) -> None:
    before = await joined(hub)

    async def renewed() -> bool:
        return (await hub.secret()).token != before.token

    async with running(hub.access(pace=Pace(renew=1.0, look=0.2))) as access:
        await until(lambda: access.client is not None, what="it goes on as a member")
        client = access.client
        await until(renewed, what="the token was renewed")
        assert access.client is client
        assert client is not None
        assert await client.get(LEASES, namespace=hub.namespace, name=member_name(hub.member))
    assert await hub.accepts(await hub.secret())


async def test_a_renewal_that_fails_is_tried_again_and_ends_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await joined(hub)
    failures = [ApiError(status=500, reason="InternalError", message="no tokens today"), TimeoutError("no answer")]
    request_token = hub_access.request_token

    async def failing(*args: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return await request_token(*args, **more)

    monkeypatch.setattr(hub_access, "request_token", failing)

    async def renewed() -> bool:
        return (await hub.secret()).token != before.token

    said: list[str] = []
    access = HubAccess(
        hub.admin,
        namespace=hub.site,
        member=hub.member,
        pace=Pace(renew=0.0, look=0.2, retry_first=0.05),
        on_change=lambda: said.append(access.problem),
    )
    async with running(access):
        await until(renewed, what="the token was renewed after all")
        await until(lambda: not access.problem, what="nothing is wrong any more")
    assert any("answers 500: no tokens today" in problem for problem in said)
    assert any("cannot be reached: no answer" in problem for problem in said)


async def test_a_restart_does_not_renew_a_fresh_token(hub: Hub) -> None:
    before = await joined(hub)
    async with running(hub.access()) as access:
        await until(lambda: access.client is not None and not access.problem, what="it goes on as a member")
    assert (await hub.secret()).token == before.token


async def test_a_watch_outlives_a_renewal(hub: Hub) -> None:
    own = await joined(hub)
    name = hub.member[2:]
    await hub.admin.apply(_assignment(name, member=hub.member).dump(), manager=ADMIN)
    await hub.tell(name)
    async with hub.as_site(own) as client:
        await _allowed(client, name)
        _, version = await client.list(ASSIGNMENTS, field_selector=f"metadata.name={name}")
        events = client.watch(ASSIGNMENTS, resource_version=version, field_selector=f"metadata.name={name}")
        for value in ("before", "after"):
            body = _assignment(name, member=hub.member).dump() | {"metadata": {"name": name, "labels": {"is": value}}}
            await hub.admin.apply(body, manager=ADMIN)
            kind, seen = await asyncio.wait_for(anext(events), timeout=30)
            assert (kind, seen["metadata"]["labels"]) == ("MODIFIED", {"is": value})
            client.use_token("no longer a token")
        assert await _status_of(client.get(ASSIGNMENTS, name=name)) == 401


# The end of access.


async def test_revoked_access_says_so_and_a_new_join_mends_it_without_a_restart(hub: Hub) -> None:
    await joined(hub)
    async with running(hub.access()) as access:
        await until(lambda: access.client is not None, what="it goes on as a member")
        client = access.client
        gone = await revoke(hub.admin, hub.member, namespace=hub.namespace)
        assert f"serviceaccount/{member_name(hub.member)}" in gone
        await until(lambda: "was revoked" in access.problem, what="it says that it was revoked")
        assert f"littoral invite {hub.member}" in access.problem
        assert "littoral join" in access.problem
        await hub.join(await hub.invite())
        await until(lambda: not access.problem, what="it has joined again")
        assert access.client is client


async def test_a_hub_that_is_away_is_no_reason_to_lose_anything(hub: Hub) -> None:
    own = await joined(hub)
    away = Credentials(**{**own.__dict__, "server": "https://127.0.0.1:9"})
    await hub.join(away)
    async with running(hub.access()) as access:
        await until(lambda: "cannot be reached" in access.problem, what="it says that the hub is away")
        client = access.client
        assert client is not None
        await hub.join(own)
        await until(lambda: not access.problem, what="the hub is back")
        assert access.client is client
        assert await client.get(LEASES, namespace=hub.namespace, name=member_name(hub.member))


async def test_a_secret_of_another_member_is_not_used(hub: Hub) -> None:
    await hub.join(await hub.invite(_other(hub)))
    async with running(hub.access()) as access:
        await until(lambda: f"is for member {_other(hub)}" in access.problem, what="it says whose Secret it is")
        assert access.client is None


async def test_a_bad_invitation_does_not_end_what_works(hub: Hub) -> None:
    await joined(hub)
    async with running(hub.access()) as access:
        await until(lambda: access.client is not None, what="it goes on as a member")
        used, _ = await hub.invite(), await hub.invite()
        await hub.join(used)
        await until(lambda: "does not accept" in access.problem, what="the void invitation is refused")
        assert access.client is not None
        assert await access.client.get(LEASES, namespace=hub.namespace, name=member_name(hub.member))


# Least rights, by trying.


async def test_a_member_reads_its_assignment_and_reports_on_it(hub: Hub) -> None:
    own = await joined(hub)
    name = hub.member[2:]
    await hub.admin.apply(_assignment(name, member=hub.member).dump(), manager=ADMIN)
    await hub.tell(name)
    lease = await hub.admin.get(LEASES, namespace=hub.namespace, name=member_name(hub.member))
    assert lease is not None
    assert lease["metadata"]["annotations"][ANNOTATION] == name
    async with hub.as_site(own) as client:
        await _allowed(client, name)
        items, _ = await client.list(ASSIGNMENTS, field_selector=f"metadata.name={name}")
        assert [item["metadata"]["name"] for item in items] == [name]
        status = {
            "apiVersion": "littoral.dev/v1alpha1",
            "kind": "Assignment",
            "metadata": {"name": name},
            "status": {"observedGeneration": 1},
        }
        written = await client.apply(status, manager="littoral-uplink", subresource="status")
        assert written["status"]["observedGeneration"] == 1
        assert await client.get(LEASES, namespace=hub.namespace, name=member_name(hub.member))
        beat = {"spec": {"holderIdentity": "one", "renewTime": "2026-11-28T12:00:00.000000Z"}}
        assert await client.patch(
            LEASES, beat, namespace=hub.namespace, name=member_name(hub.member), manager="littoral-uplink"
        )


async def test_who_is_invited_later_is_told_then(hub: Hub) -> None:
    name, woken = hub.member[2:], asyncio.Event()
    members = Members(hub.admin, namespace=hub.namespace, manager=ADMIN, on_change=woken.set)
    async with running(members.informer):
        await asyncio.wait_for(woken.wait(), timeout=30)
        assert await members.write([_assignment(name, member=hub.member)])
        woken.clear()
        await hub.invite()
        await asyncio.wait_for(woken.wait(), timeout=30)
        assert await members.write([_assignment(name, member=hub.member)])
    lease = await hub.admin.get(LEASES, namespace=hub.namespace, name=member_name(hub.member))
    assert lease is not None
    assert lease["metadata"]["annotations"][ANNOTATION] == name


async def test_everything_else_is_forbidden(hub: Hub) -> None:
    own, name, other = await joined(hub), hub.member[2:], f"other-{hub.member[2:]}"
    await hub.invite(_other(hub))
    await hub.admin.apply(_assignment(name, member=hub.member).dump(), manager=ADMIN)
    await hub.admin.apply(_assignment(other, member=_other(hub)).dump(), manager=ADMIN)
    await hub.tell(name, others=[other])
    async with hub.as_site(own) as client:
        await _allowed(client, name)
        refused = {case: await _status_of(request) for case, request in _not_allowed(hub, client, name, other).items()}
    assert {case: status for case, status in refused.items() if status != 403} == {}
    assert len(refused) > 40


def _not_allowed(hub: Hub, client: Client, name: str, other: str) -> dict[str, Coroutine[Any, Any, Any]]:
    mine, theirs = member_name(hub.member), member_name(_other(hub))
    spec = _assignment(name, member=hub.member).dump()
    label = {"metadata": {"labels": {"a": "b"}}}
    token = {"spec": {}}
    own = hub.namespace
    cases: dict[str, Coroutine[Any, Any, Any]] = {
        "another's Assignment": client.get(ASSIGNMENTS, name=other),
        "another's Assignment, listed": client.list(ASSIGNMENTS, field_selector=f"metadata.name={other}"),
        "all Assignments": client.list(ASSIGNMENTS),
        "another's status": client.patch(ASSIGNMENTS, label, name=other, subresource="status", manager="m"),
        "its own spec, applied": client.apply(spec, manager="m"),
        "its own spec, patched": client.patch(ASSIGNMENTS, label, name=name, manager="m"),
        "its own Assignment, deleted": client.delete(ASSIGNMENTS, name=name),
        "a new Assignment": client.create(ASSIGNMENTS, _assignment("new", member=hub.member).dump()),
        "another's Lease": client.get(LEASES, namespace=own, name=theirs),
        "another's heartbeat": client.patch(LEASES, label, namespace=own, name=theirs, manager="m"),
        "all Leases": client.list(LEASES, namespace=own),
        "its own Lease, deleted": client.delete(LEASES, namespace=own, name=mine),
        "another's token": client.create(SERVICE_ACCOUNTS, token, namespace=own, name=theirs, subresource="token"),
        "the default token": client.create(SERVICE_ACCOUNTS, token, namespace=own, name="default", subresource="token"),
        "its own ServiceAccount": client.get(SERVICE_ACCOUNTS, namespace=own, name=mine),
        "its own invitation, read": client.get(SECRETS, namespace=own, name=join_secret_name(hub.member)),
        "another's invitation": client.delete(SECRETS, namespace=own, name=join_secret_name(_other(hub))),
        "its own ClusterRole": client.get(CLUSTER_ROLES, name=mine),
        "its own ClusterRole, patched": client.patch(CLUSTER_ROLES, label, name=mine, manager="m"),
    }

    def everywhere(resource: Resource) -> None:
        where = own if resource.namespaced else None
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "x"}}
        cases[f"list {resource.plural}"] = client.list(resource)
        cases[f"get {resource.plural}"] = client.get(resource, namespace=where, name="x")
        cases[f"create {resource.plural}"] = client.create(resource, body, namespace=where)
        cases[f"delete {resource.plural}"] = client.delete(resource, namespace=where, name="x")

    for resource in (MODELS, LATENCY_SLOS, NODE_POOLS, NODES, PODS, SECRETS, CONFIG_MAPS, DEPLOYMENTS):
        everywhere(resource)
    return cases


async def test_a_member_whose_last_assignment_is_gone_may_read_none(hub: Hub) -> None:
    own, name = await joined(hub), hub.member[2:]
    await hub.admin.apply(_assignment(name, member=hub.member).dump(), manager=ADMIN)
    await hub.tell(name)
    await hub.tell()
    lease = await hub.admin.get(LEASES, namespace=hub.namespace, name=member_name(hub.member))
    assert lease is not None
    assert lease["metadata"]["annotations"][ANNOTATION] == ""
    async with hub.as_site(own) as client:

        async def forbidden() -> bool:
            return await _status_of(client.get(ASSIGNMENTS, name=name)) == 403

        await until(forbidden, what="the right is gone")
