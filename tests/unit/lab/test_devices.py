import re
from pathlib import Path

import yaml

from lab.devices import device_classes, labels, resources

KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
HARDWARE = Path(__file__).parents[3] / "operator/littoral/core/hardware.yaml"
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def test_the_lab_announces_every_class_that_littoral_knows() -> None:
    """The two tables are kept apart on purpose: neither side may come to depend on the other's mistakes."""
    known = {item["name"]: item for item in yaml.safe_load(HARDWARE.read_text())["classes"] if item["name"] != "cpu"}
    table = device_classes()
    assert set(table) == set(known)
    assert all(device.resource in known[name]["resources"] for name, device in table.items())


def test_every_label_is_one_that_kubernetes_takes() -> None:
    for name in device_classes():
        for key, value in labels({name: 3}).items():
            assert KEY.fullmatch(key), key
            assert VALUE.fullmatch(value), f"{key}: {value}"


def test_counts_reach_resources_and_labels() -> None:
    devices = {"nvidia-gpu": 2, "intel-npu": 1}
    assert resources(devices) == {"nvidia.com/gpu": "2", "npu.intel.com/accel": "1"}
    written = labels(devices)
    assert written["nvidia.com/gpu.count"] == "2"
    assert written["nvidia.com/gpu.product"] == "NVIDIA-L4"
    assert written["intel.feature.node.kubernetes.io/npu"] == "true"
