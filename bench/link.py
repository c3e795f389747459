"""A member site whose link to its hub comes and goes: `python -m bench.link --hub LAB --site LAB`.

Two labs that are up, the site's with the node `store@edge/store-12`. Littoral is installed on both, the site joins, and
a Model is asked at the site at a steady rate from a process of its own. The link is cut again and again, each time for
as long as a lot says, and once for so long that the site goes on by itself. Then: which requests failed, what was
restarted, and how soon the hub and the site agree.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import click

from bench.member_lab import MEMBER, NODE, MemberLab
from bench.open_loop import open_loop
from bench.paced import PacedNetwork
from bench.report import machine
from bench.waiting import wait_until
from examples.quickstart import setting_up
from examples.quickstart.cluster import Cluster
from examples.quickstart.lab import connect_lab, lab_images
from examples.quickstart.models import is_ready
from littoral.sim.workload import poisson

NAMESPACE: Final = "link"
MODEL: Final = "paced"
NETWORK: Final = PacedNetwork(base=0.02, per_item=0.01)

_LONG: Final = 3600.0  # Seconds of load, more than a run takes.
_WITHIN: Final = 240.0


@dataclass(kw_only=True)
class Result:
    """What became of it.

    Attributes:
        down: seconds of each cut.
        agreed: seconds from each mending to the hub's having a status of the site's that is about the Assignment as it
            is, for those after which this was awaited.
    """

    sent: int = 0
    failed: int = 0
    errors: tuple[str, ...] = ()
    slowest: float = 0.0
    down: list[float] = field(default_factory=list)
    agreed: list[float] = field(default_factory=list)
    pods: int = 0
    pods_replaced: int = 0
    restarts: int = 0


@click.command()
@click.option("--hub", default="hub", show_default=True, help="Name of the hub's lab.")
@click.option("--site", default="store", show_default=True, help="Name of the site's lab.")
@click.option("--cuts", default=50, show_default=True, help="How often the link is cut.")
@click.option("--shortest", default=0.5, show_default=True, help="Seconds of a cut, at least.")
@click.option("--longest", default=12.0, show_default=True, help="Seconds of a cut, at most.")
@click.option("--last", default=90.0, show_default=True, help="Seconds of one more cut, at the end.")
@click.option("--between", default=6.0, show_default=True, help="Seconds between two cuts, on average.")
@click.option("--rate", default=5.0, show_default=True, help="Requests/s at the site.")
@click.option("--seed", default=1, show_default=True)
@click.option("--install/--no-install", default=True, help="Install Littoral on both, and join, first.")
def main(*, hub: str, site: str, install: bool, rate: float, seed: int, **cuts: Any) -> None:
    """Measure what cuts of the link cost a member site."""
    labs = MemberLab(hub_lab=hub, site_lab=site, hub=connect_lab(hub), site=connect_lab(site))
    labs.mend()
    NETWORK.place(lab=site, node=NODE)
    if install:
        images = lab_images()
        setting_up.install(labs.hub, images=images, ca_crt=setting_up.prepare_namespace(labs.hub), timeout=300)
        labs.install_site(images=images)
        labs.join()
    _apply(labs)
    try:
        wait_until(
            lambda: is_ready(labs.hub.get("models.littoral.dev", MODEL, f"--namespace={NAMESPACE}")),
            what="Ready",
            within=_WITHIN,
        )
        result = _run(labs, rate=rate, seed=seed, **cuts)
    finally:
        labs.mend()
        labs.hub.run("delete", "namespace", NAMESPACE, "--wait=false")
        labs.hub.run("delete", "nodepool", MEMBER)
    print(_table(result))


def _run(
    labs: MemberLab, *, cuts: int, shortest: float, longest: float, last: float, between: float, rate: float, seed: int
) -> Result:
    lot = random.Random(seed)  # noqa: S311
    result = Result()
    service = labs.site.get("service", MODEL, f"--namespace={NAMESPACE}")
    url = f"http://{service['spec']['clusterIP']}:80/v2/models/{MODEL}/infer"
    before = _pods(labs)
    with open_loop(url, poisson(lambda _: rate, peak=rate, seconds=_LONG, seed=seed)) as load:
        for number, planned in enumerate([*(lot.uniform(shortest, longest) for _ in range(cuts)), last]):
            time.sleep(lot.uniform(0.0, 2.0 * between))
            began = time.monotonic()
            labs.cut()
            time.sleep(planned)
            labs.mend()
            result.down.append(time.monotonic() - began)
            print(f"cut {number + 1}: {result.down[-1]:.1f} s", flush=True)
            if number % 10 == 9 or planned == last:
                mended = time.monotonic()
                _change(labs, number)
                wait_until(partial(_agree, labs, number), what=f"in agreement after cut {number + 1}", within=_WITHIN)
                result.agreed.append(time.monotonic() - mended)
        load.stop()
    after = _pods(labs)
    outcomes = load.outcomes
    result.sent, result.failed = len(outcomes), len(load.failed)
    result.errors = tuple(sorted({outcome.error for outcome in load.failed}))
    result.slowest = max(outcome.seconds for outcome in outcomes)
    result.pods = len(before)
    result.pods_replaced = len(before.keys() - after.keys())
    result.restarts = sum(after.get(uid, count) - count for uid, count in before.items())
    return result


def _apply(labs: MemberLab) -> None:
    metadata = {"name": MODEL, "namespace": NAMESPACE}
    api = "littoral.dev/v1alpha1"
    slo = {"modelRef": {"name": MODEL}, "latency": "400ms", "overflow": "Never"}
    variant = NETWORK.variant(nodeSelector={"matchLabels": {"littoral.dev/site": MEMBER}})
    model = {"variants": [variant], "scaling": {"minReplicas": 1, "maxReplicas": 4}}
    labs.hub.apply([labs.pool(), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    labs.hub.apply(
        [
            {"apiVersion": api, "kind": "LatencySLO", "metadata": metadata, "spec": slo},
            {"apiVersion": api, "kind": "Model", "metadata": metadata, "spec": model},
        ]
    )


def _change(labs: MemberLab, number: int) -> None:
    """Have the hub's Assignment become another one, so that its way to the site and back can be seen."""
    patch = f'{{"spec": {{"limits": {{"servers": {_limit(number)}}}}}}}'
    labs.hub.run("patch", "nodepool", MEMBER, "--type=merge", f"--patch={patch}")


