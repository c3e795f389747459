"""What a LatencySLO may say."""

from __future__ import annotations

from typing import Any

from littoral.api import LatencySLO
from tests.unit.api.cases.case import ABSENT, Table


def latency_slo(**spec: Any) -> dict[str, Any]:
    """A LatencySLO that is accepted."""
    return {
        "apiVersion": "littoral.dev/v1alpha1",
        "kind": "LatencySLO",
        "metadata": {"name": "digits", "namespace": "default"},
        "spec": {"modelRef": {"name": "digits"}, "latency": "50ms", **spec},
    }


TABLE = Table(LatencySLO, latency_slo())
accepts, refuses = TABLE.accepts, TABLE.refuses

accepts("metadata.name", "a", "a" * 253, "9.digits")
refuses("metadata.name", "Digits", says="should match")
refuses("metadata.name", "a" * 254, says="Too long")

refuses("spec.modelRef", ABSENT, says="Required value")
refuses("spec.modelRef", {}, says="Required value", at="spec.modelRef.name")
accepts("spec.modelRef.name", "a", "a" * 63)
refuses("spec.modelRef.name", "9digits", "shop/digits", "", says="should match")
refuses("spec.modelRef.name", "a" * 64, says="Too long")
TABLE.percentage("spec.percentile")
refuses("spec.latency", ABSENT, says="Required value")
TABLE.positive_duration("spec.latency")
TABLE.percentage("spec.objective")
SITES = "spec.sites.matchNames"
accepts(SITES, ["store-12"], [f"s{n}" for n in range(1024)])
refuses(SITES, [f"s{n}" for n in range(1025)], says="must have at most 1024 items")
refuses(SITES, [], says="should have at least 1 items")
refuses(SITES, ["a", "a"], says="Duplicate value", at=f"{SITES}[1]")
refuses("spec.sites", {}, says="Required value", at=SITES)
refuses(SITES, ["Store"], says="should match", at=f"{SITES}[0]")
refuses(SITES, ["a" * 64], says="Too long", at=f"{SITES}[0]")
TABLE.quantity("spec.demand.floor", zero=True)
TABLE.ratio("spec.minAccuracy")
accepts("spec.overflow", "Allow", "Never")
refuses("spec.overflow", "allow", says="Unsupported value")
