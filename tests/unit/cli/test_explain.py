"""`littoral explain`: why here, why not there, why so many, and what to do first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
import yaml

from littoral.api import Assignment, LatencySLO, Model, NodePool
from littoral.api.conditions import ATTAINABLE, Conditions, ready, reconciling, set_condition, stalled, unknown
from littoral.api.meta import ConditionStatus
from littoral.cli.advice import ABOUT, first_steps, headline, outdated
from littoral.cli.explain_text import as_text, overview
from littoral.cli.explanation import Explanation, as_json
from littoral.cli.options import document
from littoral.core.plan import Reason
from tests.support.objects import assignment, model_object, pool, pool_object, server, slo, variant

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
NOW = SINCE + timedelta(minutes=5, seconds=30)
GPU = variant("onnx-gpu", accelerator="nvidia-gpu")
HERE = {
    "pool": "edge",
    "site": "store-12",
    "tier": "edge",
    "accelerator": "cpu",
    "variant": "onnx-cpu",
    "server": "triton-edge-cpu",
    "replicas": 1,
    "readyReplicas": 1,
    "state": "Ready",
    "reason": "FallbackVariant",
    "message": "onnx-cpu is the first of 2 variants that pool edge can run: it has 8 CPU cores",
}
NOT_THERE = [
    {"pool": "edge", "variant": "onnx-gpu", "reason": "NoDevice", "message": "no node of pool edge has nvidia-gpu"},
    {"pool": "cloud", "reason": "StaysAtSite", "message": "the data must not leave its site"},
]


def conditions(make: Any = ready, *, reason: str = "Serving", message: str = "serves in edge (onnx-cpu)") -> Conditions:
    """Conditions of a Model."""
    made: Conditions = make((), reason=reason, message=message, generation=1, now=SINCE)
    return made


def model(*, told: Conditions = (), seen: int = 1, generation: int = 1, **status: Any) -> Model:
    """Model shop/digits with a status."""
    body = model_object(variants=[GPU, variant()], scaling={"minReplicas": 1})
    body["metadata"] |= {"generation": generation, "creationTimestamp": SINCE}
    body["status"] = {"observedGeneration": seen, "conditions": [c.dump() for c in told], **status}
    return Model.parse(body)


def served() -> Model:
    """The Model as it runs in one pool."""
    return model(
        told=conditions(),
        replicas=1,
        readyReplicas=1,
        placed="1/1",
        url="http://digits.shop",
        placements=[HERE],
        rejections=NOT_THERE,
    )


def asked() -> LatencySLO:
    """What is asked of it."""
    said = ready((), reason="InForce", message="", generation=1, now=SINCE)
    it = slo(overflow="Never", demand={"floor": "20"}, minAccuracy="0.9")
    return it.with_status(it.status.model_copy(update={"conditions": said}))


def measured_assignment() -> Any:
    """What the site measured: 12.5 requests/s, a p99 of 31 ms."""
    measured = {"rate": "12.5", "latency": {"requests": 750, "mean": "9ms", "p50": "8ms", "p95": "20ms", "p99": "31ms"}}
    said = {"name": "digits", "variant": "onnx-cpu", "digest": "", "measured": measured}
    report = {"name": "triton-edge-cpu", "namespace": "shop", "models": [said]}
    return assignment(servers=[server("digits")], status={"servers": [report]})


def text(it: Explanation, *, wide: bool = False, width: int | None = 100) -> list[str]:
    """What is shown, without colours."""
    return click.unstyle(as_text(it, wide=wide, now=NOW, width=width, zone=UTC)).splitlines()


def test_a_model_that_serves() -> None:
    assert text(Explanation(model=served(), slos=(asked(),), pools=(pool(),))) == [
        "Model shop/digits   Ready   1/1 placed   http://digits.shop",
        "  Serving: serves in edge (onnx-cpu)",
        "  since 2026-01-01 00:00:00 UTC (5m30s)",
        "",
        "What is asked",
        "  LATENCYSLO   STATE",
        "  digits-slo   InForce   99% of requests within 50ms, in 99.9% of 5-minute windows, at every site,",
        "                         accuracy 0.9 or more, never off its site",
        "",
        "Why here",
        "  POOL   TIER   VARIANT    CLASS   READY   STATE",
        "  edge   edge   onnx-cpu   cpu     1/1     Ready",
        "      FallbackVariant: onnx-cpu is the first of 2 variants that pool edge can run: it has 8 CPU",
        "      cores",
        "",
        "Why not there",
        "  POOL    VARIANT    REASON",
        "  edge    onnx-gpu   NoDevice      no node of pool edge has nvidia-gpu",
        "  cloud   any        StaysAtSite   the data must not leave its site",
        "",
        "Why 1 replica",
        "  1 in edge; spec.scaling asks for 1 to 20",
        "  LatencySLO digits-slo wants room for 20 requests/s at each site",
        "",
        "Pools",
        "  POOL   TIER   SITE   NODES   DEVICES",
        "  edge   edge   edge   0/0     no devices",
    ]


def test_wide_adds_what_was_measured() -> None:
    it = Explanation(model=served(), slos=(asked(),), assignments={"edge": measured_assignment()})
    lines = text(it, wide=True, width=None)
    assert "  edge   edge   onnx-cpu   cpu     1/1     Ready   triton-edge-cpu   12.5/s   31ms   50ms" in lines
    assert "  onnx-cpu   cpu          onnxruntime   -     -        -          sha256:0123456789ab" in lines


def with_gateway(*counted: dict[str, Any]) -> Any:
    """Pool edge with a gateway that routes the Model and another one."""
    routes = [{"namespace": "shop", "name": name} for name in ("digits", "other")]
    body = assignment(status={"gateway": {"routes": list(counted)}}).dump()
    return Assignment.parse(body | {"spec": body["spec"] | {"routes": routes}})


def test_gateways_tell_what_leaves_and_what_is_refused() -> None:
    counted = {"namespace": "shop", "name": "digits", "arrived": "40", "spilled": "12.5", "refused": "1", "p99": "48ms"}
    other = {"namespace": "shop", "name": "other", "arrived": "7"}
    it = Explanation(model=served(), assignments={"edge": with_gateway(counted, other), "cloud": assignment("cloud")})
    lines = text(it)
    start = lines.index("Gateways")
    assert lines[start : start + 3] == [
        "Gateways",
        "  POOL   ARRIVED   SPILLED   REFUSED   FAILED   P99",
        "  edge   40/s      12.5/s    1/s       0/s      48ms",
    ]
    assert as_json(it)["gateways"] == [
        {"pool": "edge", "arrived": 40.0, "spilled": 12.5, "refused": 1.0, "failed": 0.0, "p99": 0.048}
    ]


def test_a_gateway_that_nobody_asks() -> None:
    it = Explanation(model=served(), assignments={"edge": with_gateway()})
    assert "  edge   0/s       0/s       0/s       0/s      -" in text(it)


def test_without_gateways_nothing_is_said_of_them() -> None:
    it = Explanation(model=served(), assignments={"edge": measured_assignment()})
    assert "Gateways" not in text(it)
    assert as_json(it)["gateways"] == []


def test_programs_get_the_same() -> None:
    it = Explanation(model=served(), slos=(asked(),), pools=(pool(),), assignments={"edge": measured_assignment()})
    said = yaml.safe_load(document(as_json(it), output="yaml"))
    assert said["state"] == "Ready"
    assert said["placements"][0]["measured"] == {"rate": 12.5, "p99": 0.031, "budget": 0.05, "headroom": 0.38}
    assert said["replicas"]["wanted"] == 1
    assert said["pools"][0]["name"] == "edge"
    assert said["slos"][0]["overflow"] == "Never"
    assert as_json(Explanation(model=served()))["pools"] is None


def test_a_tenant_who_may_not_read_pools_is_told_so() -> None:
    assert "  you may not read NodePools: a cluster administrator may" in text(Explanation(model=served()))


def test_a_sum_of_rejections_is_not_repeated() -> None:
    summed = {"pool": "edge", "reason": "NoVariantFits", "message": "none of the 2 variants fits pool edge"}
    lines = text(Explanation(model=model(rejections=[*NOT_THERE, summed, summed | {"pool": "far"}])))
    assert [line.split()[:3] for line in lines if "NoVariantFits" in line] == [["far", "any", "NoVariantFits"]]


def test_a_stalled_model_says_what_to_do_first() -> None:
    stuck = model(
        told=conditions(stalled, reason="NoPlacement", message="none of the 2 variants fits pool edge"),
        rejections=[*NOT_THERE, {"pool": "b", "variant": "onnx-gpu", "reason": "NoDevice", "message": "none"}],
    )
    lines = text(Explanation(model=stuck, pools=()))
    assert lines[:7] == [
        "Model shop/digits   Stalled   0/0 placed",
        "  NoPlacement: none of the 2 variants fits pool edge",
        "  since 2026-01-01 00:00:00 UTC (5m30s)",
        "  Do first: add a variant for a class that the pools have, or see why no node announces the device",
        "            (its device plugin, the variant's nodeSelector)",
        "  Or:       make room at the edge, or let the LatencySLO say overflow: Allow",
        "",
    ]
    assert lines[-1] == "  there is none: create a NodePool that selects your nodes"


@pytest.mark.parametrize(
    ("stuck", "step"),
    [
        (model(seen=-1), "see that the operator runs"),
        (
            model(told=conditions(stalled, reason="InvalidSpec", message="x")),
            "correct the fields that the message names",
        ),
        (model(told=conditions(stalled, reason="NoPlacement", message="x")), "create a NodePool"),
        (
            model(
                told=conditions(stalled, reason="ModelFailed", message="x"),
                placements=[HERE | {"state": "Failed"}],
            ),
            "kubectl logs -n shop deployment/triton-edge-cpu -c agent",
        ),
    ],
)
def test_first_steps(stuck: Model, step: str) -> None:
    (said,) = first_steps(stuck)
    assert step in said


@pytest.mark.parametrize("told", [conditions(), conditions(reconciling, reason="Progressing")])
def test_nothing_to_do(told: Conditions) -> None:
    assert first_steps(model(told=told)) == ()


def test_every_rejection_has_advice_or_needs_none() -> None:
    needs_none = {"PreferredVariant", "FallbackVariant", "NoVariantFits", "NotNeeded"}
    assert {str(reason) for reason in Reason} - needs_none <= set(ABOUT)


def test_a_status_about_an_earlier_spec_says_so() -> None:
    old = model(told=conditions(), generation=2)
    assert outdated(old)
    assert not outdated(model(seen=-1))
    assert "  This is about an earlier spec: the operator has yet to see this one." in text(Explanation(model=old))


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ((), "Unseen"),
        (conditions(), "Ready"),
        (conditions(reconciling), "Reconciling"),
        (conditions(stalled), "Stalled"),
    ],
)
def test_a_model_in_a_word(told: Conditions, word: str) -> None:
    assert headline(model(told=told))[0] == word


def test_a_model_that_nobody_hears_of() -> None:
    told = conditions(unknown, reason="MemberUnreachable", message="member store-12 has not been heard of")
    lost = model(told=told, placements=[HERE | {"reason": "MemberUnreachable"}])
    there = NodePool.parse(
        pool_object(member="store-12") | {"status": {"unreachableSince": "2026-11-28T18:00:00Z", "nodes": 1}}
    )
    lines = text(Explanation(model=lost, pools=(there, pool("cloud", tier="cloud"))))
    assert lines[0].startswith("Model shop/digits   Unknown")
    assert lines[1] == "  MemberUnreachable: member store-12 has not been heard of"
    assert first_steps(lost) == (ABOUT["MemberUnreachable"],)
    assert "  edge   edge   onnx-cpu   cpu     1/1     Ready?" in lines
    assert "  POOL    TIER    SITE   NODES   DEVICES      MEMBER" in lines
    assert any("no devices   store-12, not heard of since" in line for line in lines)
    assert as_json(Explanation(model=lost, pools=(there,)))["pools"][0]["member"] == "store-12"


def test_a_line_for_each_model() -> None:
    models = [served(), model(seen=-1)]
    assert click.unstyle(overview(models, namespaces=True, wide=True, now=NOW)).splitlines() == [
        "NAMESPACE   MODEL    STATE    PLACED   REPLICAS   AGE     REASON    MESSAGE",
        "shop        digits   Ready    1/1      1/1        5m30s   Serving   serves in edge (onnx-cpu)",
        "shop        digits   Unseen   0/0      0/0        5m30s   -",
    ]
    narrow = click.unstyle(overview(models, namespaces=False, wide=False, now=NOW)).splitlines()
    assert narrow[0] == "MODEL    STATE    PLACED   REPLICAS   AGE     REASON"


@pytest.mark.parametrize(
    ("it", "said"),
    [
        (model(seen=-1), "none yet; spec.scaling asks for 1 to 20"),
        (model(), "none, since no place was found for it; spec.scaling asks for 1 to 20"),
        (model(placements=[HERE], replicas=2), "0 of them answer requests"),
        (
            model(placements=[HERE | {"replicas": 21}], replicas=21),
            "more than maxReplicas, since it shares servers with Models that need more",
        ),
        (
            model(
                placements=[HERE],
                demand=[{"site": f"s{n}", "rate": str(n)} for n in range(1, 8)] + [{"site": "idle", "rate": "0.001"}],
            ),
            "planned for 1 requests/s at s1, 2 requests/s at s2, 3 requests/s at s3, 4 requests/s at s4, "
            "5 requests/s at s5, and more at 2 other sites",
        ),
        (model(placements=[HERE], demand=[{"rate": "2.5"}]), "planned for 2.5 requests/s from no site"),
        (model(placements=[HERE], shortfall="5 of 20 requests/s"), "too few: 5 of 20 requests/s"),
        (
            model(told=conditions(reason="Idle")),
            "none, since nobody asks for it; spec.scaling asks for 1 to 20",
        ),
    ],
)
def test_why_so_many(it: Model, said: str) -> None:
    assert said in Explanation(model=it).why_so_many()


def test_an_slo_that_cannot_be_kept_says_so() -> None:
    it = asked()
    told = set_condition(
        it.status.conditions,
        ATTAINABLE,
        status=ConditionStatus.FALSE,
        reason="NotEnoughCapacity",
        message="5 of 20 requests/s are not served",
        generation=1,
        now=SINCE,
    )
    it = it.with_status(it.status.model_copy(update={"conditions": told}))
    assert any("NotEnoughCapacity" in line for line in text(Explanation(model=served(), slos=(it,))))
