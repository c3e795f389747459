"""Certificates for gateways that talk to gateways of other clusters: the requests that sites report are signed by an
authority of the hub's own, and go back in the Assignments."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from littoral.api.assignment import Assignment, AssignmentSpec
from littoral.api.routes import GatewayCertificate
from littoral.cluster.client import ApiError, Client, Object
from littoral.cluster.events import EventRecorder
from littoral.cluster.resources import SECRETS
from littoral.cluster.secrets import decoded, encoded
from littoral.hub.authority_signing import (
    Authorities,
    Names,
    RefusedRequest,
    create,
    examine,
    load,
    public_key_of,
    sign,
)
from littoral.render import names

logger = logging.getLogger(__name__)

AUTHORITY: Final = "littoral-gateway-ca"
"""Secret of the authorities, in the hub's namespace."""

_CERTIFICATES, _KEYS = "ca.crt", "ca.key"
_READ_AGAIN: Final = timedelta(minutes=1)  # A Secret that somebody has deleted is made anew.
_LOOK_AGAIN: Final = timedelta(hours=1)  # Without any reason.


class GatewayAuthority:
    """Puts certificates into the Assignments of pools that talk to other clusters."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        recorder: EventRecorder,
        manager: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._recorder = recorder
        self._manager = manager
        self._clock = clock
        self._authorities: Authorities | None = None
        self._read_at = datetime.min.replace(tzinfo=UTC)
        self._due_at: datetime | None = None
        self._decided: dict[str, _Outcome] = {}
        self._told: dict[str, str | None] = {}

    @property
    def due(self) -> bool:
        """Whether a certificate is to be renewed, though nothing else has changed."""
        return self._due_at is not None and self._clock() >= self._due_at

    async def certify(
        self, specs: Mapping[str, AssignmentSpec], *, current: Mapping[str, Assignment]
    ) -> tuple[dict[str, AssignmentSpec], bool]:
        """The specs with certificates where they are due, and whether all of it got through.

        A certificate that is good stays as it is. A request that is refused hurts nobody else; its pool is told.

        Args:
            specs: what is to be written, by pool.
            current: the Assignments as they are, by pool, with the requests that sites report.
        """
        wanted = talking(specs, current=current)
        if not wanted:
            self._due_at = None
            return dict(specs), True
        try:
            authorities = await self._known()
        except (ApiError, ValueError) as error:
            logger.warning("gateways get no new certificates: Secret %s/%s: %s", self._namespace, AUTHORITY, error)
            kept = {name: current[name].spec.certificate if name in current else None for name in wanted}
            return _with(specs, kept), False
        now = self._clock()
        decided = await asyncio.to_thread(
            self._decide, specs, wanted, current=current, authorities=authorities, now=now
        )
        self._due_at = min([now + _LOOK_AGAIN, *(it.until for it in decided.values())])
        await self._tell(decided, current=current)
        return _with(
            specs,
            {
                name: GatewayCertificate(certificate=it.certificate, authorities=authorities.bundle)
                for name, it in decided.items()
            },
        ), True

    def _decide(
        self,
        specs: Mapping[str, AssignmentSpec],
        wanted: Collection[str],
        *,
        current: Mapping[str, Assignment],
        authorities: Authorities,
        now: datetime,
    ) -> dict[str, _Outcome]:
        decided = {}
        for name in sorted(wanted):
            before = current.get(name)
            report = before.status.gateway if before is not None else None
            shown = before.spec.certificate if before is not None else None
            case = _Case(
                names=Names(pool=name, member=specs[name].member),
                request=report.certificate_request if report is not None else None,
                certificate=shown.certificate if shown is not None else None,
                bundle=authorities.bundle,
            )
            last = self._decided.get(name)
            # Signatures take time to check, and a pass looks at every pool.
            known = last is not None and last.case == case and last.at <= now < last.until
            decided[name] = last if known and last is not None else _outcome(case, authorities=authorities, now=now)
        self._decided = decided
        return decided

    async def _known(self) -> Authorities:
        now = self._clock()
        if self._authorities is None or not self._read_at <= now < self._read_at + _READ_AGAIN:
            self._authorities = await self._read(now)
            self._read_at = now
        return self._authorities

    async def _read(self, now: datetime) -> Authorities:
        """What the Secret has; made where it is not there: of two replicas that make it at once, the first has it."""
        found = await self._client.get(SECRETS, namespace=self._namespace, name=AUTHORITY)
        if found is None:
            made = Authorities((create(now),))
            try:
                await self._client.create(SECRETS, _secret(made, namespace=self._namespace), namespace=self._namespace)
            except ApiError as error:
                if error.status != 409:
                    raise
                found = await self._client.get(SECRETS, namespace=self._namespace, name=AUTHORITY)
                if found is None:
                    raise
            else:
                logger.info("made the authority of gateways: Secret %s/%s", self._namespace, AUTHORITY)
                return made
        authorities = load(certificates=_value(found, _CERTIFICATES), keys=_value(found, _KEYS))
        rotated = authorities.rotated(now)
        if rotated is not authorities:
            await self._client.patch(
                SECRETS,
                # The version guards against another replica's: the loser reads again at the next pass.
                {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "data": _data(rotated)},
                namespace=self._namespace,
                name=AUTHORITY,
                manager=self._manager,
            )
            logger.info("the authorities of gateways have changed: %d are trusted now", len(rotated.members))
        return rotated

    async def _tell(self, decided: Mapping[str, _Outcome], *, current: Mapping[str, Assignment]) -> None:
        """Say once of each request why it is refused."""
        refused = {name: it for name, it in decided.items() if it.refused}
        told, self._told = self._told, {name: it.case.request for name, it in refused.items()}
        for name, outcome in refused.items():
            why = outcome.refused
            if name in told and told[name] == outcome.case.request:
                continue
            logger.warning("the request of pool %s for its gateway's certificate is refused: %s", name, why)
            it = current[name]
            await self._recorder.record(
                {
                    "apiVersion": it.api_version,
                    "kind": it.KIND,
                    "metadata": {"name": name, "uid": it.metadata.uid},
                },
                kind="Warning",
                reason="CertificateRefused",
                action="Sign",
                note=f"the request for the gateway's certificate is refused: {why}",
            )


def talking(specs: Mapping[str, AssignmentSpec], *, current: Mapping[str, Assignment]) -> frozenset[str]:
    """The pools whose gateways talk to gateways of other clusters: those that others reach, and those of which there
    is a pool of another cluster that can be reached. What is planned does not matter: it changes from hour to hour."""
    known = {name: it.spec for name, it in current.items()} | dict(specs)
    reached = {spec.member for spec in known.values() if spec.gateway is not None}
    return frozenset(
        name for name, spec in specs.items() if spec.gateway is not None or any(it != spec.member for it in reached)
    )


@dataclass(frozen=True, kw_only=True)
class _Case:
    """All that decides what certificate a pool gets, but for the time."""

    names: Names
    request: str | None
    certificate: str | None
    bundle: str


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """The certificate that a pool gets.

    Attributes:
        refused: why its request is; empty where it is not.
        at: when that was decided.
        until: when it is to be decided anew, though nothing else changes.
    """

    case: _Case
    certificate: str | None
    refused: str = ""
    at: datetime
    until: datetime


def _outcome(case: _Case, *, authorities: Authorities, now: datetime) -> _Outcome:
    certificate, refused = case.certificate, ""
    standing = None
    if certificate is not None:
        standing = examine(certificate, names=case.names, authorities=authorities.members, now=now)
    if standing is None:
        certificate = None
    if case.request is not None:
        try:
            if standing is None or now >= standing.renewed_at or standing.key != public_key_of(case.request):
                certificate = sign(case.request, names=case.names, by=authorities.signer(now), now=now)
                standing = examine(certificate, names=case.names, authorities=authorities.members, now=now)
        except RefusedRequest as error:
            refused = str(error)
    until = now + _LOOK_AGAIN
    if standing is not None and standing.renewed_at > now:
        until = min(until, standing.renewed_at)
    return _Outcome(case=case, certificate=certificate, refused=refused, at=now, until=until)


def _with(
    specs: Mapping[str, AssignmentSpec], certificates: Mapping[str, GatewayCertificate | None]
) -> dict[str, AssignmentSpec]:
    return {
        name: spec.model_copy(update={"certificate": certificates[name]}) if name in certificates else spec
        for name, spec in specs.items()
    }


def _secret(authorities: Authorities, *, namespace: str) -> Object:
    return {
        "apiVersion": SECRETS.api_version,
        "kind": SECRETS.kind,
        "metadata": {
            "name": AUTHORITY,
            "namespace": namespace,
            "labels": names.ours(),
        },
        "type": "Opaque",
        "data": _data(authorities),
    }


def _data(authorities: Authorities) -> dict[str, str | None]:
    return encoded({_CERTIFICATES: authorities.bundle, _KEYS: authorities.keys})


def _value(secret: Object, key: str) -> str:
    try:
        text = decoded(secret, key)
    except ValueError as error:
        raise ValueError(f"{key} is no text") from error
    if text is None:
        raise ValueError(f"{key} is missing")
    return text
