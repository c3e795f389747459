"""The table of forms agrees with the table of devices and with the API."""

from __future__ import annotations

import re

import pytest

from littoral.core.hardware import default_device_table
from littoral.optimize.errors import OptimizeError
from littoral.optimize.recipes import ORIGINAL, RECIPES, Target, targets_of

ALL = targets_of(RECIPES)


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_the_backend_drives_the_device(target: Target) -> None:
    assert target.backend in default_device_table().classes[target.device].backends
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", target.name)


def test_names_are_unique() -> None:
    assert len({target.name for target in ALL}) == len(ALL)


def test_the_original_runs_on_every_cpu() -> None:
    assert ORIGINAL in [target.form for target in targets_of(["cpu", "cpu"])]
    assert len(targets_of(["cpu", "cpu"])) == len(RECIPES["cpu"])


def test_an_unknown_class_is_said() -> None:
    with pytest.raises(OptimizeError, match="'hailo': known are cpu, intel-gpu"):
        targets_of(["cpu", "hailo"])
