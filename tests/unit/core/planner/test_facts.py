"""What planning reads of Models."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from littoral.api.serving import Batching
from littoral.core.hardware import default_device_table
from littoral.core.planner.facts import read_model
from tests.support.objects import model, slo, variant

SEALED = {
    "uri": "https://models.example/digits.onnx.age",
    "digest": f"sha256:{'a' * 64}",
    "secretRef": {"name": "login"},
    "encryption": {"identitySecretRef": {"name": "identity"}},
}

PROFILE = {"base": "1ms", "perItem": "500us"}


@pytest.mark.parametrize(
    ("profile", "latencies", "size"),
    [
        (PROFILE, ["50ms"], 32),
        (PROFILE, ["50ms", "5ms"], 2),  # the tightest counts
        (PROFILE, [], None),
        (None, ["50ms"], None),
    ],
)
def test_batches_follow_the_profile_and_the_tightest_objective(
    profile: dict[str, str] | None, latencies: Sequence[str], size: int | None
) -> None:
    given = variant("cpu") if profile is None else variant("cpu", profile=profile)
    slos = [slo(latency=latency) for latency in latencies]
    facts = read_model(model("digits", variants=[given]), slos, devices=default_device_table(), measured={})
    assert facts.variants[0].served.batching == (None if size is None else Batching(max_batch_size=size))


def test_a_server_is_told_all_that_the_artifact_says() -> None:
    given = model("digits", variants=[variant("cpu", artifact=SEALED)])
    facts = read_model(given, [], devices=default_device_table(), measured={})
    assert facts.variants[0].served.artifact.dump() == SEALED
