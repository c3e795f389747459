"""One operator process: the roles it plays, the Lease that lets it write, and its end.

Every replica watches, so that a successor knows everything when it begins to lead; only the leader writes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import kopf
from prometheus_client import REGISTRY, start_http_server

from littoral.cluster.client import UNREACHABLE, ApiError, Client
from littoral.cluster.events import EventRecorder
from littoral.cluster.hub_access import HubAccess
from littoral.cluster.kinds import Kinds
from littoral.cluster.lease import Leadership
from littoral.cluster.loop import LevelLoop
from littoral.core.hardware import default_device_table, parse_device_table
from littoral.core.learning import Learner, LearnerTuning
from littoral.core.planner import Tuning
from littoral.hub import handlers as hub_handlers
from littoral.hub.authority import GatewayAuthority
from littoral.hub.heartbeats import Heartbeats
from littoral.hub.member_metrics import MemberMetrics
from littoral.hub.members import Members
from littoral.hub.memory import Memory
from littoral.hub.reconciler import FIELD_MANAGER
from littoral.hub.reconciler import Reconciler as Hub
from littoral.render.gateway import GatewaySettings
from littoral.render.gateway_api import GatewayApiSettings
from littoral.render.settings import ServerSettings
from littoral.site import handlers as site_handlers
from littoral.site.gateway_api import GatewayApi
from littoral.site.gateways import Gateways
from littoral.site.local_planning import LocalPlanner
from littoral.site.reconciler import Reconciler as Site
from littoral.site.uplink import Uplink
from littoral.site.uplink_metrics import UplinkMetrics

logger = logging.getLogger(__name__)

ROLES: Final = ("hub", "site")

_RESYNC_FIRST: Final = 5.0  # Once kopf watches: what was deleted between our first list and its own.
_RESYNC: Final = 300.0
_TICK: Final = 5.0
_STUCK: Final = 300.0  # No pass takes so long; a process that is in one is better started again.


@dataclass(frozen=True, kw_only=True)
class Options:
    """What one operator process is to be.

    Attributes:
        roles: `hub`, `site` or both.
        namespace: where the Lease is, and where gateways run.
        identity: names this replica in the Lease. A restart under the same name takes its Lease up again at once; two
            processes under one name would both write.
        member: the name under which this cluster dials in to its hub; None in the hub's own cluster.
        health_port: where kopf answers the liveness probe; 0 for nowhere.
        metrics_port: where Prometheus finds metrics; 0 for nowhere.
        device_table: file with a table of device classes; None for the one that ships with Littoral.
        learning: how demand is forecast.
        planning: how the planner weighs.
        gateways: what the chart decides about gateways; None without any.
        gateway_api: how Models are led to by other people's gateways; None where they are not.
    """

    servers: ServerSettings
    namespace: str
    identity: str
    roles: frozenset[str] = frozenset(ROLES)
    member: str | None = None
    lease: str = "littoral-operator"
    health_port: int = 8080
    metrics_port: int = 9090
    device_table: Path | None = None
    learning: LearnerTuning = field(default_factory=LearnerTuning)
    planning: Tuning = field(default_factory=Tuning)
    gateways: GatewaySettings | None = None
    gateway_api: GatewayApiSettings | None = None


async def run(options: Options) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        NoCluster: there is no cluster to talk to.
        LeadershipLost: another replica may lead by now.
    """
    async with await Client.connect() as client:
        manager = _Manager(client, options)
        try:
            await manager.run()
        finally:
            await manager.close()


