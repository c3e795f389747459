"""Hashing in the background, slowly enough that nothing else notices."""

import hashlib
import os
import threading
import time
from pathlib import Path

from littoral.agent import digest

RATE = 16 << 20
"""Bytes per second that are read: a tenth of what an SD card gives, and some percent of one core."""

PERIOD = 86400.0
"""Seconds after which an entry is hashed again."""


class Stopped(Exception):
    """The agent ends."""


class SlowHash:
    """The SHA-256 of files, read from the disk itself at a limited rate."""

    def __init__(self, *, rate: int = RATE) -> None:
        self._rate = rate
        self._stop = threading.Event()

    def stop(self) -> None:
        """Have the call that is under way raise Stopped."""
        self._stop.set()

    def __call__(self, path: Path) -> str:
        """The hex SHA-256 of one file's bytes.

        Raises:
            OSError: the disk does not give them.
            Stopped: `stop` was called.
        """
        sha256 = hashlib.sha256()
        began, read = time.monotonic(), 0
        with path.open("rb", buffering=0) as file:
            # What is in the page cache says nothing of the disk. Pages that Triton has mapped stay where they are.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while chunk := file.read(digest.CHUNK):
                sha256.update(chunk)
                os.posix_fadvise(file.fileno(), read, len(chunk), os.POSIX_FADV_DONTNEED)
                read += len(chunk)
                if self._stop.wait(max(0.0, began + read / self._rate - time.monotonic())):
                    raise Stopped
        return sha256.hexdigest()
