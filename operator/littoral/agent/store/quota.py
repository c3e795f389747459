"""How much of the disk the cache may take: a pure function of what is there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from littoral.api.quantity import parse_quantity

DEFAULT_FREE = 0.1
"""Share of the disk that is left free when nothing else is said. The kubelet's default: with less, it evicts Pods
(`nodefs.available<10%`, kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction)."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The filesystem under the cache, in bytes."""

    total: int
    free: int
    """What a process without privileges may still write."""

    @classmethod
    def under(cls, path: Path) -> Disk:
        """The filesystem that holds `path`."""
        state = os.statvfs(path)
        return cls(total=state.f_blocks * state.f_frsize, free=state.f_bavail * state.f_frsize)


@dataclass(frozen=True, kw_only=True)
class Quota:
    """The limit on the cache's size. Neither set: the cache may grow until a tenth of the disk is free."""

    bytes: int | None = None
    share: float | None = None
    """Of the disk's size, above 0 and at most 1."""

    @classmethod
    def parse(cls, text: str) -> Quota:
        """`40Gi`, `50%`, or nothing for the default.

        Raises:
            ValueError: neither a quantity nor a percentage above 0.
        """
        if not text:
            return cls()
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)%", text):
            share = float(match[1]) / 100
            if not 0 < share <= 1:
                raise ValueError(f"{text!r} is not a percentage above 0% and up to 100%")
            return cls(share=share)
        size = int(parse_quantity(text))
        if size < 1:
            raise ValueError(f"{text!r} leaves no room for anything")
        return cls(bytes=size)

    def room(self, *, used: int, disk: Disk) -> int:
        """Bytes by which the cache may still grow from `used`; below 0 it is that much too large."""
        if self.bytes is None and self.share is None:
            return disk.free - int(disk.total * DEFAULT_FREE)
        limit = self.bytes if self.bytes is not None else int(disk.total * (self.share or 0))
        return min(limit - used, disk.free)

    def __str__(self) -> str:
        if self.bytes is not None:
            return f"a quota of {self.bytes} bytes"
        if self.share is not None:
            return f"a quota of {self.share:.0%} of the disk"
        return f"{DEFAULT_FREE:.0%} of the disk left free"
