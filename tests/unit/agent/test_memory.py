"""What served last is remembered, as long as it helps."""

from pathlib import Path

import pytest

from littoral.agent.memory import Memory
from tests.unit.agent.test_reconcile import A1, B1


def test_what_served_is_remembered_across_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "served.json"
    memory = Memory(path)
    assert memory.get("digits") is None
    memory.remember("digits", A1)
    memory.remember("other", A1)
    memory.remember("digits", B1)
    memory.remember("third", A1)
    memory.forget("other")
    memory.forget("never")
    again = Memory(path)
    assert [again.get(name) for name in ("digits", "other", "third")] == [B1, None, A1]
    again.keep(["digits", "new"])
    again = Memory(path)
    assert [again.get(name) for name in ("digits", "other", "third")] == [B1, None, None]


@pytest.mark.parametrize("text", ["", "[]", '{"digits": {}}', '{"digits": 1}', "\0"])
def test_what_cannot_be_read_is_not_there(tmp_path: Path, text: str) -> None:
    (tmp_path / "served.json").write_text(text)
    memory = Memory(tmp_path / "served.json")
    assert memory.get("digits") is None
    memory.remember("digits", A1)
    assert Memory(tmp_path / "served.json").get("digits") == A1


def test_a_disk_that_is_full_does_not_stop_the_agent(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way of the folder")
    memory = Memory(tmp_path / "state" / "served.json")
    memory.remember("digits", A1)
    assert memory.get("digits") == A1
