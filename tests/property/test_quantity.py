"""Quantities, durations and decimals: what is written reads back, order is kept, and no text crashes the reader."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from littoral.api.quantity import (
    format_decimal,
    format_duration,
    format_quantity,
    parse_decimal,
    parse_duration,
    parse_quantity,
)

YEARS_292 = (2**63 - 1) / 10**9

billionths = st.integers(min_value=-(10**20), max_value=10**20).map(lambda count: Decimal(count) / 10**9)
nanoseconds = st.integers(min_value=0, max_value=2**53).map(lambda count: count / 10**9)


@given(value=billionths, binary=st.booleans())
def test_a_quantity_reads_back_exactly(value: Decimal, binary: bool) -> None:
    assert parse_quantity(format_quantity(value, binary=binary)) == value


@given(digits=st.integers(min_value=0, max_value=10**30 - 1))
def test_a_quantity_loses_no_digit(digits: int) -> None:
    assert parse_quantity(f"{digits}Ei") == digits * 1024**6


@given(count=st.integers(min_value=1, max_value=1023), power=st.integers(min_value=0, max_value=6))
def test_a_quantity_takes_the_largest_suffix_that_is_exact(count: int, power: int) -> None:
    suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]
    assert format_quantity(count * 1024**power, binary=True) == f"{count}{suffix}"


@given(left=billionths, right=billionths)
def test_quantities_keep_their_order(left: Decimal, right: Decimal) -> None:
    assert (parse_quantity(format_quantity(left)) < parse_quantity(format_quantity(right))) == (left < right)


@given(number=st.integers(min_value=1, max_value=10**6))
def test_suffixes_ascend(number: int) -> None:
    suffixes = ["n", "u", "m", "", "k", "Ki", "M", "Mi", "G", "Gi", "T", "Ti", "P", "Pi", "E", "Ei"]
    values = [parse_quantity(f"{number}{suffix}") for suffix in suffixes]
    assert values == sorted(set(values))


@given(number=st.integers(min_value=0, max_value=10**18))
def test_an_integer_is_a_quantity(number: int) -> None:
    assert parse_quantity(number) == parse_quantity(str(number)) == number


@given(seconds=nanoseconds)
def test_a_duration_reads_back_to_the_nanosecond(seconds: float) -> None:
    assert round(parse_duration(format_duration(seconds)) * 10**9) == round(seconds * 10**9)


@given(seconds=st.floats(min_value=0, max_value=YEARS_292))
@example(seconds=59.9999999999)
@example(seconds=0.9999999999)
def test_a_duration_has_one_spelling(seconds: float) -> None:
    text = format_duration(seconds)
    assert format_duration(parse_duration(text)) == text


@given(left=nanoseconds, right=nanoseconds)
def test_durations_keep_their_order(left: float, right: float) -> None:
    shorter, longer = sorted((left, right))
    assert parse_duration(format_duration(shorter)) <= parse_duration(format_duration(longer))


@given(value=st.decimals(min_value=0, max_value=10**12, places=6))
def test_a_decimal_reads_back_exactly(value: Decimal) -> None:
    assert parse_decimal(format_decimal(value)) == value


@pytest.mark.parametrize("parse", [parse_quantity, parse_duration, parse_decimal])
@given(text=st.text() | st.text(alphabet="0123456789.+-eEkKMGTPEimnush "))
@example(text="")
@example(text="1e99999999")
@example(text="9" * 10_000)
@example(text="٣s")
@example(text="1s\n")
def test_no_text_crashes_a_reader(parse: Callable[[str], object], text: str) -> None:
    complaint = _complaint(parse, text)
    assert complaint is None or repr(text) in complaint


def _complaint(parse: Callable[[str], object], text: str) -> str | None:
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e12])
def test_what_is_no_duration_is_not_written(seconds: float) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        format_duration(seconds)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_what_is_no_decimal_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="not a decimal"):
        format_decimal(value)
