import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from lab.archive import read_archive, write_archive
from lab.errors import LabError


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELF and so on")
    return path


def test_an_archive_holds_the_program_under_its_name(tmp_path: Path, program: Path) -> None:
    target = tmp_path / "image.tar"
    digest = write_archive(
        target, reference="localhost/thing:lab", program=program, name="thing", arguments=["serve", ":80"]
    )
    assert read_archive(target) == {"localhost/thing:lab": digest}

    with tarfile.open(target) as archive:
        blobs = {
            f"sha256:{Path(member.name).name}": archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.name.startswith("blobs/")
        }
    assert all(f"sha256:{hashlib.sha256(content).hexdigest()}" == name for name, content in blobs.items())
    manifest = json.loads(blobs[digest])
    config = json.loads(blobs[manifest["config"]["digest"]])
    assert config["config"]["Entrypoint"] == ["/thing"]
    assert config["config"]["Cmd"] == ["serve", ":80"]
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    with tarfile.open(fileobj=io.BytesIO(blobs[manifest["layers"][0]["digest"]])) as layer:
        (member,) = layer.getmembers()
        assert (member.name, member.mode) == ("thing", 0o755)
        assert layer.extractfile(member).read() == program.read_bytes()  # type: ignore[union-attr]


def test_the_same_program_gives_the_same_archive(tmp_path: Path, program: Path) -> None:
    first, second = tmp_path / "1.tar", tmp_path / "2.tar"
    for target in (first, second):
        write_archive(target, reference="localhost/thing:lab", program=program, name="thing")
    assert first.read_bytes() == second.read_bytes()
    program.write_bytes(b"\x7fELF changed")
    write_archive(second, reference="localhost/thing:lab", program=program, name="thing")
    assert read_archive(first) != read_archive(second)


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    target = tmp_path / "not.tar"
    target.write_text("no")
    with pytest.raises(LabError, match="is not an OCI image archive"):
        read_archive(target)
    with tarfile.open(target, "w") as archive:
        content = json.dumps({"manifests": [{"digest": "sha256:0"}]}).encode()
        member = tarfile.TarInfo("index.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    with pytest.raises(LabError, match="have no name"):
        read_archive(target)
