"""`littoral plan`: what is said of a change, from a snapshot, without any cluster."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from littoral.cli.difference import Change, Difference, difference
from littoral.cli.main import main
from littoral.cli.plan_text import as_text
from littoral.cli.whatif import key_from, solve
from littoral.cli.worlds import ObjectKey, overlay, surroundings, trimmed
from littoral.core.hardware import default_device_table
from littoral.core.node_reports import reports_of
from littoral.core.plan import Decision, Plan
from littoral.core.world import ModelKey, World
from tests.support.objects import assignment, model, model_object, node, pool, pool_object, server, variant
from tests.support.planning import planned

NPU = variant("npu", accelerator="intel-npu", backend="openvino")
Object = dict[str, Any]


def node_object(name: str = "edge-1", *, pool: str = "edge", **allocatable: str) -> Object:
    """A ready node with 4 cores."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"littoral.dev/pool": pool}, "annotations": {"secret": "s3cret"}},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi"} | allocatable,
            "conditions": [{"type": "Ready", "status": "True", "message": "s3cret"}],
            "images": [{"names": ["s3cret"]}],
        },
    }


def assignment_object(*servers: Object, name: str = "edge") -> Object:
    """An Assignment as the API server has it."""
    return assignment(name, servers=servers).dump() | {"kind": "Assignment"}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """One Model on the CPU of one pool with one node, as it runs."""
    path = tmp_path / "world.json"
    write(path, model_object(), pool_object(), node_object())
    return path


def write(path: Path, *objects: Object) -> str:
    """Write a List."""
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
    return str(path)


