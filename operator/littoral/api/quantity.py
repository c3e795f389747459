"""Numbers that travel as strings: quantities (`900Mi`), durations (`1.1ms`) and decimals (`"0.781"`).

The API holds the strings, since JSON numbers lose digits; these functions turn them into numbers and back.
"""

from __future__ import annotations

import re
from decimal import Context
from decimal import Decimal as Number
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from littoral.api.rules import Rule

QUANTITY_PATTERN = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$"
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$"
DECIMAL_PATTERN = r"^[0-9]+(\.[0-9]+)?$"
_TEXT_LIMIT = 32

# Each suffix in billionths, the smallest step that Kubernetes keeps: whole numbers, so that nothing is rounded.
_DECIMAL_SUFFIXES = {
    **{suffix: 10 ** (9 + 3 * power) for power, suffix in reversed(list(enumerate("kMGTPE", start=1)))},
    **{"": 10**9, "m": 10**6, "u": 10**3, "n": 1},
}
_BINARY_SUFFIXES = {
    **{f"{suffix}i": 10**9 * 1024**power for power, suffix in reversed(list(enumerate("KMGTPE", start=1)))},
    **{"": 10**9, "m": 10**6, "u": 10**3, "n": 1},
}
_SUFFIXES = _DECIMAL_SUFFIXES | _BINARY_SUFFIXES
# More digits than the longest text can say.
_EXACT = Context(prec=80)
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)")
# Go holds a duration in a signed 64-bit count of nanoseconds, and CEL with it.
_MOST_NANOSECONDS = 2**63 - 1


def parse_quantity(text: str | int) -> Number:
    """The value of a Kubernetes quantity, exactly: `"500m"` -> 0.5, `"2Gi"` -> 2147483648, `20` -> 20.

    Raises:
        ValueError: with the text in the message.
    """
    if isinstance(text, int):
        return Number(text)
    match = re.fullmatch(QUANTITY_PATTERN.strip("^$"), text, re.ASCII) if len(text) <= _TEXT_LIMIT else None
    if match is None:
        raise ValueError(f"not a quantity: {text!r} (write it like 500m, 2 or 4Gi)")
    suffix = match[3] or ""
    if suffix not in _SUFFIXES:
        return Number(text)
    return _EXACT.multiply(Number(text.removesuffix(suffix)), _SUFFIXES[suffix]).scaleb(-9, _EXACT)


def format_quantity(value: Number | int, *, binary: bool = False) -> str:
    """The shortest quantity that says `value`, rounded to a billionth.

    Args:
        value: in the base unit (cores, bytes).
        binary: use `Ki`, `Mi`, ... as memory is written.
    """
    billionths = round(Fraction(value) * 10**9)
    if billionths == 0:
        return "0"
    # The last suffix divides everything.
    suffixes = _BINARY_SUFFIXES if binary else _DECIMAL_SUFFIXES
    suffix = next(suffix for suffix, size in suffixes.items() if billionths % size == 0)
    return f"{billionths // suffixes[suffix]}{suffix}"


def parse_duration(text: str) -> float:
    """The seconds of a duration as Go writes it: `"1.1ms"` -> 0.0011, `"1h30m"` -> 5400.

    Raises:
        ValueError: with the text in the message.
    """
    if len(text) > _TEXT_LIMIT or re.fullmatch(DURATION_PATTERN.strip("^$"), text, re.ASCII) is None:
        raise ValueError(f"not a duration: {text!r} (write it like 1.5s, 50ms or 1h30m)")
    # Go cuts each part to whole nanoseconds.
    nanoseconds = sum(int(Number(part) * _NANOSECONDS[unit]) for part, unit in _DURATION_PART.findall(text))
    if nanoseconds > _MOST_NANOSECONDS:
        raise ValueError(f"not a duration: {text!r} (it is longer than 292 years)")
    return nanoseconds / 10**9


