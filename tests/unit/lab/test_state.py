import fcntl
import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from lab.addresses import SLOTS
from lab.errors import LabError
from lab.nodes import NodeSpec
from lab.state import LabFiles, LabState, MachineState, cache_directory, choose_slot, exclusive

MACHINE = MachineState(name="edge", launcher=10, launcher_started=100, init=11, init_started=101)


@pytest.fixture(autouse=True)
def no_network_of_a_real_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice of a slot looks at the host's interfaces, where labs may be up while these tests run."""
    monkeypatch.setattr("lab.state.host_interface", lambda slot: f"none-such-{slot}")


def _state(name: str, slot: int, phase: str = "Up") -> LabState:
    return LabState(name=name, slot=slot, phase=phase)


def _write(cache: Path, *states: LabState) -> None:
    for state in states:
        LabFiles(name=state.name, cache=cache).write(state)


def test_a_state_survives_the_disk(tmp_path: Path) -> None:
    node = NodeSpec(name="edge", pool="edge", tier="edge", site="edge", devices=(("intel-npu", 2),))
    state = LabState(name="a", slot=3, phase="Starting", nodes=(node,), kwok=7).with_machine(MACHINE)
    files = LabFiles(name="a", cache=tmp_path)
    assert files.read() is None
    files.write(state)
    assert files.read() == state


@pytest.mark.parametrize("text", ["", "{", "{}", '{"name": "a", "slot": 0, "nodes": [], "machines": [], "up": true}'])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    files = LabFiles(name="a", cache=tmp_path)
    files.write(_state("a", 0))
    (files.directory / "state.json").write_text(text)
    assert files.read() is None
    assert choose_slot(cache=tmp_path, name="b") == 0


@pytest.mark.parametrize("name", ["", "A", "../a", "a/b", "a" * 33, "-a"])
def test_a_name_that_could_leave_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LabError, match="is not a lab's name"):
        LabFiles(name=name, cache=tmp_path)


def test_labs_of_one_name_in_two_caches_have_different_cgroups(tmp_path: Path) -> None:
    groups = {LabFiles(name="a", cache=tmp_path / cache).cgroup for cache in ("x", "x", "y")}
    assert len(groups) == 2


def test_a_lab_keeps_its_slot_and_takes_none_in_use(tmp_path: Path) -> None:
    assert choose_slot(cache=tmp_path, name="a") == 0
    _write(tmp_path, _state("a", 0), _state("b", 2, phase="Down"))
    assert choose_slot(cache=tmp_path, name="a") == 0
    assert choose_slot(cache=tmp_path, name="b") == 2
    assert choose_slot(cache=tmp_path, name="c") == 1


def test_the_slot_of_a_lab_that_is_down_is_taken_last(tmp_path: Path) -> None:
    _write(tmp_path, *(_state(f"lab-{slot}", slot) for slot in range(1, SLOTS)), _state("idle", 0, phase="Down"))
    assert choose_slot(cache=tmp_path, name="new") == 0
    _write(tmp_path, _state("new", 0, phase="Starting"))
    with pytest.raises(LabError, match="8 labs are up"):
        choose_slot(cache=tmp_path, name="idle")


def test_a_network_of_another_cache_directory_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.state.host_interface", lambda slot: "lo" if slot == 0 else f"none-such-{slot}")
    assert choose_slot(cache=tmp_path, name="a") == 1


def test_the_cache_follows_the_xdg_convention(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "littoral"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert cache_directory() == Path("/somewhere/.cache/littoral")


def test_a_purge_removes_the_lock_and_lets_the_next_one_in(tmp_path: Path) -> None:
    files = LabFiles(name="a", cache=tmp_path)
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    waiter = context.Process(target=_wait_for_lab, args=(tmp_path, held, release))
    with files.lock():
        files.write(_state("a", 0))
        waiter.start()
        assert not held.wait(1)
        files.purge()
        assert list((tmp_path / "labs").iterdir()) == []
    assert held.wait(30)
    (lock,) = (tmp_path / "labs").iterdir()
    # Whoever waited for the removed file holds the one that is there now.
    with lock.open("w") as handle, pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    release.set()
    waiter.join(30)
    assert waiter.exitcode == 0


def _wait_for_lab(cache: Path, held: Event, release: Event) -> None:
    with LabFiles(name="a", cache=cache).lock():
        held.set()
        release.wait(30)


def _hold(path: Path, held: Event, release: Event) -> None:
    with exclusive(path, purpose="a test"):
        held.set()
        release.wait(30)


def test_a_lock_waits_for_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "lock"
    held, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(path, held, release))
    holder.start()
    assert held.wait(30)
    second_held, second_release = context.Event(), context.Event()
    second = context.Process(target=_hold, args=(path, second_held, second_release))
    second.start()
    assert not second_held.wait(0.5)
    holder.kill()
    assert second_held.wait(30)
    second_release.set()
    second.join(30)
    assert second.exitcode == 0
