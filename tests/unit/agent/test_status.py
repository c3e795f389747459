"""What is reported, and to whom it is news."""

import asyncio

import pytest

from littoral.agent.progress import Shown
from littoral.agent.reconcile import Action, Failure, Fetch, Load, View
from littoral.agent.status import Board, describe
from littoral.agent.triton import VersionState
from littoral.api.serving import FailureReason, ModelState, ModelStatus, TritonStatus
from tests.unit.agent.test_reconcile import A1, A2, B1, FAILED, UNWANTED, WANTED, view

READY = VersionState.READY


@pytest.mark.parametrize(
    ("case", "doing", "state", "ready", "version"),
    [
        (view(), None, ModelState.PENDING, False, 0),
        (view(), Fetch(), ModelState.FETCHING, False, 0),
        (view(live=False), Fetch(), ModelState.FETCHING, False, 0),
        (view(installed=(A1,)), Load(A1), ModelState.LOADING, False, 1),
        (view(installed=(A1,), versions={1: READY}), None, ModelState.READY, True, 1),
        (view(installed=(B1, A2), versions={1: READY}), Load(A2), ModelState.LOADING, True, 1),
        (view(installed=(B1,), versions={1: READY}), Fetch(), ModelState.FETCHING, True, 1),
        (view(installed=(B1,), versions={1: READY}, failure=FAILED), None, ModelState.FAILED, True, 1),
        (view(installed=(B1,), versions={1: READY}, failure=FAILED), Fetch(), ModelState.FAILED, True, 1),
        (view(installed=(A1,), versions={1: READY}, live=False), None, ModelState.PENDING, False, 1),
        (view(UNWANTED, installed=(A1,), versions={1: READY}), None, ModelState.UNLOADING, True, 1),
    ],
)
def test_the_state_of_a_model(case: View, doing: Action | None, state: ModelState, ready: bool, version: int) -> None:
    status = describe(case, doing=doing, progress=None, variant="cpu", digest="sha256:x")
    assert (status.state, status.ready, status.version) == (state, ready, version)
    assert (status.name, status.variant, status.digest) == ("digits", "cpu", "sha256:x")
    assert status.message == ("no" if state is ModelState.FAILED else status.message)


def fetch_failed(attempts: int) -> Failure:
    return Failure(message="404", reason=FailureReason.FETCH_FAILED, attempts=attempts, retry_at=101.0)


def triton_gone(attempts: int) -> Failure:
    return Failure(message="gone", reason=FailureReason.TRITON_UNAVAILABLE, attempts=attempts, retry_at=101.0)


@pytest.mark.parametrize(
    ("case", "state", "message", "reason", "attempts"),
    [
        (view(failure=FAILED), "Failed", "no", "DigestMismatch", 1),
        (
            view(failure=fetch_failed(1)),
            "Fetching",
            "404 (attempt 1 failed; tried again within 1 s)",
            "FetchFailed",
            1,
        ),
        (
            view(failure=fetch_failed(2)),
            "Fetching",
            "404 (attempt 2 failed; tried again within 2 s)",
            "FetchFailed",
            2,
        ),
        (view(failure=fetch_failed(3)), "Failed", "404", "FetchFailed", 3),
        (view(failure=fetch_failed(50)), "Failed", "404", "FetchFailed", 10),
        (
            view(failure=triton_gone(1), cached=True, live=False),
            "Loading",
            "gone (attempt 1 failed; tried again within 1 s)",
            "TritonUnavailable",
            1,
        ),
        (
            view(failure=triton_gone(2), installed=(A1,)),
            "Loading",
            "gone (attempt 2 failed; tried again within 2 s)",
            "TritonUnavailable",
            2,
        ),
        (view(failure=triton_gone(3), cached=True), "Failed", "gone", "TritonUnavailable", 3),
        (view(failure=FAILED, installed=(A1,), versions={1: READY}), "Ready", "", None, 0),
        (view(UNWANTED, failure=FAILED, installed=(A1,), versions={1: READY}), "Unloading", "", None, 0),
        (view(), "Pending", "", None, 0),
    ],
)
def test_what_went_wrong_is_told_and_when_it_is_tried_again(
    case: View, state: str, message: str, reason: str | None, attempts: int
) -> None:
    status = describe(case, doing=None, progress=None, variant="cpu", digest="sha256:x")
    assert (status.state, status.message, status.reason, status.attempts) == (state, message, reason, attempts)
    assert ModelStatus.parse(status.dump()) == status
    # While it is tried again nothing else is said, or each attempt would be news twice.
    again = describe(case, doing=Fetch(), progress=None, variant="cpu", digest="sha256:x")
    assert status.reason is None or again == status


def test_progress_is_reported() -> None:
    status = describe(WANTED, doing=Fetch(), progress=Shown(received=5, total=10), variant="", digest="")
    assert (status.bytes, status.total_bytes) == (5, 10)
    status = describe(WANTED, doing=Fetch(), progress=Shown(received=5), variant="", digest="")
    assert (status.bytes, status.total_bytes) == (5, 0)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (view(installed=(A1,), versions={1: READY}), 1.5),
        (view(installed=(B1, A2), versions={1: READY}), None),
        (view(), None),
    ],
)
def test_the_load_time_is_that_of_what_is_wanted(case: View, expected: float | None) -> None:
    status = describe(case, doing=None, progress=None, variant="", digest="", load_seconds=1.5)
    assert status.load_seconds == expected


def publish(board: Board, *models: ModelStatus, revision: str = "r", live: bool = True) -> int:
    board.publish(revision=revision, message="", triton=TritonStatus(ready=live), models=models)
    return board.status.generation


def test_only_news_are_a_generation() -> None:
    board = Board()
    first = publish(board)
    assert publish(board) == first
    assert publish(board, revision="r2") == first + 1
    assert publish(board, ModelStatus(name="a"), revision="r2") == first + 2


async def test_a_long_poll_is_answered_by_news() -> None:
    board = Board()
    generation = publish(board)
    polls = [asyncio.create_task(board.after(generation, wait=60)) for _ in range(3)]
    await asyncio.sleep(0)
    publish(board)
    await asyncio.sleep(0)
    assert not any(poll.done() for poll in polls)
    publish(board, revision="r2")
    assert {(await poll).revision for poll in polls} == {"r2"}


async def test_a_long_poll_is_answered_at_its_end_and_at_once_if_it_is_behind() -> None:
    board = Board()
    generation = publish(board)
    assert (await board.after(generation, wait=0.01)).generation == generation
    assert (await board.after(generation - 1, wait=60)).generation == generation
    assert (await board.after(generation + 10**6, wait=60)).generation == generation


async def test_a_restarted_agent_gives_away_other_generations() -> None:
    before = Board()
    for revision in range(5):
        publish(before, revision=str(revision))
    await asyncio.sleep(0.01)
    after = Board()
    assert publish(after) > before.status.generation


def test_what_was_ready_once_is_missed_until_it_is_no_longer_wanted() -> None:
    board = Board()
    ready, lost = ModelStatus(name="a", ready=True), ModelStatus(name="a")
    publish(board, ModelStatus(name="a"))
    assert board.lost == []
    publish(board, ready)
    assert board.lost == []
    publish(board, lost)
    assert board.lost == ["a"]
    publish(board, lost, revision="r2")
    assert board.lost == ["a"]
    publish(board, ready)
    assert board.lost == []
    publish(board, ModelStatus(name="a", state=ModelState.UNLOADING))
    assert board.lost == []
    publish(board)
    publish(board, lost)
    assert board.lost == []
