"""A member site without nodes: its operator's uplink is real, its cluster is in memory, and its servers are pretended.

What the hub assigns is Ready at once, and measured to be asked as often as one says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from bench.memory_cluster import MemoryClient
from littoral.api.assignment import Assignment
from littoral.api.quantity import format_decimal
from littoral.cluster.client import Object
from littoral.cluster.hub_access import HubAccess
from littoral.cluster.loop import LevelLoop
from littoral.cluster.membership import Credentials
from littoral.cluster.resources import ASSIGNMENTS, NODES
from littoral.cluster.store import KindStore
from littoral.core.hardware import default_device_table
from littoral.core.learning import Learner
from littoral.core.planner import Tuning
from littoral.site.local_planning import LocalPlanner
from littoral.site.uplink import Uplink

NAMESPACE: Final = "littoral-system"


@dataclass(kw_only=True)
class Wire:
    """A site's line to the hub's API server, on loopback. While it is cut, nothing passes, and nobody is told."""

    port: int = 0
    whole: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        """Let nothing pass any more."""
        self.whole.clear()

    def mend(self) -> None:
        """Let pass what waits, and what comes."""
        self.whole.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes one way, until it ends."""
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                await self.whole.wait()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def wire(host: str, port: int) -> AsyncIterator[Wire]:
    """A line to an address, until the block ends."""
    line = Wire()
    line.mend()
    open_: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        try:
            await line.whole.wait()
            up, down = await asyncio.open_connection(host, port)
            ways = [asyncio.ensure_future(it) for it in (line.carry(reader, down), line.carry(up, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                down.close()
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            writer.close()
            open_.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        for task in tuple(open_):
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)


class PretendedSite:
    """A member site with one node. `run` it as a task."""

    def __init__(self, member: str, *, cores: int = 8) -> None:
        """A site that has not joined yet; its node has so many cores."""
        self.member = member
        self.cluster = MemoryClient()
        self._cores = cores
        self._rate = 0.0
        self._wake = asyncio.Event()
        self._store = KindStore(Assignment, ASSIGNMENTS, on_change=self._trigger)
        self._access = HubAccess(self.cluster, namespace=NAMESPACE, member=member, on_change=self._trigger)
        self.uplink = Uplink(
            self.cluster,
            access=self._access,
            assignments=self._store,
            planner=LocalPlanner(member=member, devices=default_device_table(), learner=Learner(), tuning=Tuning()),
            namespace=NAMESPACE,
            identity=member,
            may_run=lambda: True,
            on_change=self._trigger,
        )
        self._loop = LevelLoop("uplink", self.uplink.step, may_run=lambda: True)

    async def join(self, credentials: Credentials, *, line: Wire) -> None:
        """Write the Secret that `littoral join` would write, with the line's address as the hub's."""
        here = replace(credentials, server=f"https://127.0.0.1:{line.port}")
        await self.cluster.apply(here.to_secret(namespace=NAMESPACE), manager="littoral-join")

    def ask(self, rate: float) -> None:
        """Have each of its Models measured at so many requests/s."""
        self._rate = rate
        self._wake.set()

    def models(self) -> set[str]:
        """Names of the Models that it is to run."""
        return {model.name for it in self._store.objects() for server in it.spec.servers for model in server.models}

    async def run(self) -> None:
        """Be there, until cancelled."""
        await self.cluster.create(NODES, _node(f"{self.member}-1", site=self.member, cores=self._cores))
        await self._store.sync(self.cluster)
        async with asyncio.TaskGroup() as group:
            for job in (
                self._access.run(),
                *self.uplink.jobs().values(),
                self._loop.run(),
                *(informer.run() for informer in self.uplink.informers),
                self._note(),
                self._report(),
            ):
                group.create_task(job)

    def _trigger(self) -> None:
        self._loop.trigger()

    async def _note(self) -> None:
        async for kind, body in self.cluster.watch(ASSIGNMENTS, resource_version="0"):
            self._store.note(kind, body)
            self._wake.set()

    async def _report(self) -> None:
        """What the site role would measure and say."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for it in self._store.objects():
                body = {"apiVersion": it.api_version, "kind": it.KIND, "metadata": {"name": it.name}}
                await self.cluster.apply(
                    body | {"status": _status(it, rate=self._rate)}, manager="littoral-site", subresource="status"
                )


def _status(assignment: Assignment, *, rate: float) -> Object:
    # What is asked of a Model is shared by its servers.
    shares = Counter((server.namespace, model.name) for server in assignment.spec.servers for model in server.models)
    servers = [
        {
            "name": server.name,
            "namespace": server.namespace,
            "replicas": server.replicas,
            "readyReplicas": server.replicas,
            "models": [
                {
                    "name": model.name,
                    "variant": model.variant,
                    "digest": model.artifact.digest,
                    "state": "Ready",
                    "readyReplicas": server.replicas,
                    "measured": {"rate": format_decimal(rate / shares[server.namespace, model.name])},
                }
                for model in server.models
            ],
        }
        for server in assignment.spec.servers
    ]
    return {"observedGeneration": assignment.metadata.generation, "servers": servers}


def _node(name: str, *, site: str, cores: int) -> Object:
    resources = {"cpu": str(cores), "memory": "16Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"littoral.dev/site": site, "kubernetes.io/hostname": name}},
        "spec": {},
        "status": {
            "allocatable": resources,
            "capacity": resources,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
