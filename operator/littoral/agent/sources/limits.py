"""How much one fetch may take: bytes, requests at a time, silence."""

import errno
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from littoral.agent.errors import ArtifactError, FetchError
from littoral.agent.sources.pace import Pace


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long a server may be silent, in seconds. There is no limit on the whole: a slow uplink is still an
    uplink."""

    connect: float = 15.0
    read: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one fetch may take, and how much at once."""

    max_bytes: int = 64 << 30
    """The largest artifact."""
    streams: int = 4
    """Requests under way at a time, over all files of an artifact."""
    piece: int = 16 << 20
    """Bytes that are asked for at a time where several streams share a file."""
    parallel_from: int = 64 << 20
    """Bytes from which on a file is worth more than one stream."""
    pace: Pace = field(default_factory=Pace)
    """The cap on the bandwidth of all fetches together."""
    timeouts: Timeouts = field(default_factory=Timeouts)


def check_size(size: int, *, max_bytes: int, folder: Path, have: int = 0) -> None:
    """Refuse at once what could not be finished: `size` bytes that are over the limit or, less the `have` that are
    there, do not fit into `folder`.

    Raises:
        ArtifactError: it never will.
        FetchError: it may, once there is room.
    """
    if size > max_bytes:
        raise too_large(size, max_bytes=max_bytes)
    free = shutil.disk_usage(folder).free
    if size - have > free:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # the store makes room, and asks again
        raise FetchError(f"the artifact has {size} bytes, and the cache's filesystem has {free} left") from full


def too_large(size: int, *, max_bytes: int) -> ArtifactError:
    """What is raised for an artifact of `size` or more bytes."""
    return ArtifactError(f"the artifact has at least {size} bytes, and the agent fetches {max_bytes} at most")
