"""Digests are those that a shell prints."""

import os
import subprocess
from pathlib import Path

import pytest

from littoral.agent import digest
from littoral.agent.errors import ArtifactError

ONE_LINER = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, content in {
        "model.onnx": b"\0" * 3_000_000,
        "b": b"",
        "B": b"upper",
        "deep/er/weights.bin": b"weights",
        "deep.txt": b"sorts between deep and deep/",
        "with space": b"x",
        "ünïcode": b"y",
        ".hidden": b"z",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "empty").mkdir()
    return root


def test_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert digest.of_path(tmp_path / "file") == expected


def test_of_a_directory_is_what_the_documented_one_liner_prints(tree: Path) -> None:
    assert ONE_LINER in (digest.__doc__ or "")
    printed = subprocess.run(["bash", "-c", ONE_LINER], cwd=tree, capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == digest.of_path(tree)


def test_of_a_directory_depends_on_names_and_content_only(tree: Path) -> None:
    before = digest.of_path(tree)
    (tree / "b").chmod(0o600)
    os.utime(tree / "b", (0, 0))
    (tree / "empty").rmdir()
    assert digest.of_path(tree) == before
    (tree / "b").rename(tree / "c")
    assert digest.of_path(tree) != before


@pytest.mark.parametrize("name", ["new\nline", "back\\slash"])
def test_names_that_sha256sum_escapes_are_refused(tree: Path, name: str) -> None:
    (tree / name).touch()
    with pytest.raises(ArtifactError, match="newline or a backslash"):
        digest.of_path(tree)


@pytest.mark.parametrize("target", ["/etc/passwd", "model.onnx", "deep", "nowhere"])
def test_links_are_refused(tree: Path, target: str) -> None:
    (tree / "deep" / "link").symlink_to(target)
    with pytest.raises(ArtifactError, match="neither a regular file nor a directory"):
        digest.of_path(tree)


def test_devices_and_pipes_are_refused(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(ArtifactError, match="neither a regular file nor a directory"):
        digest.of_path(tree)
