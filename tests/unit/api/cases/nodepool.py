"""What a NodePool may say."""

from __future__ import annotations

from typing import Any

from littoral.api import NodePool
from tests.unit.api.cases.case import ABSENT, Table


def nodepool(**spec: Any) -> dict[str, Any]:
    """A NodePool that is accepted."""
    return {
        "apiVersion": "littoral.dev/v1alpha1",
        "kind": "NodePool",
        "metadata": {"name": "store-12"},
        "spec": {"tier": "edge", "site": "store-12", "nodeSelector": {}, **spec},
    }


TABLE = Table(NodePool, nodepool())
accepts, refuses = TABLE.accepts, TABLE.refuses

# `triton-` + 35 + `-` + 20 characters make the 63 of a label.
accepts("metadata.name", "a", "a" * 35, "12-store")
refuses("metadata.name", "a.b", says="should match")
refuses("metadata.name", "a" * 36, says="Too long")

accepts("spec.tier", "edge", "cloud")
refuses("spec.tier", "fog", says="Unsupported value")
refuses("spec.tier", ABSENT, says="Required value")
TABLE.names("spec.site", longest=63)
accepts("spec.site", ABSENT, "eu-west-1", also={"spec.tier": "cloud"})
refuses("spec.site", ABSENT, says="tier edge needs a site: say where the nodes are, such as store-12")
TABLE.names("spec.member", longest=63)
refuses("spec.nodeSelector", ABSENT, says="Required value")
TABLE.selector("spec.nodeSelector")

ACCELERATORS = "spec.accelerators"
accepts(ACCELERATORS, [], [{"class": f"c{n}", "costPerHour": "1"} for n in range(16)])
refuses(ACCELERATORS, [{"class": f"c{n}", "costPerHour": "1"} for n in range(17)], says="must have at most 16 items")
refuses(ACCELERATORS, [{"class": "a", "costPerHour": "1"}] * 2, says="Duplicate value", at=f"{ACCELERATORS}[1]")
refuses(ACCELERATORS, [{"costPerHour": "1"}], says="Required value", at=f"{ACCELERATORS}[0].class")
refuses(ACCELERATORS, [{"class": "a"}], says="Required value", at=f"{ACCELERATORS}[0].costPerHour")
PRICED = Table(NodePool, nodepool(accelerators=[{"class": "nvidia-gpu", "costPerHour": "0.35"}]), TABLE.cases)
PRICED.names(f"{ACCELERATORS}[0].class", longest=20)
PRICED.accepts(f"{ACCELERATORS}[0].costPerHour", "0", "0.35", "12")
PRICED.refuses(f"{ACCELERATORS}[0].costPerHour", "-1", "", "0,35", "$1", says="should match")
PRICED.refuses(f"{ACCELERATORS}[0].costPerHour", "1" * 33, says="Too long")

ROUND_TRIP = "spec.network.roundTrip"
accepts(ROUND_TRIP, {}, {"cloud": "35ms"}, {"here": "0s"}, {f"p{n}": "1ms" for n in range(256)})
accepts(ROUND_TRIP, {"a" * 35: "1ms"})
refuses(ROUND_TRIP, {"A": "1ms"}, {"a" * 36: "1ms"}, {"": "1ms"}, says="keys must be names of NodePools, such as cloud")
refuses(ROUND_TRIP, {f"p{n}": "1ms" for n in range(257)}, says="must have at most 256 items")
refuses(ROUND_TRIP, {"cloud": "35"}, {"cloud": "-1ms"}, says="should match", at=f"{ROUND_TRIP}.cloud")
refuses(ROUND_TRIP, {"cloud": "1" * 31 + "ms"}, says="Too long", at=f"{ROUND_TRIP}.cloud")

accepts("spec.limits.servers", 0, 10_000)
refuses("spec.limits.servers", -1, says="should be greater than or equal to 0")
refuses("spec.limits.servers", 10_001, says="should be less than or equal to 10000")
TABLE.quantity("spec.cache.quota", zero=False)
TABLE.quantity("spec.network.bandwidth", zero=False)

accepts("spec.gateway", {"address": "gateway.cloud.example:8443"})
refuses("spec.gateway", {}, says="Required value", at="spec.gateway.address")
TABLE.host_port("spec.gateway.address", also={"spec.gateway": {}})
