"""The manifests of the quickstart and the samples are valid, and name the networks of the repository."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.quickstart.networks import NETWORKS
from littoral.api import API_VERSION, Assignment, LatencySLO, Model, NodePool
from littoral.core.hardware import Node
from littoral.core.world import World
from tests.support.planning import planned

MANIFESTS = Path(__file__).parents[3] / "manifests"
KINDS = {kind.KIND: kind for kind in (Assignment, LatencySLO, Model, NodePool)}


def read(folder: str) -> list[Any]:
    files = sorted((MANIFESTS / folder).glob("*.yaml"))
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def own(folder: str) -> list[Any]:
    return [document for document in read(folder) if document["apiVersion"] == API_VERSION]


def label(document: Any) -> str:
    return f"{document['kind']}-{document['metadata']['name']}"


def fields(written: Any, parsed: Any, path: str = "") -> list[str]:
    """Paths of what was written and did not survive parsing: unknown fields are dropped in silence."""
    if isinstance(written, dict):
        return [
            lost
            for key, value in written.items()
            for lost in (
                fields(value, parsed[key], f"{path}.{key}")
                if isinstance(parsed, dict) and key in parsed
                else [f"{path}.{key}"]
            )
        ]
    if isinstance(written, list):
        return [
            lost
            for index, (value, found) in enumerate(zip(written, parsed, strict=True))
            for lost in fields(value, found, f"{path}[{index}]")
        ]
    return []


@pytest.mark.parametrize("folder", ["quickstart", "quickstart-v2", "samples"])
def test_every_object_is_valid_and_has_no_unknown_field(folder: str) -> None:
    documents = own(folder)
    assert documents
    for document in documents:
        parsed = KINDS[document["kind"]].parse(document)
        assert fields(document, parsed.dump()) == [], label(document)


def test_there_is_a_sample_of_every_kind() -> None:
    assert {document["kind"] for document in own("samples")} == set(KINDS)


def test_the_quickstart_names_the_networks_of_the_repository() -> None:
    offered = {f"https://artifacts.shop.svc/{network.file_name}": network.digest for network in NETWORKS}
    named = {
        variant["artifact"]["uri"]: variant["artifact"]["digest"]
        for document in own("quickstart") + own("quickstart-v2")
        if document["kind"] == "Model"
        for variant in document["spec"]["variants"]
    }
    assert named == offered


def test_the_second_version_changes_only_the_artifact_and_its_accuracy() -> None:
    (second,) = own("quickstart-v2")
    (first,) = (document for document in own("quickstart") if label(document) == label(second))
    for document in (first, second):
        for variant in document["spec"]["variants"]:
            del variant["artifact"], variant["accuracy"]
    assert first == second


def node(name: str, pool: str) -> Node:
    """A node of the lab, as small as this project's machines are."""
    return Node(name=name, ready=True, schedulable=True, cpu=2, memory=6 * 2**30, labels={"littoral.dev/pool": pool})


def test_the_planner_places_the_quickstart_on_two_small_nodes_without_devices() -> None:
    parsed = [KINDS[document["kind"]].parse(document) for document in own("quickstart")]
    world = World(
        models=tuple(item for item in parsed if isinstance(item, Model)),
        slos=tuple(item for item in parsed if isinstance(item, LatencySLO)),
        pools=tuple(item for item in parsed if isinstance(item, NodePool)),
        nodes=(node("edge", "edge"), node("cloud", "cloud")),
    )
    placed = {
        key.name: [(place.pool, place.variant) for place in decision.placements]
        for key, decision in planned(world).decisions.items()
    }
    assert placed == {
        "digits": [("edge", "onnx-cpu"), ("cloud", "onnx-cpu")],
        "text-detect": [("edge", "onnx-cpu")],
        "text-recognize": [("edge", "onnx-cpu")],
    }
