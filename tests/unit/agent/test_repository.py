"""Triton's repository is what the record says."""

from pathlib import Path

import pytest

from littoral.agent.errors import ArtifactError
from littoral.agent.repository import RECORD, Installed, Repository


def version(number: int, *, links: dict[str, str] | None = None) -> Installed:
    return Installed(
        version=number,
        fingerprint=f"f{number}",
        digest="sha256:" + "0" * 64,
        config=f"config {number}",
        links={f"{number}/model.onnx": f"/cache/{number}"} if links is None else links,
    )


def listing(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else ""
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_a_model_is_written_and_read(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    versions = (version(1), version(2, links={"2": "/cache/2", "labels.txt": "/cache/labels"}))
    repository.write("digits", versions)
    assert listing(tmp_path / "digits") == {
        RECORD: "",
        "1/model.onnx": "/cache/1",
        "2": "/cache/2",
        "config.pbtxt": "",
        "labels.txt": "/cache/labels",
    }
    assert (tmp_path / "digits/config.pbtxt").read_text() == "config 2"
    assert Repository(tmp_path).read() == {"digits": versions}


def test_what_is_no_longer_a_version_goes(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.write("digits", (version(1), version(2, links={"2": "/cache/2", "labels.txt": "/cache/labels"})))
    repository.write("digits", (version(1),))
    assert listing(tmp_path / "digits") == {RECORD: "", "1/model.onnx": "/cache/1", "config.pbtxt": ""}
    assert (tmp_path / "digits/config.pbtxt").read_text() == "config 1"
    repository.write("digits", ())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_agent_left_half_made_is_completed(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.write("digits", (version(1), version(2)))
    (tmp_path / "digits/2/model.onnx").unlink()
    (tmp_path / "digits/2/.model.onnx.new").symlink_to("/cache/half")
    (tmp_path / "digits/config.pbtxt").unlink()
    (tmp_path / "digits/.config.pbtxt.123").write_text("half")
    for name, versions in repository.read().items():
        repository.write(name, versions)
    repository.write("digits", (version(2),))
    assert listing(tmp_path / "digits") == {RECORD: "", "2/model.onnx": "/cache/2", "config.pbtxt": ""}


def test_a_directory_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs/1").mkdir(parents=True)
    repository = Repository(tmp_path)
    assert repository.read() == {}
    for versions in ((version(1),), ()):
        with pytest.raises(ArtifactError, match="was not made by the agent"):
            repository.write("theirs", versions)
    assert (tmp_path / "theirs/1").is_dir()


def test_an_empty_directory_is_what_a_killed_agent_left(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    Repository(tmp_path).write("digits", (version(1),))
    assert Repository(tmp_path).read() == {"digits": (version(1),)}
