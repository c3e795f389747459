"""What the demo makes of a Model's status."""

from typing import Any

from examples.quickstart.models import describe_places, describe_progress, is_ready


def condition(kind: str, status: str = "True", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": kind, "message": message}


def model(*conditions: dict[str, str], observed: int = 2, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "digits", "generation": 2},
        "status": {"observedGeneration": observed, "conditions": list(conditions), **status},
    }


PLACE = {
    "pool": "edge",
    "site": "store-1",
    "tier": "edge",
    "accelerator": "cpu",
    "variant": "onnx-cpu",
    "server": "triton-edge-cpu",
    "state": "Loading",
    "reason": "PreferredVariant",
    "message": "the first that fits",
}


def test_ready_means_ready_at_the_latest_generation_and_not_on_the_way() -> None:
    assert is_ready(model(condition("Ready")))
    assert not is_ready(model(condition("Ready"), observed=1))
    assert not is_ready(model(condition("Ready", "False")))
    assert not is_ready(model(condition("Ready"), condition("Reconciling")))
    assert not is_ready({"metadata": {"name": "new", "generation": 1}})


def test_progress_names_each_place_and_what_is_wrong() -> None:
    assert describe_progress({"metadata": {"name": "new", "generation": 1}}) == "waiting for a place"
    assert describe_progress(model(condition("Ready", "False"), placements=[PLACE])) == "edge Loading"
    ready = PLACE | {"state": "Ready"}
    assert describe_progress(model(condition("Ready"), placements=[ready])) == "Ready: edge onnx-cpu"
    assert describe_progress(model(condition("Stalled", message="no pool"))) == "stalled: no pool"


def test_places_are_told_with_their_reasons() -> None:
    rejection = {"pool": "edge", "variant": "onnx-gpu", "reason": "NoDevice", "message": "no nvidia-gpu"}
    told = describe_places(model(url="http://digits.shop", placed="1/1", placements=[PLACE], rejections=[rejection]))
    assert told == [
        "digits  http://digits.shop  places ready: 1/1",
        "  runs in edge (edge, site store-1) as onnx-cpu on triton-edge-cpu",
        "    PreferredVariant: the first that fits",
        "  not in edge as onnx-gpu",
        "    NoDevice: no nvidia-gpu",
    ]
