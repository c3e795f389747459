"""Networks are found where they are, and another file under their name is refused."""

from pathlib import Path

import pytest

from examples.quickstart.networks import NETWORKS, Network, NetworkError, copy_all


def test_every_network_is_copied_under_its_own_name(tmp_path: Path) -> None:
    assert [path.name for path in copy_all(tmp_path / "new")] == [network.file_name for network in NETWORKS]
    assert {path.name for path in (tmp_path / "new").iterdir()} == {network.file_name for network in NETWORKS}


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Network(name="digits", sha256="0" * 64), "expected sha256:0000"),
        (Network(name="absent", sha256="0" * 64), "No such file"),
        (Network(name="n", sha256="0" * 64, wheel="no-such-wheel", wheel_file="n.onnx"), "run `make setup`"),
        (
            Network(name="n", sha256="0" * 64, wheel="numpy", wheel_file="n.onnx"),
            "numpy does not hold n.onnx",
        ),
    ],
)
def test_a_missing_or_another_file_is_refused(network: Network, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        network.path()
