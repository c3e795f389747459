"""The Secrets with which this cluster's gateways know those of other clusters: a key that is made here and stays here,
and beside it what the hub has signed."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from littoral.api.assignment import Assignment
from littoral.cluster.client import ApiError, Client, Object
from littoral.cluster.resources import SECRETS
from littoral.cluster.secrets import decoded, encoded
from littoral.render import names
from littoral.site.desired import owner_reference
from littoral.site.gateway_keys import Credentials, create, renewed, usable
from littoral.site.gateways import gateway_name, talks

logger = logging.getLogger(__name__)

_READ_AGAIN: Final = 30.0  # Seconds: Secrets are not watched, since that would show all of the namespace.
_FILES: Final = {"key": "tls.key", "request": "tls.csr", "certificate": "tls.crt", "authorities": "ca.crt"}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a pool's gateway has.

    Attributes:
        request: for its certificate (PEM); None while there is no key.
        revision: changes with what is mounted; empty until there is something to use.
        trouble: why it is not as it should be; empty when it is.
    """

    request: str | None = None
    revision: str = ""
    trouble: str = ""


@dataclass(frozen=True, kw_only=True)
class _Held:
    credentials: Credentials
    version: str
    read_at: float


class GatewayCertificates:
    """Keeps the Secret `gateway-<pool>` of each gateway that talks to other clusters."""

    def __init__(self, client: Client, *, namespace: str, manager: str) -> None:
        self._client = client
        self._namespace = namespace
        self._manager = manager
        self._held: dict[str, _Held] = {}

    async def step(self, assignments: Iterable[Assignment]) -> dict[str, Identity]:
        """One pass, over all Assignments of this cluster: by pool, what its gateway has. One that the API server
        refuses hinders no other."""
        wanted = {it.name: it for it in assignments if talks(it)}
        self._held = {name: held for name, held in self._held.items() if name in wanted}
        identities = {}
        for name, assignment in wanted.items():
            try:
                identities[name] = await self._keep(assignment)
            except ApiError as error:
                logger.warning("Secret %s/%s: %s", self._namespace, gateway_name(name), error)
                self._held.pop(name, None)
                identities[name] = Identity(trouble=f"Secret {gateway_name(name)} was refused: {error}")
        return identities

    async def _keep(self, assignment: Assignment) -> Identity:
        held = self._held.get(assignment.name)
        if held is None or time.monotonic() - held.read_at >= _READ_AGAIN:
            found = await self._client.get(SECRETS, namespace=self._namespace, name=gateway_name(assignment.name))
            if found is None:
                found = await self._make(assignment)
            elif (found["metadata"].get("labels") or {}).get(names.MANAGED_BY) != names.MANAGER:
                name = f"{self._namespace}/{gateway_name(assignment.name)}"
                return Identity(trouble=f"Secret {name} is there already and not Littoral's: delete it")
            held = await self._hold(assignment, found)
        given = assignment.spec.certificate
        assert given is not None  # by `talks`
        after = renewed(held.credentials, given)
        if after != held.credentials:
            held = await self._write(assignment, after, version=held.version)
            logger.info("the gateway of pool %s has another certificate", assignment.name)
        credentials = held.credentials
        shown = hashlib.sha256(f"{credentials.certificate}{credentials.authorities}".encode()).hexdigest()[:16]
        return Identity(request=credentials.request, revision=shown if credentials.complete else "")

    async def _make(self, assignment: Assignment) -> Object:
        name = gateway_name(assignment.name)
        body: Object = {
            "apiVersion": SECRETS.api_version,
            "kind": SECRETS.kind,
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": names.ours() | {names.APP: names.GATEWAY, names.INSTANCE: name},
                "ownerReferences": [owner_reference(assignment)],
            },
            "type": "Opaque",
            "data": {file: text for file, text in _data(create(assignment.name)).items() if text is not None},
        }
        made = await self._client.create(SECRETS, body, namespace=self._namespace)
        logger.info("made the key of the gateway of pool %s: Secret %s/%s", assignment.name, self._namespace, name)
        return made

    async def _hold(self, assignment: Assignment, found: Object) -> _Held:
        """Take over what the Secret has; with a new key, where that is none."""
        version = found["metadata"]["resourceVersion"]
        credentials = _credentials(found)
        if credentials is None or not usable(credentials):
            logger.warning("Secret %s/%s had no key", self._namespace, gateway_name(assignment.name))
            return await self._write(assignment, create(assignment.name), version=version)
        held = _Held(credentials=credentials, version=version, read_at=time.monotonic())
        self._held[assignment.name] = held
        return held

    async def _write(self, assignment: Assignment, credentials: Credentials, *, version: str) -> _Held:
        answer = await self._client.patch(
            SECRETS,
            # The version guards against whoever wrote meanwhile: the next pass reads again.
            {"metadata": {"resourceVersion": version}, "data": _data(credentials)},
            namespace=self._namespace,
            name=gateway_name(assignment.name),
            manager=self._manager,
        )
        held = _Held(credentials=credentials, version=answer["metadata"]["resourceVersion"], read_at=time.monotonic())
        self._held[assignment.name] = held
        return held


def _data(credentials: Credentials) -> Mapping[str, str | None]:
    """Of a merge patch, too: null removes what is no more."""
    return encoded({file: getattr(credentials, field) or None for field, file in _FILES.items()})


def _credentials(secret: Object) -> Credentials | None:
    try:
        return Credentials(**{field: decoded(secret, file) or "" for field, file in _FILES.items()})
    except ValueError:
        return None
