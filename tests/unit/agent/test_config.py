"""Desired state is followed as the file changes, and never forgotten."""

import json
from pathlib import Path

import pytest

from littoral.agent.mounted import MountedFile
from littoral.api.serving import ServerConfig


def server(revision: str, *names: str) -> str:
    model = {"variant": "cpu", "backend": "onnxruntime"}
    artifact = {"uri": "https://models.example/x.onnx", "digest": "sha256:" + "0" * 64}
    return json.dumps(
        {"revision": revision, "models": [{**model, "name": name, "artifact": artifact} for name in names]}
    )


class Volume:
    """A ConfigMap volume: `..data` leads to the content and is swapped for another."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._number = 0
        root.mkdir()
        self.file = root / "server.json"
        self.file.symlink_to("..data/server.json")

    def update(self, text: str) -> None:
        self._number += 1
        folder = self._root / f"..{self._number}"
        folder.mkdir()
        (folder / "server.json").write_text(text)
        staged = self._root / "..data_tmp"
        staged.symlink_to(folder.name)
        staged.replace(self._root / "..data")


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "etc")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "state" / "server.json"


def test_the_kubelets_swap_is_seen(volume: Volume, saved: Path) -> None:
    config = MountedFile(volume.file, saved=saved, kind=ServerConfig)
    volume.update(server("r1", "digits"))
    assert config.poll()
    assert config.current is not None
    assert [model.name for model in config.current.models] == ["digits"]
    assert not config.poll()
    volume.update(server("r2"))
    assert config.poll()
    assert (config.current.revision, config.current.models) == ("r2", ())
    assert config.error == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[]", "not a JSON object"),
        ("{}", "revision: Field required"),
        (server("r", "Digits"), "models[0].name"),
        (server("r", "digits", "digits"), "Duplicate value: digits"),
    ],
)
def test_a_malformed_file_keeps_what_was_wanted(volume: Volume, saved: Path, text: str, message: str) -> None:
    volume.update(server("r1", "digits"))
    config = MountedFile(volume.file, saved=saved, kind=ServerConfig)
    config.poll()
    good = config.current
    volume.update(text)
    assert config.poll()
    assert message in config.error
    assert config.current is good
    volume.update(server("r2", "digits"))
    assert config.poll()
    assert (config.current and config.current.revision, config.error) == ("r2", "")


def test_a_restart_without_a_good_file_finds_the_last_good_one(volume: Volume, saved: Path) -> None:
    volume.update(server("r1", "digits"))
    before = MountedFile(volume.file, saved=saved, kind=ServerConfig)
    before.poll()
    for text in ("{", None):
        if text is None:
            (volume.file.parent / "..data").unlink()
        else:
            volume.update(text)
        after = MountedFile(volume.file, saved=saved, kind=ServerConfig)
        assert after.poll()
        assert after.current == before.current
        assert str(volume.file) in after.error


def test_no_file_is_not_the_same_as_no_models(volume: Volume, saved: Path) -> None:
    config = MountedFile(volume.file, saved=saved, kind=ServerConfig)
    assert config.poll()
    assert config.current is None
    assert "No such file" in config.error
    volume.update(server("r1"))
    assert config.poll()
    assert config.current is not None


def test_a_disk_that_is_full_does_not_stop_the_agent(volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way of the folder")
    volume.update(server("r1", "digits"))
    config = MountedFile(volume.file, saved=tmp_path / "state" / "server.json", kind=ServerConfig)
    assert config.poll()
    assert config.current is not None