class _Manager:
    """The tasks of one process, and what they share."""

    def __init__(self, client: Client, options: Options) -> None:
        self._client = client
        self._options = options
        self._loops: dict[str, LevelLoop] = {}
        self._leadership = Leadership(
            client,
            namespace=options.namespace,
            name=options.lease,
            identity=options.identity,
            on_start=self._trigger,
        )
        self._kinds = Kinds(hub="hub" in options.roles, on_change=self._trigger)
        self._hub: Hub | None = None
        self._site: Site | None = None
        self._access: HubAccess | None = None
        self._uplink: Uplink | None = None
        table = options.device_table
        devices = parse_device_table(table.read_text()) if table else default_device_table()
        if "hub" in options.roles:
            recorder = EventRecorder(client, component="littoral-hub", instance=options.identity)
            heartbeats = Heartbeats(client, namespace=options.namespace, on_change=self._trigger)
            if options.metrics_port:
                REGISTRY.register(MemberMetrics(heartbeats))
            self._hub = Hub(
                client,
                kinds=self._kinds,
                devices=devices,
                recorder=recorder,
                learner=Learner(options.learning),
                memory=Memory(
                    client, namespace=options.namespace, name=f"{options.lease}-memory", manager=FIELD_MANAGER
                ),
                heartbeats=heartbeats,
                members=Members(client, namespace=options.namespace, manager=FIELD_MANAGER, on_change=self._trigger),
                authority=GatewayAuthority(
                    client, namespace=options.namespace, recorder=recorder, manager=FIELD_MANAGER
                ),
                tuning=options.planning,
                on_change=self._trigger,
            )
            self._loops["hub"] = LevelLoop("hub", self._hub.step, may_run=lambda: self._leadership.leading)
        if "site" in options.roles:
            self._site = Site(
                client,
                assignments=self._kinds.assignments,
                settings=options.servers,
                member=options.member,
                on_change=self._trigger,
                gateways=Gateways(settings=options.gateways, namespace=options.namespace) if options.gateways else None,
                gateway_api=GatewayApi(client, settings=options.gateway_api, on_change=self._trigger)
                if options.gateway_api
                else None,
            )
            self._loops["site"] = LevelLoop("site", self._site.step, may_run=lambda: self._leadership.leading)
        if options.member is not None and self._site is not None:
            self._access = HubAccess(
                client, namespace=options.namespace, member=options.member, on_change=self._trigger_uplink
            )
            self._uplink = Uplink(
                client,
                access=self._access,
                assignments=self._kinds.assignments,
                planner=LocalPlanner(
                    member=options.member,
                    devices=devices,
                    learner=Learner(options.learning),
                    tuning=options.planning,
                ),
                namespace=options.namespace,
                identity=options.identity,
                may_run=lambda: self._leadership.leading,
                on_change=self._trigger_uplink,
            )
            self._loops["uplink"] = LevelLoop("uplink", self._uplink.step, may_run=lambda: self._leadership.leading)

    async def run(self) -> None:
        """Start everything; return when kopf does, on a signal; raise what any other task raises."""
        if self._options.metrics_port:
            start_http_server(self._options.metrics_port)
        roles = (self._hub, self._site, self._uplink)
        informers = [informer for role in roles if role is not None for informer in role.informers]
        jobs: dict[str, Coroutine[Any, Any, None]] = {
            "kopf": self._run_kopf(),
            "lease": self._leadership.run(),
            "resync": self._resync(),
            "tick": self._tick(),
            **{f"loop {name}": loop.run() for name, loop in self._loops.items()},
            **{f"informer {index}": informer.run() for index, informer in enumerate(informers)},
        }
        if self._access is not None and self._uplink is not None:
            jobs |= {"hub access": self._access.run()} | self._uplink.jobs()
            if self._options.metrics_port:
                REGISTRY.register(UplinkMetrics(self._uplink))
        tasks = [asyncio.create_task(job, name=name) for name, job in jobs.items()]
        try:
            finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                task.result()
        finally:
            await self._keep()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Let a successor begin at once."""
        if self._site is not None:
            await self._site.close()
        try:
            await self._leadership.release()
        except (ApiError, *UNREACHABLE) as error:
            logger.warning("the Lease could not be released: %r", error)

    async def _keep(self) -> None:
        """Leave a successor what was learned, while nobody else leads."""
        if self._hub is None or not self._leadership.leading:
            return
        try:
            await self._hub.close()
        except (ApiError, *UNREACHABLE) as error:
            logger.warning("what was learned could not be kept: %r", error)

    def _trigger(self) -> None:
        for loop in self._loops.values():
            loop.trigger()

    def _trigger_uplink(self) -> None:
        if (loop := self._loops.get("uplink")) is not None:
            loop.trigger()

    async def _resync(self) -> None:
        pause = _RESYNC_FIRST
        while True:
            try:
                await self._kinds.sync(self._client)
            except (ApiError, *UNREACHABLE) as error:
                logger.warning("our own kinds could not be listed: %s", error)
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(pause)
            pause = _RESYNC

    async def _tick(self) -> None:
        """Forecasts move on while nothing else happens."""
        while (hub := self._loops.get("hub")) is not None:
            await asyncio.sleep(_TICK)
            hub.trigger()
        await asyncio.Event().wait()

    async def _run_kopf(self) -> None:
        registry = kopf.OperatorRegistry()
        if self._hub is not None:
            hub_handlers.register(registry, self._kinds)
        site_handlers.register(registry, self._kinds.assignments)
        self._register_process_handlers(registry)
        port = self._options.health_port
        await kopf.operator(
            registry=registry,
            # Only kopf's peering would use it; its own guess needs a passwd entry, which a container's user lacks.
            identity=self._options.identity,  # type: ignore[arg-type]
            standalone=True,  # The Lease elects; kopf's own peering is not needed.
            clusterwide=True,
            liveness_endpoint=f"http://0.0.0.0:{port}/healthz" if port else None,
        )

    def _register_process_handlers(self, registry: kopf.OperatorRegistry) -> None:
        @kopf.on.startup(registry=registry)
        async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
            settings.posting.enabled = False
            settings.scanning.disabled = True
            settings.watching.server_timeout = 290
            settings.watching.connect_timeout = 10

        @kopf.on.login(registry=registry)
        async def log_in(**kwargs: Any) -> Any:
            # In a cluster the token file is enough; elsewhere the official client knows every kind of kubeconfig.
            return kopf.login_with_service_account(**kwargs) or kopf.login_via_client(**kwargs)

        @kopf.on.probe(id="passes", registry=registry, errors=kopf.ErrorsMode.PERMANENT)
        async def passes(**_: Any) -> dict[str, float]:
            busy = {
                name: round(time.monotonic() - loop.busy_since, 1)
                for name, loop in self._loops.items()
                if loop.busy_since is not None
            }
            if any(seconds > _STUCK for seconds in busy.values()):
                raise kopf.PermanentError(f"a pass has been under way for too long: {busy}")
            return busy
