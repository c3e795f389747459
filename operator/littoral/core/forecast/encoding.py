"""A series as a short JSON text, so that it outlives the process that keeps it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

from littoral.core.forecast.season import UNKNOWN, Season
from littoral.core.forecast.series import SCALES, Moments, Series


def encode(series: Series) -> str:
    """The series as JSON, numbers to six digits: about 300 characters, and 300 more with a day's profile."""
    said: dict[str, Any] = {
        "end": float(round(series.end, 3)),
        "age": _short(series.age),
    }
    if series.moments:
        moments = Moments.unpack(series.moments)
        said |= {name: [_short(value) for value in values] for name, values in moments._asdict().items()}
    if series.season is not None:
        season = series.season
        said["season"] = {
            "slot": season.slot,
            "requests": _short(season.requests),
            "seconds": _short(season.seconds),
            "missed": _short(season.missed),
            "changed": _short(season.changed),
        }
        if season.last is not None:
            said["season"]["last"] = _short(season.last)
        if season.profile != UNKNOWN:
            said["season"]["profile"] = base64.b64encode(season.profile).decode("ascii")
    return json.dumps(said, separators=(",", ":"))


def decode(text: str) -> Series:
    """The series that `encode` wrote.

    Raises:
        ValueError: when it is something else. The caller begins a new series then: nothing else can be done.
    """
    try:
        said = json.loads(text)
        return Series(
            end=_number(said["end"], least=-math.inf),
            age=_number(said["age"]),
            moments=_moments(said) if "means" in said else b"",
            season=_season(said["season"]) if "season" in said else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a series: {error!r}") from error


def _moments(said: Mapping[str, Any]) -> bytes:
    moments = Moments(
        means=tuple(_number(value) for value in said["means"]),
        errors=tuple(_number(value, least=-math.inf) for value in said["errors"]),
        squares=tuple(_number(value) for value in said["squares"]),
    )
    if any(len(values) != len(SCALES) for values in moments):
        raise ValueError(f"not a series: there must be {len(SCALES)} values of each kind")
    return moments.pack()


def _season(said: Mapping[str, Any]) -> Season:
    profile = base64.b64decode(said["profile"], validate=True) if "profile" in said else UNKNOWN
    if len(profile) != len(UNKNOWN):
        raise ValueError(f"not a profile: {len(profile)} bytes")
    return Season(
        slot=int(_number(said["slot"], least=-math.inf)),
        requests=_number(said["requests"]),
        seconds=_number(said["seconds"]),
        last=_number(said["last"]) if "last" in said else None,
        profile=profile,
        missed=_number(said["missed"]),
        changed=_number(said["changed"]),
    )


def _number(value: Any, *, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        raise ValueError(f"not a number of a series: {value!r}")
    return float(value)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
