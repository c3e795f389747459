"""Desired state: a file that somebody else replaces, of which the last good content is kept."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Generic, TypeVar

from littoral.agent.files import write_atomically
from littoral.api.base import ApiModel, InvalidObject

log = logging.getLogger(__name__)

State = TypeVar("State", bound=ApiModel)


class MountedFile(Generic[State]):
    """A mounted JSON file, and the last good content of it on the node's disk.

    The kubelet replaces a mounted ConfigMap by swapping a link, which no watch on the file itself would see;
    so the file is looked at by `poll`, which costs one system call while nothing changes.
    """

    def __init__(self, path: Path, *, saved: Path, kind: type[State]) -> None:
        """
        Args:
            path: the mounted file.
            saved: where the last good content is kept; read when the mounted file is missing or malformed.
            kind: what it holds.
        """
        self._path = path
        self._saved = saved
        self._kind = kind
        self._seen: tuple[int, int, int] | None = (0, 0, 0)
        self.current: State | None = None
        """The last good desired state. None until there was one: which is not the same as wanting nothing."""
        self.error = ""
        """Why the file that is there now is not followed; empty if it is."""

    def poll(self) -> bool:
        """Look at the file; whether `current` or `error` has changed."""
        if (signature := self._signature()) == self._seen:
            return False
        self._seen = signature
        before = (self.current, self.error)
        try:
            content = self._path.read_bytes()
            state = self._parse(content)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.error = f"{self._path}: {reason}"
            if self.current is None:
                self.current = self._restore()
            log.warning("desired state is not read, the last good one counts: %s", self.error)
        else:
            self.current, self.error = state, ""
            self._save(content)
        return (self.current, self.error) != before

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _parse(self, content: bytes) -> State:
        body = json.loads(content)
        if not isinstance(body, dict):
            raise InvalidObject("not a JSON object")
        return self._kind.parse(body)

    def _restore(self) -> State | None:
        try:
            return self._parse(self._saved.read_bytes())
        except (OSError, ValueError):
            return None

    def _save(self, content: bytes) -> None:
        try:
            self._saved.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._saved, content.decode())
        except OSError as error:  # a full disk must not keep a good desired state from being followed
            log.warning("the desired state is not kept for the next start: %s", error)