def _limit(number: int) -> int:
    return 100 + number


def _agree(labs: MemberLab, number: int) -> bool:
    """Whether the site has the hub's Assignment with that change, has said so, and the hub says that it is well."""
    hub, site = _assignment(labs.hub), _assignment(labs.site)
    if not hub or not site:
        return False
    pool = labs.hub.get("nodepool", MEMBER).get("status", {}).get("conditions", [])
    return bool(
        hub["spec"] == site["spec"]
        and hub["spec"]["inputs"]["pool"].get("limits") == {"servers": _limit(number)}
        and hub.get("status", {}).get("observedGeneration") == hub["metadata"]["generation"]
        and any(it["type"] == "Ready" and it["status"] == "True" for it in pool)
    )


def _assignment(cluster: Cluster) -> dict[str, Any]:
    found = cluster.items("assignments.littoral.dev")
    return next((it for it in found if it["metadata"]["name"] == MEMBER), {})


def _pods(labs: MemberLab) -> dict[str, int]:
    """Restarts of the containers of all Littoral's Pods at the site, by the Pods' uids."""
    pods = [labs.operator(), *labs.site.items("pods", f"--namespace={NAMESPACE}")]
    found = {}
    for pod in pods:
        status = pod["status"]
        containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        found[pod["metadata"]["uid"]] = sum(it["restartCount"] for it in containers)
    return found


def _table(result: Result) -> str:
    short, last = result.down[:-1], result.down[-1]
    rows = [
        ("cuts", f"{len(short)} of {min(short):.1f} to {max(short):.1f} s, and one of {last:.0f} s"),
        ("requests sent at the site", str(result.sent)),
        ("requests failed", str(result.failed)),
        ("the slowest answer", f"{1e3 * result.slowest:.0f} ms"),
        ("Pods of the site replaced", f"{result.pods_replaced} of {result.pods}"),
        ("restarts of their containers", str(result.restarts)),
        (
            "link mended and the pool changed, until hub and site agree",
            ", ".join(f"{seconds:.1f} s" for seconds in result.agreed),
        ),
    ]
    width = max(len(what) for what, _ in rows)
    lines = [machine(), "", *(f"  {what:<{width}}  {value}" for what, value in rows), *result.errors]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