def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run it."""
    return CliRunner(env={"COLUMNS": "100"}).invoke(main, ["plan", *arguments], input=stdin)


def changes(*arguments: str) -> Object:
    """What it says to programs."""
    ran = run(*arguments, "-o", "json")
    assert ran.exit_code == 0, ran.output
    said: Object = json.loads(ran.stdout)
    return said


def test_a_world_without_assignments_is_all_new(world: Path) -> None:
    assert run("--world", str(world)).stdout.splitlines() == [
        "Servers",
        "      POOL   NAMESPACE   SERVER            SIZE      MODELS",
        "  +   edge   shop        triton-edge-cpu   cpu x 1   digits (onnx-cpu)",
        "",
        "Models",
        "      MODEL         POOL   VARIANT               WHY",
        "  +   shop/digits   edge   onnx-cpu on cpu x 1   PreferredVariant: onnx-cpu is the only variant and",
        "                                                 runs on cpu: it is kept ready, since its load is",
        "                                                 unknown or small",
        "",
        "1 server appears, 1 Model is affected. Nothing was written.",
    ]


def test_manifests_are_compared_with_the_world_s_own_plan(world: Path, tmp_path: Path) -> None:
    manifests = tmp_path / "m.yaml"
    manifests.write_text(yaml.safe_dump(model_object("second")))
    said = changes("--world", str(world), "-f", str(manifests))
    assert [(it["change"], it["name"], it["details"]) for it in said["servers"]] == [
        ("changes", "triton-edge-cpu", ["cpu: 250m -> 500m", "memory: 512Mi -> 768Mi", "+second (onnx-cpu)"])
    ]
    assert [(it["change"], it["name"], it["pool"]) for it in said["models"]] == [("appears", "second", "edge")]


def test_the_same_world_changes_nothing(world: Path) -> None:
    ran = run("--world", str(world), "-f", str(world), "--exit-code")
    assert (ran.exit_code, ran.stdout) == (0, "Nothing would change.\n")


def test_exit_codes(world: Path) -> None:
    assert run("--world", str(world)).exit_code == 0
    assert run("--world", str(world), "--exit-code").exit_code == 2
    assert run("--world", str(world), "--exit-code", "-f", "/no/such").exit_code == 1


def test_what_if_a_node_were_gone(world: Path) -> None:
    said = changes("--world", str(world), "--without", "nodes/edge-1")
    assert [(it["change"], it["reason"]) for it in said["models"]] == [("goes", "NoVariantFits")]
    assert [it["name"] for it in said["shortfalls"]] == ["digits"]


def test_what_if_a_better_node_came(world: Path, tmp_path: Path) -> None:
    better = write(
        tmp_path / "b.json",
        node_object("edge-2", **{"npu.intel.com/accel": "1"}),
        model_object(variants=[NPU, variant()]),
    )
    said = changes("--world", str(world), "-f", better)
    assert [(it["change"], it["name"]) for it in said["servers"]] == [
        ("goes", "triton-edge-cpu"),
        ("appears", "triton-edge-intel-npu"),
    ]
    (move,) = said["models"]
    assert (move["change"], move["before"][0]["variant"], move["after"][0]["variant"]) == ("changes", "onnx-cpu", "npu")


def test_a_snapshot_s_assignments_tell_what_runs(tmp_path: Path) -> None:
    running = assignment_object(server("gone", "digits", cpu="500m", memory="768Mi"))
    world = write(tmp_path / "w.json", model_object(), pool_object(), node_object(), running)
    said = changes("--world", world)
    assert said["servers"][0]["details"] == ["cpu: 500m -> 250m", "memory: 768Mi -> 512Mi", "-gone (onnx-cpu)"]
    assert [(it["name"], it["change"], it["message"]) for it in said["models"]] == [
        ("gone", "goes", "the Model is gone")
    ]


def test_a_member_s_nodes_are_known_from_its_reports(tmp_path: Path) -> None:
    """From a snapshot as from the live cluster, as the operator knows them."""
    there = assignment("store")
    reported = reports_of([node("n1", pool="store", labels={"app": "till"})])
    body = there.dump() | {"kind": "Assignment"}
    body["spec"]["member"] = "store-12"
    body["status"] = {"observedGeneration": 1, "nodes": [report.dump() for report in reported]}
    kept = trimmed(body)
    world = surroundings([kept], devices=default_device_table()).world
    assert world.nodes == (node("n1", pool="store", labels={"app": "till"}, member="store-12"),)
    found = changes("--world", write(tmp_path / "w", model_object(), pool_object("store", member="store-12"), body))
    assert [(it["pool"], it["change"]) for it in found["servers"]] == [("store", "appears")]


def test_pools_that_nobody_hears_of_stay_as_they_are(tmp_path: Path) -> None:
    """As the operator leaves them: a snapshot says who is missing."""
    there = assignment("store", servers=[server("digits", "other", pool="store")]).dump() | {"kind": "Assignment"}
    there["spec"]["member"] = "store-12"
    there["status"] = {"nodes": [it.dump() for it in reports_of([node("n1", pool="store")])]}
    lost = pool_object("store", member="store-12") | {
        "status": {
            "unreachableSince": "2026-11-28T18:00:00Z",
            "conditions": [{"type": "Ready", "message": "s3cret"}],
        }
    }
    assert trimmed(lost)["status"] == {"unreachableSince": "2026-11-28T18:00:00Z"}
    world = write(tmp_path / "w", model_object(), model_object("fresh"), lost, there)
    assert surroundings([trimmed(lost)], devices=default_device_table()).world.unreachable == {
        "store-12": datetime(2026, 11, 28, 18, tzinfo=UTC)
    }
    why = "member store-12 has not been heard of since 2026-11-28T18:00:00Z"
    found = changes("--world", world)
    assert not found["changed"]
    assert found["frozen"] == [{"pool": "store", "message": why}]
    (short,) = found["shortfalls"]
    assert short["name"] == "fresh"
    shown = " ".join(click.unstyle(run("--world", world).output).split())
    assert f"Not planned POOL WHY ? store {why}; what runs there goes on" in shown


def test_gateways_are_part_of_a_world_whose_assignments_have_routes() -> None:
    """Measured round trips count, and routes alone are no difference."""
    routes = [{"namespace": "shop", "name": "digits", "next": []}]
    trips = {"roundTrips": [{"pool": "cloud", "time": "3s"}]}
    served = assignment_object(server("digits"))
    served["spec"]["routes"], served["status"] = routes, {"gateway": trips}
    named = pool_object(network={"roundTrip": {"cloud": "10ms"}})
    objects = [model_object(), named, pool_object("cloud", tier="cloud"), node_object(), served]
    there = surroundings([trimmed(body) for body in objects], devices=default_device_table())
    decided = solve(there)
    assert decided.routed
    assert [it.name for it in decided.assignments["edge"].routes] == ["digits"]
    before = {pool: it.spec for pool, it in there.assignments.items()}
    assert [move.model for move in difference(before, decided).moves] == []
    served["spec"]["routes"] = []
    there = surroundings([trimmed(body) for body in objects], devices=default_device_table())
    assert not solve(there).routed


def test_standard_input_and_other_kinds(world: Path) -> None:
    text = yaml.safe_dump_all([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}, model_object("b")])
    ran = run("--world", str(world), "-f", "-", "-o", "yaml", stdin=text)
    assert [it["name"] for it in yaml.safe_load(ran.stdout)["models"]] == ["b"]


def test_manifests_without_a_namespace_get_the_one_asked_for(world: Path, tmp_path: Path) -> None:
    body = model_object("b")
    del body["metadata"]["namespace"]
    path = write(tmp_path / "m.json", body)
    assert changes("--world", str(world), "-f", path, "-n", "mine")["models"][0]["namespace"] == "mine"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("model/a", ObjectKey("Model", "shop", "a")),
        ("mdl/a", ObjectKey("Model", "shop", "a")),
        ("LatencySLOs/a", ObjectKey("LatencySLO", "shop", "a")),
        ("slo/a", ObjectKey("LatencySLO", "shop", "a")),
        ("pool/a", ObjectKey("NodePool", "", "a")),
        ("asg/a", ObjectKey("Assignment", "", "a")),
        ("no/a", ObjectKey("Node", "", "a")),
    ],
)
def test_objects_are_named_as_kubectl_names_them(text: str, key: ObjectKey) -> None:
    assert key_from(text, namespace="shop") == key


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--without", "node/edge-2"], "there is no Node edge-2: did you mean edge-1?"),
        (["--without", "model/digts", "-n", "shop"], "there is no Model digts in namespace shop: did you mean digits?"),
        (["--without", "pod/x"], "name it KIND/NAME"),
        (["--without", "node"], "name it KIND/NAME"),
        (["--device-table", __file__], "Error:"),
    ],
)
def test_errors_are_one_line(world: Path, arguments: list[str], said: str) -> None:
    ran = run("--world", str(world), *arguments)
    assert ran.exit_code == 1
    assert said in ran.stderr.splitlines()[-1]


def test_an_invalid_manifest_is_named_with_its_line(world: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("apiVersion: littoral.dev/v1alpha1\nkind: Model\nmetadata: {name: b}\nspec: {varants: []}\n")
    ran = run("--world", str(world), "-f", str(path))
    assert (ran.exit_code, ran.stderr) == (
        1,
        f"Error: {path}:4: error: Model default/b: spec.varants: unknown field: did you mean variants? (1 more: see "
        "littoral validate)\n",
    )


@pytest.mark.parametrize("content", ["", "7", "[]", '{"items": 3}', "a: [", '{"items": [{"kind": "Pod"}]}'])
def test_what_is_no_snapshot(tmp_path: Path, content: str) -> None:
    path = tmp_path / "w.json"
    path.write_text(content)
    ran = run("--world", str(path))
    assert (ran.exit_code, ran.stderr.startswith(f"Error: {path}: ")) == (1, True)


def test_objects_that_cannot_be_read_are_passed_over_as_the_operator_does(tmp_path: Path) -> None:
    world = write(tmp_path / "w.json", model_object(variants=[variant("Bad")]), pool_object(), node_object())
    ran = run("--world", world)
    assert ran.stdout == "Nothing would change.\n"
    assert ran.stderr.startswith("passed over: Model shop/digits: spec.variants[0].name: ")


@pytest.mark.parametrize("rest", [{}, {"spec": 7, "status": []}, {"status": {"conditions": [7], "allocatable": []}}])
@pytest.mark.parametrize("kind", ["Node", "Model", "NodePool", "LatencySLO", "Assignment"])
def test_no_object_breaks_a_snapshot(tmp_path: Path, kind: str, rest: Object) -> None:
    body = {"apiVersion": "littoral.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, **rest}
    ran = run("--world", write(tmp_path / "w.json", body, pool_object()))
    assert (ran.exit_code, ran.stdout) == (0, "Nothing would change.\n")


class TestSnapshots:
    def test_hold_nothing_that_is_nobody_s_business(self) -> None:
        secret = "s3cret"
        body = model_object(variants=[variant(artifact={"uri": f"https://m.example/a?sig={secret}", "digest": "d"})])
        body["metadata"] |= {"annotations": {"a": secret}, "managedFields": [{"manager": secret}]}
        running = assignment_object(server("digits"))
        running["status"] = {
            "conditions": [{"message": secret}],
            "servers": [{"name": "a", "message": secret, "models": [{"name": "digits", "message": secret}]}],
        }
        kept = json.dumps([trimmed(it) for it in (body, running, node_object())])
        assert secret not in kept
        assert "https://m.example/a" in kept

    def test_make_the_same_plan_as_the_cluster(self) -> None:
        whole = [model_object(), pool_object(), node_object(), assignment_object(server("digits"))]
        table = default_device_table()
        before, after = (surroundings(it, devices=table) for it in (whole, [trimmed(body) for body in whole]))
        assert planned(before.world) == planned(after.world)
        assert before.world.nodes == after.world.nodes

    def test_leave_out_what_is_being_deleted(self) -> None:
        body = model_object()
        body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        assert surroundings([trimmed(body)], devices=default_device_table()).world.models == ()


class TestOverlay:
    def test_replaces_adds_and_leaves_out(self) -> None:
        objects = [model_object("a"), model_object("b", namespace="other"), pool_object("a")]
        nameless = model_object("c")
        del nameless["metadata"]["namespace"]
        laid_over = overlay(
            objects,
            changes=[model_object("a", priority=7), nameless],
            without=[ObjectKey("NodePool", "", "a")],
            namespace="mine",
        )
        assert [(it["metadata"].get("namespace"), it["metadata"]["name"]) for it in laid_over] == [
            ("shop", "a"),
            ("other", "b"),
            ("mine", "c"),
        ]
        assert laid_over[0]["spec"]["priority"] == 7


class TestDifference:
    world = World(models=(model(),), pools=(pool(),), nodes=(node(),))

    def test_nothing(self) -> None:
        decided = planned(self.world)
        found = difference(decided.assignments, decided)
        assert not found
        assert as_text(found, width=None) == "Nothing would change."

    def test_another_artifact(self) -> None:
        other = {"uri": "https://models.example/network.onnx", "digest": "sha256:" + "f" * 64}
        after = planned(World(models=(model(variants=[variant(artifact=other)]),), pools=(pool(),), nodes=(node(),)))
        found = difference(planned(self.world).assignments, after)
        assert [it.details for it in found.servers] == [("digits: another artifact",)]
        assert [(it.change, it.reason) for it in found.moves] == [(Change.CHANGES, "ArtifactChanged")]

    def test_the_address_of_an_artifact_is_not_the_artifact(self) -> None:
        moved = {"uri": "https://elsewhere.example/a", "digest": variant()["artifact"]["digest"]}
        after = planned(World(models=(model(variants=[variant(artifact=moved)]),), pools=(pool(),), nodes=(node(),)))
        assert not difference(planned(self.world).assignments, after)

    def test_a_pool_that_is_gone(self) -> None:
        found = difference(planned(self.world).assignments, planned(World(models=(model(),))))
        assert [(it.change, it.reason) for it in found.moves] == [(Change.GOES, "PoolGone")]
        assert found.shortfalls[0].message == (
            "it is not kept ready anywhere: there is no NodePool: create one that selects your nodes"
        )

    def test_two_servers_of_one_pool_are_two_spots(self) -> None:
        two = assignment(servers=[server("digits"), server("digits") | {"name": "triton-edge-2-cpu"}]).spec
        found = difference({"edge": two}, Plan(assignments={"edge": two}, decisions={}))
        assert found == Difference()
        one = assignment(servers=[server("digits", replicas=3)]).spec
        found = difference(
            {"edge": two}, Plan(assignments={"edge": one}, decisions={ModelKey("shop", "digits"): Decision()})
        )
        text = click.unstyle(as_text(found, width=None))
        assert "onnx-cpu on cpu x 1 + onnx-cpu on cpu x 1 -> onnx-cpu on cpu x 3" in text
        assert "1 server changes, 1 server goes, 1 Model is affected. Nothing was written." in text
