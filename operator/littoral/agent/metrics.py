"""What the agent counts, in the format of Prometheus."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from littoral.agent.progress import Progress
from littoral.api.serving import ModelState, ServerStatus

# From a small network on a local disk to a large engine over a slow uplink.
_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)


class Metrics:
    """The agent's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._fetched = Counter(
            "littoral_agent_fetched_bytes", "Bytes of artifacts brought to this node.", registry=self._registry
        )
        self._peers = Counter(
            "littoral_agent_peer_fetched_bytes",
            "Those of them that came from other agents of the site.",
            registry=self._registry,
        )
        self._fetch = Histogram(
            "littoral_agent_fetch_seconds",
            "Time until an artifact was in the cache and its digest checked.",
            ["result"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._load = Histogram(
            "littoral_agent_load_seconds",
            "Time until Triton had loaded a model or refused it.",
            ["result"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._models = Gauge(
            "littoral_agent_models", "Models of this server by state.", ["state"], registry=self._registry
        )
        self._ready = Gauge(
            "littoral_agent_model_ready", "1 if Triton answers for the model.", ["model"], registry=self._registry
        )
        self._triton = Gauge("littoral_agent_triton_ready", "1 if Triton answers.", registry=self._registry)

    @contextmanager
    def fetching(self, progress: Progress) -> Iterator[None]:
        """Count a fetch: its time, and the bytes that came, whether or not it succeeds."""
        try:
            with _timed(self._fetch):
                yield
        finally:
            self._fetched.inc(progress.fetched)

    def from_peers(self, count: int) -> None:
        """Count bytes that other agents gave."""
        self._peers.inc(count)

    def loading(self) -> AbstractContextManager[None]:
        """Count a load."""
        return _timed(self._load)

    def exposition(self, status: ServerStatus) -> bytes:
        """The text that Prometheus reads, with the gauges as `status` has them."""
        self._triton.set(status.triton.ready)
        for state in ModelState:
            self._models.labels(state=state).set(sum(model.state is state for model in status.models))
        self._ready.clear()
        for model in status.models:
            self._ready.labels(model=model.name).set(model.ready)
        return generate_latest(self._registry)


@contextmanager
def _timed(histogram: Histogram) -> Iterator[None]:
    start, result = time.monotonic(), "failed"
    try:
        yield
        result = "ok"
    finally:
        histogram.labels(result=result).observe(time.monotonic() - start)
