"""What comes next for a model, as a table; and that it always comes to an end."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.agent import reconcile
from littoral.agent.layout import fingerprint
from littoral.agent.reconcile import (
    Action,
    Drain,
    Failure,
    Fetch,
    Install,
    Load,
    Prune,
    Recall,
    Remove,
    View,
    Wait,
    decide,
    failed,
)
from littoral.agent.repository import Installed
from littoral.agent.triton import VersionState
from littoral.api.serving import Artifact, FailureReason, ServedModel

LOADING, READY, UNAVAILABLE, UNLOADING = (
    VersionState.LOADING,
    VersionState.READY,
    VersionState.UNAVAILABLE,
    VersionState.UNLOADING,
)


def model(digit: str = "a") -> ServedModel:
    artifact = Artifact(uri="https://models.example/x.onnx", digest="sha256:" + digit * 64)
    return ServedModel(name="digits", variant="cpu", backend="onnxruntime", artifact=artifact)


def installed(version: int, digit: str = "a") -> Installed:
    wanted = model(digit)
    return Installed(
        version=version, fingerprint=fingerprint(wanted), digest=wanted.artifact.digest, config="", links={}
    )


A1, A2, B1 = installed(1), installed(2), installed(1, "b")
WANTED = View(name="digits", now=100.0, wanted=model(), live=True)
UNWANTED = dataclasses.replace(WANTED, wanted=None)
FAILED = Failure(message="no", reason=FailureReason.DIGEST_MISMATCH, attempts=1, retry_at=101.0)

BARRED = frozenset({A1.fingerprint})


def view(base: View = WANTED, /, **changes: object) -> View:
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "action"),
    [
        # Towards the wanted version.
        (view(), Fetch()),
        (view(live=False), Fetch()),
        (view(cached=True), Install()),
        (view(cached=True, live=False), Wait()),
        (view(cached=True, installed=(A1,)), Load(A1)),
        (view(cached=True, installed=(A1,), live=False), Wait()),
        (view(installed=(A1,)), Load(A1)),
        (view(cached=True, installed=(A1,), versions={1: READY}), Wait()),
        (view(installed=(A1,), versions={1: READY}), Fetch()),  # it serves, and its file is gone or not yet hashed
        (view(installed=(A1,), versions={1: READY}, failure=FAILED), Wait()),
        (view(cached=True, installed=(A1,), versions={1: LOADING}), Wait()),
        (view(cached=True, installed=(A1,), versions={1: UNAVAILABLE}), Load(A1)),
        # A replacement: the old one (B1) serves until the new one does.
        (view(installed=(B1,), versions={1: READY}), Fetch()),
        (view(cached=True, installed=(B1,), versions={1: READY}), Install()),
        (view(cached=True, installed=(B1, A2), versions={1: READY}), Load(A2)),
        (view(cached=True, installed=(B1, A2), versions={1: READY, 2: LOADING}), Wait()),
        (view(cached=True, installed=(B1, A2), versions={1: READY, 2: READY}), Prune(A2)),
        (view(cached=True, installed=(B1, A2), versions={1: UNLOADING, 2: READY}), Prune(A2)),
        (view(cached=True, installed=(A2,), versions={1: UNAVAILABLE, 2: READY}), Wait()),
        (view(installed=(B1, A2), versions={2: READY}, failure=FAILED), Wait()),
        # Changed back before the new one was loaded.
        (view(installed=(A1, installed(2, "b")), versions={1: READY}), Prune(A1)),
        # Triton has restarted.
        (view(installed=(B1, A2), versions={}), Load(A2)),
        (view(installed=(B1,), versions={}), Load(B1)),
        (view(installed=(B1,), versions={}, cached=True), Install()),
        (view(installed=(B1,), versions={1: READY}, live=False), Fetch()),
        # What failed waits, and what served before serves.
        (view(failure=FAILED), Wait()),
        (view(failure=FAILED, installed=(B1,), versions={1: READY}), Wait()),
        (view(failure=FAILED, installed=(B1,)), Load(B1)),
        (view(failure=FAILED, installed=(B1,), live=False), Wait()),
        (view(failure=FAILED, now=101.0), Fetch()),
        # The node has restarted: the repository is empty, and what served last was not what is wanted now.
        (view(remembered=B1), Recall(B1)),
        (view(remembered=B1, failure=FAILED), Recall(B1)),
        (view(remembered=B1, cached=True), Install()),
        (view(remembered=B1, live=False), Fetch()),
        (view(remembered=B1, installed=(B1,)), Load(B1)),
        (view(remembered=B1, installed=(B1,), versions={1: READY}), Fetch()),
        (view(remembered=A1), Fetch()),
        (view(UNWANTED, remembered=B1), Wait()),
        (view(failure=FAILED, now=101.0, cached=True, installed=(B1,), versions={1: READY}), Install()),
        # Triton has died of what is wanted: it is left alone, whatever else is known of it.
        (view(cached=True, barred=BARRED), Wait()),
        (view(barred=BARRED), Wait()),
        (view(cached=True, installed=(B1,), versions={1: READY}, barred=BARRED), Wait()),
        (view(cached=True, installed=(B1,), barred=BARRED), Load(B1)),
        (view(cached=True, remembered=B1, barred=BARRED), Recall(B1)),
        (view(cached=True, remembered=B1, barred=BARRED | {B1.fingerprint}), Wait()),
        (view(remembered=B1, barred=frozenset({B1.fingerprint})), Fetch()),
        (view(cached=True, barred=frozenset({B1.fingerprint})), Install()),
        (view(UNWANTED, installed=(A1,), barred=BARRED), Remove()),
        (view(failure=FAILED, installed=(A1,), versions={1: READY}), Wait()),
        # Towards nothing.
        (view(UNWANTED), Wait()),
        (view(UNWANTED, versions={1: UNAVAILABLE}), Wait()),
        (view(UNWANTED, installed=(A1,)), Remove()),
        (view(UNWANTED, installed=(A1,), live=False, versions={1: READY}), Remove()),
        (view(UNWANTED, installed=(A1,), versions={1: LOADING}), Wait()),
        (view(UNWANTED, installed=(A1,), versions={1: READY}), Drain()),
        (view(UNWANTED, installed=(A1,), versions={1: READY}, drain_until=105.0), Wait()),
        (view(UNWANTED, installed=(A1,), versions={1: READY}, drain_until=100.0), Remove()),
        (view(UNWANTED, installed=(A1,), versions={1: READY}, drain_until=99.0, failure=FAILED), Wait()),
        (view(UNWANTED, versions={1: READY}, drain_until=99.0), Remove()),
    ],
)
def test_the_next_action(case: View, action: Action) -> None:
    assert decide(case) == action


def test_a_new_version_has_a_number_that_nobody_knows() -> None:
    assert view().next_version == 1
    assert view(installed=(A1,), versions={7: UNAVAILABLE, 3: READY}).next_version == 8
    assert view(installed=(installed(9),), versions={7: UNAVAILABLE}).next_version == 10


STATES = st.sampled_from(VersionState)
VERSIONS = st.lists(st.tuples(st.integers(1, 5), st.sampled_from("abc")), max_size=3, unique_by=lambda it: it[0])


@given(
    wanted=st.sampled_from([None, "a", "b"]),
    cached=st.booleans(),
    repository=VERSIONS,
    states=st.dictionaries(st.integers(1, 5), STATES, max_size=4),
    failing=st.booleans(),
    remembered=st.sampled_from([None, A1, B1]),
)
def test_from_any_state_the_wanted_version_serves_in_the_end(
    wanted: str | None,
    cached: bool,
    repository: list[tuple[int, str]],
    states: dict[int, VersionState],
    failing: bool,
    remembered: Installed | None,
) -> None:
    """A world in which everything succeeds: no state leads to a standstill or in a circle, or loses what serves."""
    now = view(
        wanted=model(wanted) if wanted else None,
        cached=cached,
        installed=tuple(installed(number, digit) for number, digit in sorted(repository)),
        versions=states,
        failure=FAILED if failing else None,
        remembered=remembered,
    )
    for _ in range(20):
        action = decide(now)
        after = _succeed(now, action)
        if wanted and now.serving is not None:
            assert after.serving is not None, "what serves is not given up before the new one serves"
        now = after
    assert decide(now) == Wait()
    if wanted:
        assert now.fulfilled
        assert len(now.installed) == 1
    else:
        assert not now.present


def _succeed(now: View, action: Action) -> View:
    """What the world is after the action, or after time has passed."""
    match action:
        case Fetch():
            return view(now, cached=True, failure=None)
        case Recall(version):
            return view(now, installed=(version,))
        case Install():
            assert now.wanted is not None
            serving = tuple(it for it in now.installed if it.version == now.serving)
            new = dataclasses.replace(A1, version=now.next_version, fingerprint=fingerprint(now.wanted))
            return view(now, installed=(*serving, new))
        case Load(version):
            others = dict.fromkeys(now.versions, UNAVAILABLE)
            kept = tuple(it for it in now.installed if it.version <= version.version)
            return view(now, versions={**others, version.version: READY}, installed=kept, failure=None)
        case Prune(keep):
            return view(now, installed=(keep,))
        case Drain():
            return view(now, drain_until=now.now + 5)
        case Remove():
            return view(now, installed=(), versions={})
        case Wait():
            settled = {it: READY if state is LOADING else state for it, state in now.versions.items()}
            return view(now, versions=settled, now=now.now + 10)


def test_pauses_grow_and_end() -> None:
    failure: Failure | None = None
    pauses = []
    for _ in range(60):
        failure = failed(failure, "no", reason=FailureReason.FETCH_FAILED, now=1000.0)
        pauses.append(failure.retry_at - 1000.0)
    assert failure is not None
    assert failure.attempts == 60
    for attempt, pause in enumerate(pauses):
        limit = min(reconcile.LAST_RETRY, reconcile.FIRST_RETRY * 2**attempt)
        assert limit / 2 <= pause <= limit


@pytest.mark.parametrize("reason", FailureReason)
def test_what_may_go_away_by_itself_is_final_from_the_third_attempt_on(reason: FailureReason) -> None:
    failure: Failure | None = None
    final = []
    for _ in range(4):
        failure = failed(failure, "no", reason=reason, now=0.0)
        final.append(failure.final)
    transient = reason in ("FetchFailed", "TritonUnavailable", "StorageFailed")
    assert final == ([False, False, True, True] if transient else [True] * 4)
