"""Whether a live object already says what we would apply: pure, so that an idle pass writes nothing."""

from __future__ import annotations

from typing import Any

# The merge keys of the lists that we render, most telling first; see the `x-kubernetes-list-map-keys` of each type.
_LIST_KEYS = ("name", "containerPort", "port", "mountPath", "uid")


def covers(live: Any, desired: Any) -> bool:
    """True when every field in `desired` has the same value in `live`.

    Fields that only `live` has (defaults, status, what other managers own) do not count. Lists of objects are matched
    by their merge key, other lists must be equal. A value that the server writes in another form than we do compares
    as drift: the apply that follows changes nothing, and so ends there.
    """
    if isinstance(desired, dict):
        return isinstance(live, dict) and all(
            key in live and covers(live[key], value) for key, value in desired.items()
        )
    if isinstance(desired, list):
        return isinstance(live, list) and _list_covers(live, desired)
    return bool(live == desired)


def _list_covers(live: list[Any], desired: list[Any]) -> bool:
    if not all(isinstance(item, dict) for item in desired):
        return live == desired
    for item in desired:
        key = next((key for key in _LIST_KEYS if key in item), None)
        if key is None:
            return len(live) == len(desired) and all(covers(a, b) for a, b in zip(live, desired, strict=True))
        if not any(isinstance(other, dict) and other.get(key) == item[key] and covers(other, item) for other in live):
            return False
    return True
