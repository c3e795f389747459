"""What many member sites cost their hub: `python -m bench.members --lab NAME`.

On a lab of which only a control plane is needed, the real operator runs as the hub, in a process of its own. The sites
are `bench.member_site`: real uplinks with rights of their own, each over a line of its own, and pretended servers.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
import yaml

from bench.member_site import NAMESPACE, PretendedSite, Wire, wire
from bench.report import machine
from examples.quickstart.cluster import Cluster
from examples.quickstart.lab import connect_lab
from littoral.cluster.client import Client, Object
from littoral.cluster.inviting import invite
from littoral.cluster.resources import MODELS, NODE_POOLS

_ROOT: Final = Path(__file__).parents[1]
_API: Final = "littoral.dev/v1alpha1"
_TENANT: Final = "shop"
_DIGEST: Final = "sha256:" + "0123456789abcdef" * 4
_OURS: Final = re.compile(
    r"(assignments|models|nodepools|latencyslos|clusterroles|roles|rolebindings|leases|secrets|configmaps|events"
    r"|serviceaccounts)"
)
_WRITES: Final = ("POST", "PUT", "PATCH", "APPLY", "DELETE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_WITHIN: Final = 300.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What has been spent until a time.

    Attributes:
        at: on the monotonic clock, in seconds.
        operator, sites: CPU seconds of the hub's operator, and of all the sites with this benchmark.
        requests: that the API server has answered, by (verb, resource).
    """

    at: float
    operator: float
    sites: float
    requests: Counter[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table."""

    what: str
    seconds: float
    operator: float
    sites: float
    resident: float
    writes: float
    reads: float
    most: str


@dataclass(kw_only=True)
class Bench:
    """What is measured, and how."""

    cluster: Cluster
    hub: Client
    process: subprocess.Popen[bytes]
    sites: Sequence[PretendedSite]
    lines: Sequence[Wire]
    rows: list[Row]

    def read(self) -> Reading:
        """Where the counters stand."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return Reading(
            at=time.monotonic(),
            operator=(int(fields[11]) + int(fields[12])) / _TICKS,
            sites=time.process_time(),
            requests=_requests(self.cluster.run("get", "--raw=/metrics")),
        )

    def resident(self) -> float:
        """MiB that the hub's operator holds resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)[1]) / 1024  # type: ignore[index]

    async def during(self, what: str, work: Callable[[], Any]) -> None:
        """Add a line for what happens while something is awaited; what that says is added to its name."""
        before = await asyncio.to_thread(self.read)
        began = time.monotonic()
        said = await work()
        took = time.monotonic() - began
        after = await asyncio.to_thread(self.read)
        span = after.at - before.at
        spent = after.requests - before.requests
        writes: Counter[str] = Counter()
        for (verb, resource), count in spent.items():
            writes[resource] += count if verb in _WRITES else 0
        self.rows.append(
            Row(
                what=f"{what}{said or ''}",
                seconds=took,
                operator=(after.operator - before.operator) / span,
                sites=(after.sites - before.sites) / span,
                resident=self.resident(),
                writes=writes.total() / span,
                reads=(spent.total() - writes.total()) / span,
                most=", ".join(f"{resource} {count / span:.1f}" for resource, count in writes.most_common(3)),
            )
        )
        print(self.rows[-1], file=sys.stderr)

    async def until(self, holds: Callable[[], Any], *, what: str) -> None:
        """Wait for something."""
        end = time.monotonic() + _WITHIN
        while not await holds():
            if time.monotonic() > end:
                raise click.ClickException(f"{what}: not within {_WITHIN:g} s")
            await asyncio.sleep(0.2)

    async def pools(self, status: str) -> bool:
        """Whether the condition Ready of every NodePool has this status."""
        pools, _ = await self.hub.list(NODE_POOLS)
        return len(pools) == len(self.sites) and all(_condition(pool, "Ready") == status for pool in pools)

    async def placed(self, models: int) -> bool:
        """Whether every site has been told to run every Model."""
        return all(len(site.models()) == models for site in self.sites)

    async def ready(self, models: int) -> bool:
        """Whether every Model is Ready at every site, as the hub knows."""
        found, _ = await self.hub.list(MODELS, namespace=_TENANT)
        pools = {site.member for site in self.sites}
        return len(found) == models and all(
            _condition(model, "Ready") == "True"
            and {it["pool"] for it in model["status"]["placements"] if it["state"] == "Ready"} == pools
            for model in found
        )

    async def load(self, *, every: float, seconds: float) -> None:
        """Have every site report another load again and again."""
        end, turn = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            for number, site in enumerate(self.sites):
                site.ask(2.0 + (turn * 7 + number) % 6)
            turn += 1
            await asyncio.sleep(every)


@click.command()
@click.option(
    "--lab", default="members", show_default=True, help="Name of a lab that is up; a control plane is enough."
)
@click.option("--sites", default=50, show_default=True, help="Member sites.")
@click.option("--models", default=10, show_default=True, help="Models, each asked for at every site.")
@click.option("--rest", default=60.0, show_default=True, help="Seconds at rest.")
@click.option("--load", default=60.0, show_default=True, help="Seconds of load that changes.")
@click.option("--every", default=5.0, show_default=True, help="Seconds between two changes of the load, at every site.")
def main(**options: Any) -> None:
    """Measure what member sites cost their hub."""
    print(asyncio.run(_measure(**options)))


async def _measure(*, lab: str, sites: int, models: int, rest: float, load: float, every: float) -> str:
    # A site plans one plan at a time, and so its solver is used by one thread; here all sites are in one process.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
    cluster = connect_lab(lab)
    names = [f"store-{number:02}" for number in range(1, sites + 1)]
    _prepare(cluster)
    address = urlsplit(cluster.run("config", "view", "--output=jsonpath={.clusters[0].cluster.server}"))
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(await Client.connect(kubeconfig=str(cluster.kubeconfig)))
        process = stack.enter_context(_operator(cluster))
        lines = [await stack.enter_async_context(wire(address.hostname or "", address.port or 443)) for _ in names]
        pretended = [PretendedSite(name) for name in names]
        running = [asyncio.create_task(site.run(), name=site.member) for site in pretended]
        stack.callback(lambda: [task.cancel() for task in running])
        bench = Bench(cluster=cluster, hub=hub, process=process, sites=pretended, lines=lines, rows=[])
        await bench.during("the hub's operator starts", lambda: asyncio.sleep(10))
        await bench.during(f"{sites} sites are invited and join, until every NodePool is Ready", lambda: _join(bench))
        await bench.during(f"{sites} sites, no Model, at rest", lambda: asyncio.sleep(rest))
        body = _models(models, sites=sites)
        await bench.during(
            f"{models} Models applied, until the hub has each Ready everywhere", lambda: _place(bench, body)
        )
        await asyncio.sleep(15)
        await bench.during(f"{sites} sites with {models} Models, at rest", lambda: asyncio.sleep(rest))
        await bench.during(
            f"every site reports another load each {every:g} s", lambda: bench.load(every=every, seconds=load)
        )
        await bench.during("all links cut, until every NodePool is Unknown", lambda: _cut(bench))
        await bench.during(
            "all links mended, until the hub has each Model Ready everywhere", lambda: _mend(bench, models)
        )
        await bench.during("the minute after", lambda: asyncio.sleep(60))
        failed = [task for task in running if task.done()]
    return _table(bench.rows, sites=sites, models=models, failed=len(failed))


async def _join(bench: Bench) -> None:
    server = f"https://127.0.0.1:{bench.lines[0].port}"
    ca = _authority(bench.cluster)
    bench.cluster.apply([_pool(site.member) for site in bench.sites])
    for site, line in zip(bench.sites, bench.lines, strict=True):
        invited = await invite(bench.hub, site.member, namespace=NAMESPACE, server=server, ca=ca, valid=3600)
        await site.join(invited.credentials, line=line)
    await bench.until(lambda: bench.pools("True"), what="every NodePool is Ready")


def _authority(cluster: Cluster) -> str:
    known = yaml.safe_load(Path(str(cluster.kubeconfig)).read_text())["clusters"][0]["cluster"]
    return base64.b64decode(known["certificate-authority-data"]).decode()


async def _place(bench: Bench, body: list[Object]) -> str:
    models = len(body) // 2
    await asyncio.to_thread(bench.cluster.apply, body)
    began = time.monotonic()
    await bench.until(lambda: bench.placed(models), what="every site has every Model")
    placed = time.monotonic() - began
    await bench.until(lambda: bench.ready(models), what="every Model is Ready everywhere")
    return f"; every site has each after {placed:.1f} s"


async def _cut(bench: Bench) -> None:
    for line in bench.lines:
        line.cut()
    await bench.until(lambda: bench.pools("Unknown"), what="every NodePool is Unknown")


async def _mend(bench: Bench, models: int) -> str:
    began = time.monotonic()
    for line in bench.lines:
        line.mend()
    await bench.until(lambda: bench.pools("True"), what="every NodePool is Ready again")
    heard = time.monotonic() - began
    await bench.until(lambda: bench.ready(models), what="every Model is Ready everywhere")
    return f"; every NodePool is after {heard:.1f} s"


def _prepare(cluster: Cluster) -> None:
    cluster.run("apply", "--server-side", f"--filename={_ROOT / 'crds'}")
    cluster.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": it}} for it in (NAMESPACE, _TENANT)])


@contextmanager
def _operator(cluster: Cluster) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "littoral.cli.main", "operator", "--role=hub", f"--namespace={NAMESPACE}"]
    command += ["--triton-image=localhost/triton", "--agent-image=localhost/littoral", "--identity=bench"]
    command += ["--health-port=0", "--metrics-port=0", "--log-format=text"]
    with ExitStack() as stack:
        log = stack.enter_context(
            tempfile.NamedTemporaryFile("wb", prefix="littoral-hub-", suffix=".log", delete=False)
        )
        print(f"the operator's log: {log.name}", file=sys.stderr)
        process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def _pool(name: str) -> Object:
    spec = {
        "tier": "edge",
        "site": name,
        "member": name,
        "nodeSelector": {"matchLabels": {"littoral.dev/site": name}},
    }
    return {"apiVersion": _API, "kind": "NodePool", "metadata": {"name": name}, "spec": spec}


def _models(count: int, *, sites: int) -> list[Object]:
    """Models that each site is to be ready for, each with its LatencySLO."""
    variant = {
        "name": "onnx-cpu",
        "accelerator": "cpu",
        "backend": "onnxruntime",
        "artifact": {"uri": "https://artifacts.example/network.onnx", "digest": _DIGEST},
        "cpu": "100m",
        "memory": "128Mi",
        "profile": {"base": "5ms", "perItem": "2ms"},
    }
    bodies: list[Object] = []
    for number in range(count):
        metadata = {"name": f"model-{number:02}", "namespace": _TENANT}
        slo = {
            "modelRef": {"name": metadata["name"]},
            "latency": "100ms",
            "overflow": "Never",
            "demand": {"floor": "2"},
        }
        bodies.append({"apiVersion": _API, "kind": "LatencySLO", "metadata": metadata, "spec": slo})
        spec = {"variants": [variant], "scaling": {"maxReplicas": 4 * sites}}
        bodies.append({"apiVersion": _API, "kind": "Model", "metadata": metadata, "spec": spec})
    return bodies


def _requests(metrics: str) -> Counter[tuple[str, str]]:
    """Requests about what Littoral handles, by verb and resource, with its subresource."""
    found: Counter[tuple[str, str]] = Counter()
    for line in metrics.splitlines():
        if line.startswith("apiserver_request_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if _OURS.fullmatch(labels["resource"]):
                name = "/".join(filter(None, (labels["resource"], labels["subresource"])))
                found[labels["verb"], name] += int(float(line.rpartition(" ")[2]))
    return found


def _condition(body: Object, kind: str) -> str:
    conditions = body.get("status", {}).get("conditions", [])
    return next((str(it["status"]) for it in conditions if it["type"] == kind), "")


def _table(rows: Sequence[Row], *, sites: int, models: int, failed: int) -> str:
    lines = [
        f"{machine()}; {sites} sites, {models} Models, each at every site; {failed} sites' tasks ended",
        "",
        "| | s | hub, cores | hub, MiB | writes/s | reads/s | most of the writes, per second | all sites, cores |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.what} | {row.seconds:.1f} | {row.operator:.2f} | {row.resident:.0f} | {row.writes:.1f} "
        f"| {row.reads:.1f} | {row.most} | {row.sites:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
