import pytest

from lab.errors import LabError
from lab.nodes import NodeSpec, parse_node, parse_nodes

CLASSES = ("intel-npu", "nvidia-gpu")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("edge", NodeSpec(name="edge", pool="edge", tier="edge", site="edge")),
        ("cloud", NodeSpec(name="cloud", pool="cloud", tier="cloud", site="cloud")),
        (
            "edge-1:intel-npu=1,nvidia-gpu=2",
            NodeSpec(
                name="edge-1", pool="edge", tier="edge", site="edge", devices=(("intel-npu", 1), ("nvidia-gpu", 2))
            ),
        ),
        (
            "edge-2:nvidia-gpu@edge/store-12",
            NodeSpec(name="edge-2", pool="edge", tier="edge", site="store-12", devices=(("nvidia-gpu", 1),)),
        ),
        ("big@cloud", NodeSpec(name="big", pool="big", tier="cloud", site="cloud")),
        ("store-7", NodeSpec(name="store-7", pool="store", tier="edge", site="store")),
        ("7", NodeSpec(name="7", pool="7", tier="edge", site="7")),
    ],
)
def test_a_node_is_read_with_its_defaults(text: str, expected: NodeSpec) -> None:
    assert parse_node(text, device_classes=CLASSES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a node name"),
        ("Edge", "not a node name"),
        ("edge-", "not a node name"),
        ("control-plane", "not a node name"),
        ("../edge", "not a node name"),
        ("a" * 41, "not a node name"),
        ("edge:tpu=1", "device 'tpu' is not one of intel-npu, nvidia-gpu"),
        ("edge:intel-npu=0", "not a number of devices"),
        ("edge:intel-npu=two", "not a number of devices"),
        ("edge@fog", "tier 'fog' is not one of edge, cloud"),
        ("edge@edge/Store 12", "not a site name"),
        ("edge@edge/", "not a site name"),
    ],
)
def test_what_is_wrong_with_a_node_is_named(text: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        parse_node(text, device_classes=CLASSES)


def test_without_nodes_there_are_an_edge_and_a_cloud() -> None:
    nodes = parse_nodes((), device_classes=CLASSES)
    assert [(node.name, node.tier) for node in nodes] == [("edge", "edge"), ("cloud", "cloud")]
    assert nodes[0].labels() == {
        "littoral.dev/pool": "edge",
        "littoral.dev/tier": "edge",
        "littoral.dev/site": "edge",
    }


def test_names_differ_and_a_lab_has_an_end() -> None:
    with pytest.raises(LabError, match="edge-1 is given twice"):
        parse_nodes(("edge-1", "cloud", "edge-1:intel-npu"), device_classes=CLASSES)
    with pytest.raises(LabError, match="at most 16"):
        parse_nodes([f"edge-{number}" for number in range(17)], device_classes=CLASSES)