def format_duration(seconds: float) -> str:
    """A duration to the nanosecond, in the unit that reads best: 0.0011 -> `1.1ms`, 5400 -> `1h30m`.

    Raises:
        ValueError: when it is negative, not finite, or longer than 292 years.
    """
    if not 0 <= seconds <= _MOST_NANOSECONDS / 10**9:
        raise ValueError(f"not a duration: {seconds!r} seconds")
    nanoseconds = min(round(Number(seconds) * 10**9), _MOST_NANOSECONDS)
    if nanoseconds == 0:
        return "0s"
    for unit, above in (("ns", "us"), ("us", "ms"), ("ms", "s")):
        if nanoseconds < _NANOSECONDS[above]:
            return _plain(Number(nanoseconds) / _NANOSECONDS[unit]) + unit
    hours, rest = divmod(nanoseconds, _NANOSECONDS["h"])
    minutes, rest = divmod(rest, _NANOSECONDS["m"])
    parts = [(Number(hours), "h"), (Number(minutes), "m"), (Number(rest) / _NANOSECONDS["s"], "s")]
    return "".join(_plain(number) + unit for number, unit in parts if number)


def parse_decimal(text: str) -> Number:
    """The value of a non-negative decimal string, exactly: `"0.781"` -> 0.781.

    Raises:
        ValueError: with the text in the message.
    """
    if len(text) > _TEXT_LIMIT or re.fullmatch(DECIMAL_PATTERN.strip("^$"), text, re.ASCII) is None:
        raise ValueError(f"not a decimal: {text!r} (write it like 0.75 or 99)")
    return Number(text)


def format_decimal(value: float | Number, *, places: int = 6) -> str:
    """A non-negative number as a decimal string, rounded to `places` digits after the point.

    Raises:
        ValueError: when it is negative or not finite.
    """
    try:
        number = round(Fraction(value), places)
    except (ValueError, OverflowError):
        raise ValueError(f"not a decimal: {value!r}") from None
    if number < 0:
        raise ValueError(f"not a decimal: {value!r}")
    return _plain(_EXACT.divide(number.numerator, number.denominator))


def _plain(number: Number) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _checked(parse: Any) -> AfterValidator:
    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


Quantity = Annotated[
    str,
    _checked(parse_quantity),
    BeforeValidator(_text),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY_PATTERN,
            "maxLength": _TEXT_LIMIT,
        }
    ),
]
"""A Kubernetes quantity; an integer is read as its text."""

PositiveQuantity = Annotated[
    Quantity,
    Rule(
        cel="type(self) == int ? self > 0 : quantity(self).isGreaterThan(quantity('0'))",
        holds=lambda text: parse_quantity(text) > 0,
        message="must be greater than 0",
    ),
]
"""A quantity greater than 0."""

NonNegativeQuantity = Annotated[
    Quantity,
    Rule(
        cel="type(self) == int ? self >= 0 : !quantity(self).isLessThan(quantity('0'))",
        holds=lambda text: parse_quantity(text) >= 0,
        message="must not be negative",
    ),
]
"""A quantity of 0 or more."""

Duration = Annotated[
    str,
    _checked(parse_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "maxLength": _TEXT_LIMIT}),
]
"""A duration of 0 or more, as Go writes it."""

PositiveDuration = Annotated[
    Duration,
    Rule(
        cel="duration(self) > duration('0s') && duration(self) <= duration('1h')",
        holds=lambda text: 0 < parse_duration(text) <= 3600,
        message="must be longer than 0s and at most 1h",
    ),
]
"""A duration above 0 and up to an hour."""

Decimal = Annotated[
    str,
    _checked(parse_decimal),
    WithJsonSchema({"type": "string", "pattern": DECIMAL_PATTERN, "maxLength": _TEXT_LIMIT}),
]
"""A non-negative decimal number, as a string so that no digit is lost; rules compare it as CEL does, as a double."""

Ratio = Annotated[
    Decimal,
    Rule(
        cel="double(self) <= 1.0",
        holds=lambda text: float(text) <= 1,
        message="must be between 0 and 1",
    ),
]
"""A decimal between 0 and 1."""

Percentage = Annotated[
    Decimal,
    Rule(
        cel="double(self) > 0.0 && double(self) < 100.0",
        holds=lambda text: 0 < float(text) < 100,
        message="must be greater than 0 and less than 100, such as 99.9",
    ),
]
"""A decimal greater than 0 and less than 100."""
