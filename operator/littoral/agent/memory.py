"""What served last, on the node's disk.

Triton's repository is the pod's and goes with it. If the node restarts while what is wanted cannot be had, because the
site has lost its uplink or the artifact is broken, what served before is still in the cache: this remembers how it was
served.
"""

import json
import logging
import os
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from littoral.agent.files import write_atomically
from littoral.agent.repository import Installed

log = logging.getLogger(__name__)

CONFIRM = 3600.0
"""Seconds between two marks on the file that its server is still there."""


class Memory:
    """The version of each model that served last. It is a help and not a source: what cannot be read is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._served: dict[str, Installed] = {}
        self._confirm_at = 0.0
        try:
            content = json.loads(path.read_bytes())
            self._served = {name: Installed(**version) for name, version in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            log.info("%s tells of nothing that served before", path)

    def versions(self) -> tuple[Installed, ...]:
        """All that is remembered."""
        return tuple(self._served.values())

    def get(self, model: str) -> Installed | None:
        """What served last under that name."""
        return self._served.get(model)

    def remember(self, model: str, version: Installed) -> None:
        """This version serves now."""
        if self._served.get(model) != version:
            self._served[model] = version
            self._save()

    def forget(self, model: str) -> None:
        """What served is no longer there, or no longer loads."""
        self.keep(self._served.keys() - {model})

    def keep(self, models: Collection[str]) -> None:
        """Forget all others: one day another network may have the name of a model that is gone."""
        if time.monotonic() >= self._confirm_at:
            self._confirm_at = time.monotonic() + CONFIRM
            with suppress(OSError):
                os.utime(self._path)
        if not self._served.keys() <= set(models):
            self._served = {name: version for name, version in self._served.items() if name in models}
            self._save()

    def _save(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps({name: asdict(it) for name, it in self._served.items()}, indent=1))
        except OSError as error:
            log.warning("what serves is not kept for the next start: %s", error)


def served_digests(path: Path) -> set[str]:
    """Digests (hex) of what a server remembers, read from its file by whoever wants to keep them in the cache."""
    try:
        return {str(version["digest"]).removeprefix("sha256:") for version in json.loads(path.read_bytes()).values()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return set()
