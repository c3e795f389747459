"""Scores that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from littoral.optimize.accuracy import Judge, Metric, judge_by_labels, judge_by_original
from littoral.optimize.errors import OptimizeError


def answers(*outputs: Any) -> list[list[np.ndarray]]:
    """One item for each; of one output."""
    return [[np.array(output, dtype=np.float32)] for output in outputs]


ONE = answers([[0.1, 0.9]], [[0.8, 0.2]])
OTHER = answers([[0.1, 0.9]], [[0.3, 0.7]])


def test_classes_by_labels() -> None:
    judge = judge_by_labels([np.array(1), np.array(0)], ONE)
    assert (judge.metric, judge.score(ONE), judge.score(OTHER)) == (Metric.TOP1, 1.0, 0.5)


def test_a_label_for_each_position() -> None:
    sequence = answers([[[1, 0], [1, 0], [0, 1], [0, 1]]])
    judge = judge_by_labels([np.array([0, 0, 0, 1])], sequence)
    assert judge.score(sequence) == 0.75


def test_labels_that_are_outputs() -> None:
    judge = judge_by_labels([np.array([1.0, 0.0])], answers([[1, 0]]))
    assert judge.metric is Metric.COSINE
    assert judge.score(answers([[2, 0]])) == pytest.approx(1)
    assert judge.score(answers([[1, 1]])) == pytest.approx(2**-0.5)
    assert judge.score(answers([[-1, 0]])) == 0


@pytest.mark.parametrize(
    ("label", "message"), [(np.array([1, 2]), "whole numbers are classes"), (np.array(2), "beyond the 2 classes")]
)
def test_labels_that_are_none(label: np.ndarray, message: str) -> None:
    with pytest.raises(OptimizeError, match=message):
        judge_by_labels([label, label], ONE)


@pytest.mark.parametrize(
    ("shape", "metric"),
    [((1, 10), Metric.TOP1), ((1, 40, 97), Metric.TOP1), ((1, 1), Metric.COSINE), ((1, 1, 8, 8), Metric.COSINE)],
)
def test_the_metric_goes_by_the_shape(shape: tuple[int, ...], metric: Metric) -> None:
    assert judge_by_original(answers(np.ones(shape))).metric is metric


def test_agreement_with_the_original() -> None:
    judge = judge_by_original(ONE)
    assert (judge.score(ONE), judge.score(OTHER)) == (1.0, 0.5)


def test_the_worst_output_counts_unless_one_is_named() -> None:
    two = [[ONE[0][0], ONE[1][0]]]
    half = [[ONE[0][0], OTHER[1][0]]]
    assert judge_by_original(two).score(half) == 0
    assert judge_by_original(two, output=0).score(half) == 1


@pytest.mark.parametrize("metric", list(Metric))
def test_what_is_no_number_is_wrong(metric: Metric) -> None:
    assert Judge(metric=metric, wanted=ONE).score(answers([[np.nan, 1]], [[0.8, 0.2]])) == 0


def test_nothing_is_like_nothing() -> None:
    judge = judge_by_original(answers(np.zeros((1, 1, 2, 2))))
    assert judge.score(answers(np.zeros((1, 1, 2, 2)))) == 1
    assert judge.score(answers(np.ones((1, 1, 2, 2)))) == 0
