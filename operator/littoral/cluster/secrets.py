"""What Secrets hold, as text. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]


def encoded(content: Mapping[str, str | None]) -> dict[str, str | None]:
    """`data` of a Secret; in a merge patch, None removes its key."""
    return {key: None if text is None else base64.b64encode(text.encode()).decode() for key, text in content.items()}


def decoded(secret: Object, key: str) -> str | None:
    """The text that a Secret has under a key; None where it has none.

    Raises:
        ValueError: it is not base64 of UTF-8.
    """
    value = (secret.get("data") or {}).get(key)
    return None if value is None else base64.b64decode(value, validate=True).decode()
