"""How far a fetch has come."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Progress:
    """Written by the one fetch it belongs to, read by the status."""

    received: int = 0
    """Bytes written so far."""
    total: int | None = None
    """Bytes in all, where the source says so."""
