"""Which versions Triton dies of: a network that loads, serves for a while and then takes the server down with it, or
that takes it down while it loads.

Triton does not say what it died of. So the suspect is charged: of what served or was being loaded, the version that was
first seen to serve last, or never yet, if it has not yet served for `PROBATION`. What changed last is the likeliest
cause, and charging one at a time finds the culprit among several without giving up the others. `CRASHES` charges bar a
version from being loaded, for a pause that doubles with each further one. Serving for `PROBATION` clears it.

All of it is in memory: an agent that is started again gives every version another chance.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

CRASHES: Final = 3
"""Deaths of Triton after which a version is barred: one or two may be a coincidence, or the node's fault."""

PROBATION: Final = 600.0
"""Seconds of serving after which a version has proven itself, as Kubernetes' CrashLoopBackOff starts anew after ten
minutes (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restarts)."""

FIRST_PAUSE: Final = 60.0
"""Seconds for which a version is barred at first: long enough that the hub, which looks for half a minute, tries
another variant where nothing else serves."""

LAST_PAUSE: Final = 3600.0
"""The longest such pause, in seconds, before the random part: each further attempt may cost every model of the server
an interruption."""

Key = tuple[str, str]
"""(model, fingerprint of the version)."""


@dataclass(kw_only=True)
class _Record:
    charges: int = 0
    barred_until: float = 0.0
    first_seen: float | None = None
    """When it was first seen to serve."""
    serving_since: float | None = None
    """Since when it has served without an interruption."""
    proven: bool = False


class Crashes:
    """What is held against each version. Times are on one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._records: dict[Key, _Record] = {}

    def serve(self, serving: Iterable[Key], *, now: float) -> list[Key]:
        """Take note of all that serves now; those that have just proven themselves."""
        keys = set(serving)
        for key, record in self._records.items():
            if key not in keys:
                record.serving_since = None
        proven = []
        for key in sorted(keys):
            record = self._records.setdefault(key, _Record())
            if record.first_seen is None:
                record.first_seen = now
            if record.serving_since is None:
                record.serving_since = now
            if now - record.serving_since >= PROBATION and (not record.proven or record.charges):
                record.proven, record.charges = True, 0
                proven.append(key)
        return proven

    def youngest(self, present: Iterable[Key]) -> Key | None:
        """Of the versions that served or were being loaded when Triton died, the one to charge; None where all have
        proven themselves."""
        suspects = [key for key in present if not self.proven(key)]
        return max(suspects, key=self._age, default=None)

    def charge(self, key: Key, *, now: float) -> int:
        """Triton has died, and this is the suspect; how often it was by now."""
        record = self._records.setdefault(key, _Record())
        record.charges += 1
        record.serving_since = None
        if record.charges >= CRASHES:
            pause = min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(record.charges - CRASHES, 30))
            record.barred_until = now + pause * random.uniform(1.0, 1.5)  # noqa: S311
            record.first_seen = None  # when it is back, it is what changed last
        return record.charges

    def barred(self, model: str, *, now: float) -> frozenset[str]:
        """Fingerprints of the model's versions that are not to be loaded now."""
        return frozenset(
            fingerprint
            for (name, fingerprint), record in self._records.items()
            if name == model and now < record.barred_until
        )

    def bar(self, key: Key, *, now: float) -> tuple[int, float] | None:
        """How often Triton died of the version, and until when it is barred; None if it is not."""
        record = self._records.get(key)
        return (record.charges, record.barred_until) if record and now < record.barred_until else None

    @property
    def any(self) -> bool:
        """Whether anything is held against any version."""
        return any(record.charges for record in self._records.values())

    def proven(self, key: Key) -> bool:
        """Whether it has served for `PROBATION` at a stretch, here."""
        record = self._records.get(key)
        return record is not None and record.proven

    def keep(self, models: Iterable[str]) -> None:
        """Forget all other models."""
        names = set(models)
        self._records = {key: record for key, record in self._records.items() if key[0] in names}

    def _age(self, key: Key) -> tuple[float, int, Key]:
        """Sorts the youngest last; of the same age, the one charged more often: suspicion that stays with one is
        settled sooner than suspicion that wanders."""
        record = self._records.get(key, _Record())
        return (math.inf if record.first_seen is None else record.first_seen, record.charges, key)
