"""Durations as options of the command line."""

from __future__ import annotations

from typing import Any

import click


class DurationType(click.ParamType[float]):
    """`90s`, `2m`, `24h`, or `0`: seconds to the function, within bounds."""

    name = "duration"

    def __init__(self, *, least: float = 0.0, most: float = float("inf")) -> None:
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds.

        Raises:
            click.BadParameter: it is no duration, or out of bounds.
        """
        from littoral.api.quantity import format_duration, parse_duration

        if isinstance(value, float):
            return value
        try:
            seconds = 0.0 if value == "0" else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self._least <= seconds <= self._most:
            most = f" and {format_duration(self._most)} at most" if self._most < float("inf") else ""
            self.fail(f"{value} is out of bounds: {format_duration(self._least)} at least{most}", param, ctx)
        return seconds
