"""Certificates in Assignments: made once, kept while they are good, renewed in time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from cryptography import x509

from littoral.api.assignment import Assignment, AssignmentSpec
from littoral.cluster.client import ApiError, Client
from littoral.cluster.events import EventRecorder
from littoral.hub.authority import AUTHORITY, GatewayAuthority, talking
from littoral.hub.authority_signing import AUTHORITY_LIFETIME, LIFETIME
from littoral.site import gateway_keys

START = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ADDRESS = {"address": "gateway.example:8443"}
EDGE, CLOUD = gateway_keys.create("edge"), gateway_keys.create("cloud")


class Cluster:
    """The part of a client that keeps Secrets."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, Any]] = {}
        self.down = False

    async def get(self, _: object, *, name: str, namespace: str) -> dict[str, Any] | None:
        """A Secret, if it is there."""
        assert namespace == "system"
        if self.down:
            raise ApiError(status=500, reason="InternalError", message="no")
        found = self.secrets.get(name)
        await asyncio.sleep(0)
        return found

    async def create(self, _: object, body: dict[str, Any], *, namespace: str) -> dict[str, Any]:
        """Keep a Secret, unless it is there."""
        name = body["metadata"]["name"]
        if name in self.secrets:
            raise ApiError(status=409, reason="AlreadyExists", message="there")
        body["metadata"]["resourceVersion"] = "1"
        self.secrets[name] = body
        return body

    async def patch(self, _: object, patch: dict[str, Any], *, namespace: str, name: str, manager: str) -> None:
        """Change the data of a Secret."""
        metadata = self.secrets[name]["metadata"]
        if patch["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise ApiError(status=409, reason="Conflict", message="changed")
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        self.secrets[name]["data"] = patch["data"]


class Events:
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    async def record(self, regarding: dict[str, Any], *, note: str, **_: str) -> None:
        """One Event."""
        self.notes.append(f"{regarding['metadata']['name']}: {note}")


class Hub:
    """An authority, its clock, and the Assignments that it has written."""

    def __init__(self, cluster: Cluster) -> None:
        self.now = START
        self.events = Events()
        self.cluster = cluster
        self.written = 0
        self.requests: dict[str, str] = {}
        self.assignments: dict[str, Assignment] = {}
        self.authority = GatewayAuthority(
            cast(Client, cluster),
            namespace="system",
            recorder=cast(EventRecorder, self.events),
            manager="hub",
            clock=lambda: self.now,
        )

    def step(self, specs: Mapping[str, AssignmentSpec]) -> bool:
        """One pass, as the reconciler's: what differs is written, and the sites report."""
        got, done = asyncio.run(self.authority.certify(specs, current=self.assignments))
        assert got.keys() == specs.keys()
        for name, spec in got.items():
            if name not in self.assignments or self.assignments[name].spec != spec:
                self.written += 1
            request = self.requests.get(name)
            status = {"gateway": {"certificateRequest": request}} if request else {}
            self.assignments[name] = Assignment.parse(
                {"metadata": {"name": name}, "spec": spec.dump(), "status": status}
            )
        return done

    def shown(self, name: str) -> str | None:
        """The certificate of a pool."""
        certificate = self.assignments[name].spec.certificate
        return certificate.certificate if certificate else None

    @property
    def bundle(self) -> str:
        """The authorities that every pool has."""
        (bundle,) = {it.spec.certificate.authorities for it in self.assignments.values() if it.spec.certificate}
        return bundle


def spec(**fields: Any) -> AssignmentSpec:
    return AssignmentSpec.parse({"tier": "edge", "nodeSelector": {}} | fields)


SITES = {"edge": spec(member="store-12"), "cloud": spec(tier="cloud", gateway=ADDRESS)}


@pytest.fixture
def hub() -> Hub:
    hub = Hub(Cluster())
    hub.requests = {"edge": EDGE.request, "cloud": CLOUD.request}
    return hub


def settle(hub: Hub, specs: Mapping[str, AssignmentSpec] = SITES) -> None:
    for _ in range(2):
        assert hub.step(specs)


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        pytest.param({"edge": spec(), "cloud": spec()}, set(), id="one cluster"),
        pytest.param({"edge": spec(member="m"), "cloud": spec()}, set(), id="nobody can be reached"),
        pytest.param(SITES, {"edge", "cloud"}, id="a member and the cloud"),
        pytest.param(SITES | {"near": spec()}, {"edge", "cloud"}, id="the cloud reaches its own by their Pods"),
        pytest.param({"edge": spec(member="m", gateway=ADDRESS), "near": spec(member="m")}, {"edge"}, id="one member"),
        pytest.param({"edge": spec(member="m", gateway=ADDRESS), "near": spec()}, {"edge", "near"}, id="to a member"),
    ],
)
def test_who_talks_to_other_clusters(specs: dict[str, AssignmentSpec], expected: set[str]) -> None:
    assert talking(specs, current={}) == expected


def test_where_nobody_does_there_is_no_authority(hub: Hub) -> None:
    settle(hub, {"edge": spec(), "cloud": spec()})
    assert not hub.cluster.secrets
    assert not hub.authority.due


