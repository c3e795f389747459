"""Random kills under load: `python -m bench.kills --lab NAME`.

On a lab with gateways, clients ask the quickstart's `digits` over kept connections and over new ones, while programs of
servers, gateways and the operator are killed with SIGKILL, and Pods deleted, one after the other in an order by lot.
The next one dies when all is well again. A client does not ask twice: each answer that is missing counts.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import click

from bench.report import machine
from bench.waiting import wait_until
from examples.quickstart import setting_up
from examples.quickstart.client import ModelClient
from examples.quickstart.cluster import Cluster
from examples.quickstart.digits import load
from examples.quickstart.lab import connect_lab, lab_images
from examples.quickstart.models import is_ready
from examples.quickstart.reading import Load, under_load
from lab import pods

_SYSTEM: Final = "littoral-system"
_SERVERS: Final = ("shop", "littoral.dev/server")
_GATEWAYS: Final = (_SYSTEM, "app.kubernetes.io/name=gateway")
_OPERATOR: Final = (_SYSTEM, "app.kubernetes.io/name=littoral")
_WITHIN: Final = 300.0  # Seconds.


@dataclass(frozen=True, kw_only=True)
class Victim:
    """What dies.

    Attributes:
        program: command line of what gets SIGKILL; None where the Pod is deleted.
    """

    name: str
    where: tuple[str, str]
    program: str | None = None


VICTIMS: Final = (
    Victim(name="Triton, SIGKILL", where=_SERVERS, program="^tritonserver "),
    Victim(name="agent beside Triton, SIGKILL", where=_SERVERS, program="littoral agent"),
    Victim(name="server, Pod deleted", where=_SERVERS),
    Victim(name="HAProxy, SIGKILL", where=_GATEWAYS, program="^haproxy "),
    Victim(name="agent beside HAProxy, SIGKILL", where=_GATEWAYS, program="littoral gateway"),
    Victim(name="gateway, Pod deleted", where=_GATEWAYS),
    Victim(name="operator, SIGKILL", where=_OPERATOR, program="littoral operator"),
)


@click.command()
@click.option("--lab", default="lab", show_default=True, help="Name of a lab that is up.")
@click.option("--kills", default=100, show_default=True)
@click.option("--gateways", default=2, show_default=True, help="Pods of each gateway.")
@click.option("--replicas", default=2, show_default=True, help="Least replicas of `digits`.")
@click.option("--seed", default=1, show_default=True)
def main(*, lab: str, kills: int, gateways: int, replicas: int, seed: int) -> None:
    """Kill at random, and count the requests that fail."""
    cluster = connect_lab(lab)
    _prepare(cluster, gateways=gateways, replicas=replicas)
    _, test = load()
    chosen = random.Random(seed)  # noqa: S311
    killed: Counter[str] = Counter()
    failed: dict[str, Counter[str]] = defaultdict(Counter)
    with ExitStack() as stack:
        loads = {
            kind: stack.enter_context(under_load(lambda: _client(cluster), test.images, workers=2, keep=keep))
            for kind, keep in (("kept connections", True), ("new connections", False))
        }
        for number in range(kills):
            victim = chosen.choice(VICTIMS)
            pod = chosen.choice(_pods(cluster, *victim.where))
            before = _failures(loads)
            _kill(cluster, victim, pod)
            wait_until(partial(_is_well, cluster, gone=pod, victim=victim), what="all is well again", within=_WITHIN)
            killed[victim.name] += 1
            for kind, count in _failures(loads).items():
                failed[victim.name][kind] += count - before[kind]
            lost = sum(_failures(loads).values()) - sum(before.values())
            click.echo(f"{number + 1}/{kills} {victim.name}: {lost} failed", err=True)
    reports = {kind: each.report() for kind, each in loads.items()}
    print(f"{machine()}; {gateways} Pods of each gateway, {replicas} replicas of digits\n")
    print("| what was killed | kills | failed over kept connections | failed over new ones |\n|---|---|---|---|")
    for victim in VICTIMS:
        counts = " | ".join(str(failed[victim.name][kind]) for kind in reports)
        print(f"| {victim.name} | {killed[victim.name]} | {counts} |")
    sent = " | ".join(f"{report.failed} of {report.sent}" for report in reports.values())
    print(f"| all | {kills} | {sent} |")
    for report in reports.values():
        for error in report.errors:
            click.echo(error, err=True)


def _prepare(cluster: Cluster, *, gateways: int, replicas: int) -> None:
    images = lab_images()
    ca_crt = setting_up.prepare_namespace(cluster)
    more = {"gateway": {"enabled": True, "replicas": gateways}}
    setting_up.install(cluster, images=images, ca_crt=ca_crt, timeout=300, more=more)
    setting_up.apply_quickstart(cluster, images=images)
    patch = f'{{"spec": {{"scaling": {{"minReplicas": {replicas}}}}}}}'
    cluster.run("patch", "models.littoral.dev", "digits", "--namespace=shop", "--type=merge", f"--patch={patch}")
    wait_until(
        lambda: _is_well(cluster) and _led_to_gateways(cluster),
        what="digits is served through gateways",
        within=_WITHIN,
    )


def _client(cluster: Cluster) -> ModelClient:
    service = cluster.get("service", "digits", "--namespace=shop")
    return ModelClient(url=f"{service['spec']['clusterIP']}:80", model="digits")


def _led_to_gateways(cluster: Cluster) -> bool:
    return "gateway" in cluster.get("service", "digits", "--namespace=shop")["spec"]["selector"].values()


def _pods(cluster: Cluster, namespace: str, selector: str) -> list[dict[str, Any]]:
    return [pod for pod in _all_pods(cluster, namespace, selector) if "deletionTimestamp" not in pod["metadata"]]


def _kill(cluster: Cluster, victim: Victim, pod: dict[str, Any]) -> None:
    metadata = pod["metadata"]
    if victim.program is None:
        cluster.run("delete", "pod", metadata["name"], f"--namespace={metadata['namespace']}", "--wait=false")
    elif not pods.kill(uid=metadata["uid"], program=victim.program):
        raise click.ClickException(f"Pod {metadata['name']} runs no {victim.program!r}")


def _is_well(cluster: Cluster, *, gone: dict[str, Any] | None = None, victim: Victim | None = None) -> bool:
    """Whether every Pod is Ready, and what died has another container, or the Pod is gone."""
    found = [pod for where in (_SERVERS, _GATEWAYS, _OPERATOR) for pod in _all_pods(cluster, *where)]
    if gone is not None and victim is not None:
        after = next((pod for pod in found if pod["metadata"]["uid"] == gone["metadata"]["uid"]), None)
        if victim.program is None:
            if after is not None:
                return False
        elif after is not None and _starts(after) == _starts(gone):
            return False
    ready = all(
        any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        for pod in found
    )
    return ready and is_ready(cluster.get("models.littoral.dev", "digits", "--namespace=shop"))


def _all_pods(cluster: Cluster, namespace: str, selector: str) -> list[dict[str, Any]]:
    return cluster.items("pods", f"--namespace={namespace}", f"--selector={selector}")


def _starts(pod: dict[str, Any]) -> list[tuple[str, int]]:
    statuses = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
    return sorted((status["name"], status["restartCount"]) for status in statuses)


def _failures(loads: dict[str, Load]) -> dict[str, int]:
    return {kind: load.report().failed for kind, load in loads.items()}


if __name__ == "__main__":
    main()
