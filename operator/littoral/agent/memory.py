"""What served last, on the node's disk.

Triton's repository is the pod's and goes with it. If the node restarts while what is wanted cannot be had, because the
site has lost its uplink or the artifact is broken, what served before is still in the cache: this remembers how it was
served.
"""

import json
import logging
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from littoral.agent.files import write_atomically
from littoral.agent.repository import Installed

log = logging.getLogger(__name__)


class Memory:
    """The version of each model that served last. It is a help and not a source: what cannot be read is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._served: dict[str, Installed] = {}
        try:
            content = json.loads(path.read_bytes())
            self._served = {name: Installed(**version) for name, version in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            log.info("%s tells of nothing that served before", path)

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
        if not self._served.keys() <= set(models):
            self._served = {name: version for name, version in self._served.items() if name in models}
            self._save()

    def _save(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps({name: asdict(it) for name, it in self._served.items()}, indent=1))
        except OSError as error:
            log.warning("what serves is not kept for the next start: %s", error)