def test_a_request_is_signed_and_the_certificate_stays(hub: Hub) -> None:
    requests, hub.requests = hub.requests, {}
    settle(hub)
    assert (hub.shown("edge"), hub.shown("cloud")) == (None, None)
    assert hub.written == 2  # that they are to make keys
    hub.requests = requests
    settle(hub)
    settle(hub)
    written = hub.written
    for name, credentials in (("edge", EDGE), ("cloud", CLOUD)):
        certificate = hub.shown(name)
        assert certificate is not None
        found = x509.load_pem_x509_certificate(certificate.encode())
        assert found.public_key() == x509.load_pem_x509_csr(credentials.request.encode()).public_key()
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(hub.bundle.encode()))
    for _ in range(5):
        hub.now += timedelta(days=3)
        settle(hub)
    assert hub.written == written
    # A site that says nothing for a while keeps what it has.
    hub.requests = {}
    settle(hub)
    assert hub.written == written


def test_it_is_renewed_after_two_thirds_of_its_time_by_the_hubs_clock_alone(hub: Hub) -> None:
    settle(hub)
    first = hub.shown("edge")
    hub.now = START + LIFETIME * 2 / 3 - HOUR / 2
    settle(hub)
    assert not hub.authority.due
    assert hub.shown("edge") == first
    hub.now += HOUR
    assert hub.authority.due
    settle(hub)
    assert hub.shown("edge") != first
    assert not hub.authority.due


def test_another_key_gets_another_certificate_at_once(hub: Hub) -> None:
    settle(hub)
    first, other = hub.shown("edge"), hub.shown("cloud")
    hub.requests["edge"] = gateway_keys.create("edge").request
    settle(hub)
    settle(hub)
    assert hub.shown("edge") != first
    assert hub.shown("cloud") == other


def test_a_pool_that_moves_to_another_member_gets_another_name(hub: Hub) -> None:
    settle(hub)
    settle(hub, SITES | {"edge": spec(member="store-13")})
    certificate = hub.shown("edge")
    assert certificate is not None
    names = x509.load_pem_x509_certificate(certificate.encode()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == ["littoral://member/store-13/pool/edge"]


def test_a_hostile_request_is_told_once_and_hurts_nobody(hub: Hub) -> None:
    settle(hub)
    first = hub.shown("edge")
    hub.requests = {"edge": "-----BEGIN " + "A" * 9000, "cloud": gateway_keys.create("cloud").request}
    cloud = hub.shown("cloud")
    for _ in range(3):
        settle(hub)
    assert hub.shown("edge") == first
    assert hub.shown("cloud") != cloud
    (note,) = hub.events.notes
    assert note.startswith("edge: the request for the gateway's certificate is refused: a request has at most")
    hub.requests["edge"] = "-----BEGIN nothing"
    settle(hub)
    settle(hub)
    assert len(hub.events.notes) == 2


def test_two_replicas_agree_on_one_authority() -> None:
    cluster = Cluster()
    hubs = [Hub(cluster), Hub(cluster)]

    async def both() -> list[Any]:
        return await asyncio.gather(*(it.authority.certify(SITES, current={}) for it in hubs))

    bundles = {got["edge"].certificate.authorities for got, _ in asyncio.run(both())}
    assert len(bundles) == 1
    assert base64.b64decode(cluster.secrets[AUTHORITY]["data"]["ca.crt"]).decode() in bundles


def test_without_its_secret_everything_stays_and_is_tried_again(hub: Hub) -> None:
    settle(hub)
    settle(hub)
    written, first = hub.written, hub.shown("edge")
    hub.cluster.down = True
    hub.now += HOUR
    assert not hub.step(SITES)
    # Nor is anything thrown away that cannot be read.
    hub.cluster.down = False
    hub.cluster.secrets[AUTHORITY]["data"]["ca.key"] = "QUFB"
    assert not hub.step(SITES)
    assert (hub.written, hub.shown("edge")) == (written, first)


def test_a_secret_that_is_deleted_is_an_authority_that_is_trusted_no_more(hub: Hub) -> None:
    settle(hub)
    first, bundle = hub.shown("edge"), hub.bundle
    hub.cluster.secrets.clear()
    hub.now += HOUR
    settle(hub)
    assert hub.bundle != bundle
    assert hub.shown("edge") not in (None, first)


def test_a_new_authority_is_trusted_before_it_signs(hub: Hub) -> None:
    settle(hub)
    (old,) = x509.load_pem_x509_certificates(hub.bundle.encode())
    hub.now = START + AUTHORITY_LIFETIME - timedelta(days=729)
    settle(hub)
    new = x509.load_pem_x509_certificates(hub.bundle.encode())[1]

    def signer() -> x509.Certificate:
        certificate = hub.shown("edge")
        assert certificate is not None
        (found,) = (it for it in (old, new) if _signed(it, certificate))
        return found

    assert signer() == old
    for _ in range(2):
        hub.now += timedelta(days=21)
        settle(hub)
    assert signer() == new
    assert x509.load_pem_x509_certificates(hub.bundle.encode()) == [old, new]
    hub.now += timedelta(days=28)
    settle(hub)
    assert x509.load_pem_x509_certificates(hub.bundle.encode()) == [new]


def _signed(authority: x509.Certificate, certificate: str) -> bool:
    return x509.load_pem_x509_certificate(certificate.encode()).issuer == authority.subject
