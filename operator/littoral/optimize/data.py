"""Inputs to calibrate and to compare with, and the right answers to them: numpy's files.

A network has seen what its users send only after that was resized, scaled and put into a tensor; nobody can guess how.
So the data are the tensors themselves: an `.npy` holds the one input, an `.npz` each input under its name, and a
directory any number of either, read in the order of their names. Where the network can be batched, a file holds
as many items as its first dimension says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from littoral.optimize.errors import OptimizeError
from littoral.optimize.network import Network, Tensor

Array = NDArray[Any]
Feed = Mapping[str, Array]
"""One array for each input of a network, by name."""

_ENDINGS: Final = (".npy", ".npz")
_FILES: Final = ".npy, .npz or a directory of them"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Items of a network's input: feeds of one item each, with their labels if there are any.

    Attributes:
        labels: the right answer to each item, without a batch dimension.
    """

    items: tuple[Feed, ...]
    labels: tuple[Array, ...] | None = None

    def spread(self, count: int) -> tuple[Feed, ...]:
        """At most `count` items, taken evenly from all: files are often sorted by what they show."""
        chosen = np.linspace(0, len(self.items) - 1, min(count, len(self.items))).round().astype(int)
        return tuple(self.items[index] for index in chosen)

    @property
    def shapes(self) -> set[tuple[tuple[str, tuple[int, ...]], ...]]:
        """The different shapes that items have: (input, shape) of each input."""
        return {tuple((name, array.shape) for name, array in item.items()) for item in self.items}


def read_dataset(path: Path, network: Network, *, labels: Path | None = None) -> Dataset:
    """Read items, and the labels of each.

    Args:
        labels: an `.npy`, an `.npz` with one array, or a `.txt` with one whole number a line, for all items in
            their order; or a directory of such files, named as those of the items.

    Raises:
        OptimizeError: a file does not fit the network, or there are more or fewer labels than items.
    """
    files = _files(path, _ENDINGS)
    if not files:
        raise OptimizeError(f"{path}: no data in it: give {_FILES}")
    batches = [_items(file, network) for file in files]
    items = tuple(item for batch in batches for item in batch)
    if not items:
        raise OptimizeError(f"{path}: its files hold no item")
    if labels is None:
        return Dataset(items=items)
    if labels.is_dir():
        named = {file.stem: file for file in _files(labels, (*_ENDINGS, ".txt"))}
        if missing := [file.stem for file in files if file.stem not in named]:
            raise OptimizeError(f"{labels}: there are no labels named {missing[0]} as the data are")
        known = tuple(
            label
            for file, batch in zip(files, batches, strict=True)
            for label in _labels(named[file.stem], count=len(batch))
        )
    else:
        known = _labels(labels, count=len(items))
    return Dataset(items=items, labels=known)


def batch_of(item: Feed, size: int) -> dict[str, Array]:
    """The same item `size` times over, as one batch."""
    return {name: np.repeat(array, size, axis=0) for name, array in item.items()}


def _files(path: Path, endings: Sequence[str]) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in endings and file.is_file())
    if path.suffix not in endings:
        raise OptimizeError(f"{path}: not a kind of file that is read here: give {_FILES}")
    return [path]


def _items(file: Path, network: Network) -> list[Feed]:
    arrays = _arrays(file)
    if file.suffix == ".npy":
        if len(network.inputs) > 1:
            names = ", ".join(tensor.name for tensor in network.inputs)
            raise OptimizeError(f"{file}: the network has the inputs {names}: give an .npz that names them")
        arrays = {network.inputs[0].name: arrays[""]}
    if missing := [tensor.name for tensor in network.inputs if tensor.name not in arrays]:
        raise OptimizeError(f"{file}: it has no array {missing[0]}, but {', '.join(arrays) or 'none'}")
    feed = {tensor.name: _fitting(arrays[tensor.name], tensor, network, file) for tensor in network.inputs}
    if not network.batchable:
        return [feed]
    counts = {len(array) for array in feed.values()}
    if len(counts) > 1:
        raise OptimizeError(f"{file}: its inputs hold different numbers of items: {sorted(counts)}")
    return [{name: array[index : index + 1] for name, array in feed.items()} for index in range(counts.pop())]


def _fitting(array: Array, tensor: Tensor, network: Network, file: Path) -> Array:
    if network.batchable and array.ndim == len(tensor.shape) - 1:
        array = array[np.newaxis]
    sizes = zip(array.shape, tensor.shape, strict=False)
    if array.ndim != len(tensor.shape) or any(known not in (None, size) for size, known in sizes):
        raise OptimizeError(f"{file}: {tensor.name} has the shape {list(array.shape)}, the network takes {tensor}")
    if not np.can_cast(array.dtype, np.dtype(tensor.dtype), casting="same_kind"):
        raise OptimizeError(f"{file}: {tensor.name} is {array.dtype}, the network takes {tensor}")
    return np.ascontiguousarray(array, dtype=tensor.dtype)


def _labels(file: Path, *, count: int) -> tuple[Array, ...]:
    if file.suffix == ".txt":
        try:
            array = np.array([int(line) for line in file.read_text().split()])
        except (ValueError, OSError) as error:
            raise OptimizeError(f"{file}: not one whole number a line: {error}") from error
    else:
        arrays = list(_arrays(file).values())
        if len(arrays) != 1:
            raise OptimizeError(f"{file}: it holds {len(arrays)} arrays, and labels are one")
        array = arrays[0]
    if array.ndim == 0 or len(array) != count:
        raise OptimizeError(f"{file}: it has {len(array) if array.ndim else 1} labels for {count} items")
    return tuple(array)


def _arrays(file: Path) -> dict[str, Array]:
    try:
        # Without pickles: a file of data must not run code.
        loaded = np.load(file, allow_pickle=False)
        return dict(loaded) if file.suffix == ".npz" else {"": loaded}
    except (OSError, ValueError) as error:
        raise OptimizeError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error
