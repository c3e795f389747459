"""Which files are read as items and labels, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from littoral.optimize.data import Array, Dataset, batch_of, read_dataset
from littoral.optimize.errors import OptimizeError
from littoral.optimize.network import Network, Tensor

IMAGE = Tensor(name="image", dtype="float32", shape=(None, 2, None))
SIZE = Tensor(name="size", dtype="int64", shape=(None, 1))
SCORES = Tensor(name="scores", dtype="float32", shape=(None, 3))


def network(*inputs: Tensor, outputs: tuple[Tensor, ...] = (SCORES,)) -> Network:
    return Network(path=Path("n.onnx"), inputs=inputs, outputs=outputs, operators=frozenset())


def save(path: Path, **arrays: Array) -> Path:
    """An `.npz`, or an `.npy` of the only array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, *arrays.values())
    else:
        np.savez(path, **arrays)
    return path


def test_a_file_is_split_into_its_items(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    data = read_dataset(save(tmp_path / "a.npy", x=x), network(IMAGE))
    assert [item["image"].shape for item in data.items] == [(1, 2, 4)] * 3
    np.testing.assert_array_equal(np.concatenate([item["image"] for item in data.items]), x)


def test_a_directory_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, value, width in (("b", 1, 5), ("a", 0, 4)):
        save(tmp_path / f"d/{name}.npy", x=np.full((1, 2, width), value))
    data = read_dataset(tmp_path / "d", network(IMAGE))
    assert [float(item["image"].flat[0]) for item in data.items] == [0, 1]
    assert len(data.shapes) == 2


def test_several_inputs_are_named(tmp_path: Path) -> None:
    file = save(tmp_path / "a.npz", image=np.ones((2, 2, 4)), size=np.array([[7], [8]]), other=np.ones(1))
    data = read_dataset(file, network(IMAGE, SIZE))
    assert [(item["image"].dtype, int(item["size"].item())) for item in data.items] == [("float32", 7), ("float32", 8)]


def test_an_item_may_lack_the_batch_dimension(tmp_path: Path) -> None:
    (item,) = read_dataset(save(tmp_path / "a.npy", x=np.ones((2, 4))), network(IMAGE)).items
    assert item["image"].shape == (1, 2, 4)


def test_a_network_that_cannot_be_batched_takes_a_file_as_one_item(tmp_path: Path) -> None:
    fixed = Tensor(name="scores", dtype="float32", shape=(4, 3))
    data = read_dataset(save(tmp_path / "a.npy", x=np.ones((4, 2, 4))), network(IMAGE, outputs=(fixed,)))
    assert [item["image"].shape for item in data.items] == [(4, 2, 4)]


@pytest.mark.parametrize(
    ("name", "arrays", "inputs", "message"),
    [
        ("a.npy", {"x": np.ones((1, 3, 4))}, (IMAGE,), r"shape \[1, 3, 4\], the network takes image float32 \[any, 2"),
        ("a.npy", {"x": np.ones((1, 1, 2, 4))}, (IMAGE,), "the network takes"),
        ("a.npy", {"x": np.ones((1, 1))}, (SIZE,), "size is float64, the network takes size int64"),
        ("a.npy", {"x": np.ones((1, 2, 4))}, (IMAGE, SIZE), "give an .npz that names them"),
        ("a.npz", {"picture": np.ones((1, 2, 4))}, (IMAGE,), "it has no array image, but picture"),
        ("a.npz", {"image": np.ones((2, 2, 4)), "size": np.ones((1, 1), int)}, (IMAGE, SIZE), "different numbers"),
        ("a.npy", {"x": np.ones((0, 2, 4))}, (IMAGE,), "hold no item"),
        ("a.npy", {"x": np.array([{"run": "me"}])}, (IMAGE,), "cannot be read"),
    ],
)
def test_what_does_not_fit_is_said(
    tmp_path: Path, name: str, arrays: dict[str, Array], inputs: tuple[Tensor, ...], message: str
) -> None:
    file = save(tmp_path / name, **arrays)
    with pytest.raises(OptimizeError, match=message):
        read_dataset(file, network(*inputs))


@pytest.mark.parametrize("name", ["empty", "a.csv", "a.npy"])
def test_what_is_no_data_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("1,2")
    (tmp_path / "a.npy").write_text("not numpy's")
    with pytest.raises(OptimizeError, match=r"no data|not a kind|cannot be read"):
        read_dataset(tmp_path / name, network(IMAGE))


def test_labels_of_one_file(tmp_path: Path) -> None:
    data = save(tmp_path / "a.npy", x=np.ones((3, 2, 4)))
    (tmp_path / "l.txt").write_text("2\n0\n1\n")
    for labels in (tmp_path / "l.txt", save(tmp_path / "l.npy", x=np.array([2, 0, 1]))):
        known = read_dataset(data, network(IMAGE), labels=labels).labels
        assert known is not None
        assert [int(label) for label in known] == [2, 0, 1]


def test_labels_of_a_directory_go_by_name(tmp_path: Path) -> None:
    for name, count in (("b", 1), ("a", 2)):
        save(tmp_path / f"d/{name}.npy", x=np.ones((count, 2, 4)))
    (tmp_path / "l").mkdir()
    (tmp_path / "l/b.txt").write_text("9")
    with pytest.raises(OptimizeError, match="no labels named a"):
        read_dataset(tmp_path / "d", network(IMAGE), labels=tmp_path / "l")
    (tmp_path / "l/a.txt").write_text("1\n2")
    known = read_dataset(tmp_path / "d", network(IMAGE), labels=tmp_path / "l").labels
    assert known is not None
    assert [int(label) for label in known] == [1, 2, 9]


@pytest.mark.parametrize("text", ["1\n2\n", "1\n2\n3\n4\n", "1\ntwo\n3\n"])
def test_labels_that_are_not_one_for_each_item(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises(OptimizeError, match=r"labels for 3 items|not one whole number"):
        read_dataset(save(tmp_path / "a.npy", x=np.ones((3, 2, 4))), network(IMAGE), labels=tmp_path / "l.txt")


def test_a_part_is_taken_evenly() -> None:
    data = Dataset(items=tuple({"x": np.array([number])} for number in range(10)))
    assert [int(item["x"][0]) for item in data.spread(4)] == [0, 3, 6, 9]
    assert len(data.spread(99)) == 10


def test_a_batch_repeats_the_item() -> None:
    batch = batch_of({"x": np.array([[1, 2]])}, 3)
    np.testing.assert_array_equal(batch["x"], [[1, 2]] * 3)
