"""How right the answers of a variant are: against labels, or against the original's answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from littoral.optimize.data import Array
from littoral.optimize.errors import OptimizeError

Answers = Sequence[Sequence[Array]]
"""For each item the outputs of a network, in their order."""


class Metric(StrEnum):
    """What 1 is the best of."""

    TOP1 = "top1"
    """Share of the positions whose likeliest class is the wanted one; classes are the last dimension."""
    COSINE = "cosine"
    """Mean cosine of the angle between the output of an item and the wanted one, not below 0."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Scores answers.

    Attributes:
        wanted: for each item the arrays that its outputs are compared with; those of labels are for one output.
        output: index of the output that is judged; None for all, of which the worst counts.
        labelled: whether `wanted` are labels, not answers of the original.
    """

    metric: Metric
    wanted: Answers
    output: int | None = None
    labelled: bool = False

    def score(self, answers: Answers) -> float:
        """Between 0 and 1. Answers that are no numbers (NaN) score 0."""
        outputs = range(len(self.wanted[0])) if self.output is None else [self.output]
        return min(self._score_of(answers, output) for output in outputs)

    def _score_of(self, answers: Answers, output: int) -> float:
        given = [item[output] for item in answers]
        wanted = [item[0 if self.labelled else output] for item in self.wanted]
        if any(not np.isfinite(array).all() for array in given):
            return 0.0
        if self.metric is Metric.COSINE:
            return float(np.mean([_cosine(one, other) for one, other in zip(given, wanted, strict=True)]))
        right = [
            (one.argmax(axis=-1) == (other if self.labelled else other.argmax(axis=-1))).ravel()
            for one, other in zip(given, wanted, strict=True)
        ]
        return float(np.concatenate(right).mean())


def judge_by_labels(labels: Sequence[Array], answers: Answers, *, output: int = 0) -> Judge:
    """A judge that knows the right answers.

    Whole numbers are classes: one for each position of the output, less its last dimension. Other numbers are the
    output itself, as it should be.

    Args:
        labels: one for each item, without a batch dimension.
        answers: those of the original, for their shapes.

    Raises:
        OptimizeError: labels of these shapes are none for this output.
    """
    wanted = []
    metric = Metric.TOP1 if np.issubdtype(labels[0].dtype, np.integer) else Metric.COSINE
    for label, item in zip(labels, answers, strict=True):
        shape = item[output].shape[:-1] if metric is Metric.TOP1 else item[output].shape
        if label.size != np.prod(shape, dtype=int):
            raise OptimizeError(
                f"a label has the shape {list(label.shape)}, and the output that it is for {list(item[output].shape)}: "
                "whole numbers are classes (the output's last dimension), others the output itself"
            )
        if metric is Metric.TOP1 and not ((label >= 0) & (label < item[output].shape[-1])).all():
            raise OptimizeError(f"there are labels beyond the {item[output].shape[-1]} classes of the output")
        wanted.append([label.reshape(shape)])
    return Judge(metric=metric, wanted=wanted, output=output, labelled=True)


def judge_by_original(answers: Answers, *, metric: Metric | None = None, output: int | None = None) -> Judge:
    """A judge that holds the original's answers for right.

    Args:
        metric: None: top-1 where the outputs look like classes (two or three dimensions, the last of more than one),
            else cosine.
    """
    judged = answers[0] if output is None else [answers[0][output]]
    if metric is None:
        classes = all(array.ndim in (2, 3) and array.shape[-1] > 1 for array in judged)
        metric = Metric.TOP1 if classes else Metric.COSINE
    return Judge(metric=metric, wanted=answers, output=output)


def _cosine(one: Array, other: Array) -> float:
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    if length == 0:
        return float(not a.any() and not b.any())
    return min(max(float(a @ b) / length, 0.0), 1.0)
