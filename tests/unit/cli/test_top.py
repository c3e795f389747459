"""`littoral top`: its tables, and how it refreshes them."""

from __future__ import annotations

import os
from typing import Any

import click
import pytest

from littoral.api import Assignment, LatencySLO, Model, NodePool
from littoral.api.assignment import AssignedModelStatus
from littoral.cli.failures import Failure
from littoral.cli.measured import Budget, Load, load, strictest
from littoral.cli.top import in_place, show
from littoral.cli.top_text import State, models_table, pools_table, servers_table
from littoral.cluster.resources import MODELS, Resource
from tests.support.objects import assignment, model_object, pool, pool_object, server, slo

BUDGET = Budget(seconds=0.05, percentile=99)


def said(**measured: Any) -> AssignedModelStatus:
    """A site's report of Model digits."""
    return AssignedModelStatus.parse({"name": "digits", "variant": "v", "digest": "d", "measured": measured or None})


def latency(**quantiles: str) -> dict[str, Any]:
    """Measured latencies."""
    return {"requests": 100, "mean": "5ms", **quantiles}


def placed(name: str, *, namespace: str = "shop", **placement: Any) -> Model:
    """A Model that runs in pool edge."""
    body = model_object(name, namespace=namespace)
    place = {"pool": "edge", "site": "store-12", "tier": "edge", "accelerator": "cpu", "variant": "onnx-cpu"}
    place |= {"server": "triton-edge-cpu", "replicas": 2, "readyReplicas": 1, "state": "Loading"}
    body["status"] = {"placements": [place | placement]}
    return Model.parse(body)


def running() -> Assignment:
    """Pool edge with one server of two Models, one of them measured."""
    device = {"memoryUsed": "1288490188", "memoryTotal": "8Gi"}
    models = [
        said(rate="1234.5", latency=latency(p95="30ms", p99="60ms")).dump(),
        {"name": "idle", "variant": "v", "digest": "d"},
    ]
    report = {"name": "triton-edge-cpu", "namespace": "shop", "replicas": 2, "readyReplicas": 1, "models": models}
    return assignment(
        servers=[server("digits", "idle", replicas=2, cpu="500m", memory="768Mi")],
        status={"servers": [report | {"device": device, "message": "Pod b is starting"}]},
    )


def state(**parts: Any) -> State:
    """One moment."""
    unplaced = Model.parse(model_object("lost"))
    return State(
        **{
            "models": (placed("digits"), placed("idle"), unplaced, placed("other", namespace="b")),
            "slos": (slo("digits"), slo("digits", latency="80ms"), slo("idle", percentile="95", latency="1s")),
            "pools": (pool(),),
            "assignments": (running(),),
            "namespace": "shop",
        }
        | parts
    )


def test_models() -> None:
    assert click.unstyle(models_table(state())).splitlines() == [
        "MODEL    POOL   VARIANT    STATE     READY   RATE     P99    BUDGET     HEADROOM",
        "digits   edge   onnx-cpu   Loading   1/2     1234/s   60ms   50ms       -20%",
        "idle     edge   onnx-cpu   Loading   1/2     -        -      1s (p95)   -",
        "lost     -      -          Unseen    0/0     -        -      -          -",
    ]


def test_models_where_there_are_gateways() -> None:
    counted = {"namespace": "shop", "name": "digits", "arrived": "1300", "spilled": "65.5", "refused": "2"}
    body = running().dump()
    body["spec"]["routes"] = [{"namespace": "shop", "name": "idle"}]
    body["status"]["gateway"] = {"routes": [counted]}
    lines = click.unstyle(models_table(state(assignments=(Assignment.parse(body),)))).splitlines()
    assert lines[0].split()[-3:] == ["HEADROOM", "SPILLED", "REFUSED"]
    assert [line.split()[-3:] for line in lines[1:]] == [
        ["-20%", "65.5/s", "2/s"],
        ["-", "0/s", "0/s"],
        ["-", "-", "-"],
    ]


def test_all_namespaces() -> None:
    lines = click.unstyle(models_table(state(namespace=None))).splitlines()
    assert lines[0].startswith("NAMESPACE   MODEL")
    assert lines[-1].startswith("b           other")


def test_what_may_not_be_read_is_a_dash() -> None:
    lines = click.unstyle(models_table(state(assignments=(), slos=()))).splitlines()
    assert lines[1].split() == ["digits", "edge", "onnx-cpu", "Loading", "1/2", "-", "-", "-", "-"]


def test_pools() -> None:
    assert click.unstyle(pools_table(state())).splitlines() == [
        "POOL   TIER   SITE   NODES   SERVERS   PODS   MODELS   RATE     DEVICES",
        "edge   edge   edge   0/0     1         1/2    2        1234/s   -",
    ]


def of_member(name: str, **status: Any) -> NodePool:
    """A pool of member cluster store-12."""
    return NodePool.parse(pool_object(name, member="store-12") | {"status": status})


def test_pools_of_members() -> None:
    awaited = {"type": "Ready", "status": "Unknown", "reason": "AwaitingReport", "message": ""}
    awaited |= {"lastTransitionTime": "2026-11-28T18:00:00Z"}
    pools = (
        pool(),
        of_member("a"),
        of_member("b", conditions=[awaited]),
        of_member("c", unreachableSince="2026-11-28T18:00:00Z", nodes=2, readyNodes=2),
    )
    lines = click.unstyle(pools_table(state(pools=pools))).splitlines()
    assert [line.partition("-   ")[2].strip() for line in lines[1:]][1:] == [
        "-         store-12",
        "-         store-12, awaited",
        "-         store-12, not heard of since 2026-11-28T18:00:00Z",
    ]
    assert lines[0].split()[-2:] == ["DEVICES", "MEMBER"]


def test_a_state_that_nobody_hears_of_is_in_doubt() -> None:
    lines = click.unstyle(models_table(state(models=(placed("digits", reason="MemberUnreachable"),)))).splitlines()
    assert lines[1].split()[:4] == ["digits", "edge", "onnx-cpu", "Loading?"]


def test_servers() -> None:
    assert click.unstyle(servers_table(state())).splitlines() == [
        "SERVER            POOL   CLASS   PODS   MODELS   CPU    MEMORY   DEVICE       RATE     MESSAGE",
        "triton-edge-cpu   edge   cpu     1/2    2        500m   768Mi    1229Mi/8Gi   1234/s   Pod b is starting",
    ]
    assert len(servers_table(state(namespace="elsewhere")).splitlines()) == 1


def test_a_server_that_nobody_reports_on() -> None:
    lines = servers_table(state(assignments=(assignment(servers=[server("digits")]),))).splitlines()
    assert lines[1].endswith("its site has yet to report on it")


@pytest.mark.parametrize(
    ("report", "budget", "expected"),
    [
        (None, None, Load()),
        (said(), BUDGET, Load(budget=BUDGET)),
        (said(rate="2"), BUDGET, Load(rate=2, budget=BUDGET)),
        (said(rate="2", latency=latency(p99="25ms")), None, Load(rate=2, p99=0.025)),
        (said(rate="2", latency=latency(p99="25ms")), BUDGET, Load(rate=2, p99=0.025, budget=BUDGET, headroom=0.5)),
        (
            said(latency=latency(p50="10ms", p95="25ms", p99="40ms")),
            Budget(seconds=0.1, percentile=90),
            Load(p99=0.04, budget=Budget(seconds=0.1, percentile=90), headroom=0.75),
        ),
        (
            said(latency=latency(p99="25ms")),
            Budget(seconds=0.05, percentile=99.9),
            Load(p99=0.025, budget=Budget(seconds=0.05, percentile=99.9), headroom=0.5),
        ),
        (said(latency=latency(p50="10ms")), BUDGET, Load(budget=BUDGET)),
        (said(latency=latency()), BUDGET, Load(budget=BUDGET)),
    ],
)
def test_headroom(report: AssignedModelStatus | None, budget: Budget | None, expected: Load) -> None:
    assert load(report, budget=budget) == expected


@pytest.mark.parametrize(
    ("slos", "site", "seconds"),
    [
        ([], "a", None),
        ([slo(latency="80ms"), slo(latency="50ms")], "a", 0.05),
        ([slo(latency="80ms"), slo(latency="50ms", sites={"matchNames": ["b"]})], "a", 0.08),
        ([slo(latency="80ms"), slo(latency="50ms", sites={"matchNames": ["b"]})], None, 0.05),
    ],
)
def test_the_strictest_slo_counts(slos: list[LatencySLO], site: str | None, seconds: float | None) -> None:
    budget = strictest(slos, site=site)
    assert (budget.seconds if budget else None) == seconds


class Unsteady:
    """A reader whose answers are given: each in turn is returned, or raised."""

    def __init__(self, *answers: list[Any] | Exception) -> None:
        self._answers = list(answers)

    async def objects(self, resource: Resource, *, namespace: str | None = None) -> list[Any]:
        """The next answer about Models; nothing else is there."""
        answer = self._answers.pop(0) if resource is MODELS else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    objects_if_allowed = objects


class EndOfTest(Exception):
    """Ends what would go on for ever."""


async def test_what_was_seen_last_stays_while_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    seen = [placed("digits").dump()]
    away = Failure("the API server cannot be reached")
    reader = Unsteady(seen, away, away, seen, EndOfTest())
    with pytest.raises(EndOfTest):
        await show(reader, what="models", namespace="shop", interval=0)  # type: ignore[arg-type]
    frames = capsys.readouterr().out.split("littoral top models")[1:]
    assert ["digits" in frame for frame in frames] == [True] * 4
    assert [frame.count("No news: the API server cannot be reached") for frame in frames] == [0, 1, 1, 0]


async def test_a_first_look_that_fails_ends_it() -> None:
    with pytest.raises(Failure):
        await show(Unsteady(Failure("no")), what="models", namespace="shop", interval=1)  # type: ignore[arg-type]


def test_a_screen_is_overwritten_and_never_overrun() -> None:
    shown = in_place(["title", "", *(f"row {n}" * 9 for n in range(9))], size=os.terminal_size((20, 6)))
    lines = shown.removeprefix("\x1b[H").removesuffix("\x1b[J").split("\x1b[K")
    assert [line.strip("\n") for line in lines] == [
        "title",
        "",
        "row 0row 0row 0row …",
        "row 1row 1row 1row …",
        "... 7 more",
        "",
    ]
