"""Archives: what is in them comes out, and what has no place in one does not."""

import asyncio
import gzip
import hashlib
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from littoral.agent import archive, digest
from littoral.agent.archive import Limits, compression, entry_name, unpack, unpacker
from littoral.agent.errors import ArtifactError
from littoral.agent.store import Store
from littoral.api.serving import Artifact

GO = threading.Event()


def member(name: str, content: bytes = b"x", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("path", "packing"),
    [
        ("digits.tar", ""),
        ("a/b/digits.tar.gz", "gzip"),
        ("digits.tgz", "gzip"),
        ("digits.TAR.ZST", "zstd"),
        ("digits.tzst", "zstd"),
        ("digits.tar.gz?signature=x", "gzip"),
        ("digits.onnx", None),
        ("digits.gz", None),
        ("tar", None),
        ("digits.onnx?of=x.tar", None),
    ],
)
def test_archives_are_known_by_their_name(path: str, packing: str | None) -> None:
    assert compression(path) == packing


@pytest.mark.parametrize(("suffix", "option"), [(".tar", "-cf"), (".tar.gz", "-czf"), (".tar.zst", "--zstd -cf")])
def test_what_tar_packs_comes_out(tmp_path: Path, suffix: str, option: str) -> None:
    source = tmp_path / "digits"
    (source / "1").mkdir(parents=True)
    (source / "1" / "model.onnx").write_bytes(os.urandom(3_000_001))
    (source / ("long" * 50)).write_bytes(b"")
    (source / "config.pbtxt").write_text("max_batch_size: 8\n")
    file = tmp_path / f"digits{suffix}"
    if suffix == ".tar.zst":
        plain = tmp_path / "plain.tar"
        subprocess.run(["tar", "-C", source, "-cf", plain, "."], check=True)
        file.write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
    else:
        subprocess.run(["tar", "-C", source, option, file, "."], check=True)
    files = unpack(file, tmp_path / "out", GO, packing=compression(file.name) or "")
    assert files == {path: digest.of_file(source / path) for path in digest.walk(source)}
    assert digest.of_path(tmp_path / "out") == digest.of_path(source)


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        (["digits/1/model.onnx", "digits/config.pbtxt"], {"1/model.onnx", "config.pbtxt"}),  # as `tar c digits/`
        (["1/model.onnx"], {"1/model.onnx"}),  # a version is not a wrapper
        (["./digits/model.onnx"], {"model.onnx"}),
        (["a/model.onnx", "b/model.onnx"], {"a/model.onnx", "b/model.onnx"}),
        (["model.onnx"], {"model.onnx"}),
    ],
)
def test_a_directory_around_all_is_left_out(tmp_path: Path, names: list[str], paths: set[str]) -> None:
    file = packed(tmp_path / "a.tar", *(member(name) for name in names))
    assert unpack(file, tmp_path / "out", GO, packing="").keys() == paths
    assert set(digest.walk(tmp_path / "out")) == paths


SYMBOLIC = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("/etc/passwd"), "leads out"),
        (member("../passwd"), "leads out"),
        (member("a/../../passwd"), "leads out"),
        (member("a/..", type=tarfile.DIRTYPE, size=0), "leads out"),
        (member("link", b"", **SYMBOLIC), "neither a regular file nor a directory"),
        (member("link", b"", type=tarfile.SYMTYPE, linkname="model.onnx"), "neither a regular file nor a directory"),
        (member("link", b"", type=tarfile.LNKTYPE, linkname="model.onnx"), "neither a regular file nor a directory"),
        (member("pipe", b"", type=tarfile.FIFOTYPE), "neither a regular file nor a directory"),
        (member("disk", b"", type=tarfile.BLKTYPE, devmajor=8), "neither a regular file nor a directory"),
        (member("null", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "neither a regular file nor a directory"),
        (member("sparse", b"", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "1"}), "neither a regular"),
        (member("tool", mode=0o4755), "setuid or setgid"),
        (member("tool", mode=0o2755), "setuid or setgid"),
        (member("new\nline"), "newline, a backslash"),
        (member("back\\slash"), "newline, a backslash"),
        (member("bell\a"), "newline, a backslash"),
        (member("model.onnx"), "twice"),
        (member("model.onnx/x"), "twice"),
        (member("n" * 256), "too long a name"),
        (member("/".join(["d" * 200] * 6)), "too long a name"),
    ],
)
def test_what_has_no_place_in_an_archive_is_refused(
    tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], said: str
) -> None:
    file = packed(tmp_path / "a.tar", member("model.onnx"), bad)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ArtifactError, match=said):
        unpack(file, tmp_path / "out", GO, packing="")
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "out")}
    assert outside == before
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_no_link_is_followed_that_came_before(tmp_path: Path) -> None:
    """The classic: a link to the outside, then a file through it."""
    file = packed(
        tmp_path / "a.tar",
        member("out", b"", type=tarfile.SYMTYPE, linkname=str(tmp_path)),
        member("out/owned", b"gotcha"),
    )
    with pytest.raises(ArtifactError):
        unpack(file, tmp_path / "target", GO, packing="")
    assert not (tmp_path / "owned").exists()


def test_modes_and_times_do_not_count(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.tar", member("model.onnx", mode=0o777, mtime=1), member("other", mode=0o000))
    unpack(file, tmp_path / "out", GO, packing="")
    assert (tmp_path / "out" / "model.onnx").stat().st_mode & 0o111 == 0
    assert (tmp_path / "out" / "other").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(max_bytes=1_000_000), "more in the archive than 1000000 bytes"),
        (Limits(free=1_000_000), "more than 100 times its [0-9]+ bytes"),
        (Limits(max_members=2), "more than 2 files and directories"),
    ],
)
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_bombs_are_stopped_early(tmp_path: Path, limits: Limits, said: str, pack: Callable[[bytes], bytes]) -> None:
    plain = packed(tmp_path / "a.tar", member("a", b""), member("b", b""), member("zeros", bytes(30_000_000)))
    bomb = tmp_path / "bomb"
    bomb.write_bytes(pack(plain.read_bytes()))
    with pytest.raises(ArtifactError, match=said):
        unpack(bomb, tmp_path / "out", GO, packing="gzip" if pack is gzip.compress else "zstd", limits=limits)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) < 5_000_000


def test_a_header_of_gigabytes_is_not_held_in_memory(tmp_path: Path) -> None:
    """tarfile reads extended headers whole, as long as they say they are."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 7 << 30
    file = tmp_path / "a.tar"
    file.write_bytes(info.tobuf() + bytes(1 << 20))
    with pytest.raises(ArtifactError, match="a header in the archive is larger"):
        unpack(file, tmp_path / "out", GO, packing="")


def test_a_header_that_leads_back_does_not_loop(tmp_path: Path) -> None:
    """CVE-2025-8194: a size below 0."""
    info = tarfile.TarInfo("model.onnx")
    block = bytearray(info.tobuf(format=tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 10 + (-512 & 0xFFFF).to_bytes(2, "big")
    block[148:156] = b"        "
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    file = tmp_path / "a.tar"
    file.write_bytes(bytes(block) * 4)
    with pytest.raises(ArtifactError, match=r"below 0|leads back"):
        unpack(file, tmp_path / "out", GO, packing="")


@pytest.mark.parametrize("packing", ["", "gzip", "zstd"])
@pytest.mark.parametrize("content", [b"", b"no archive at all", bytes(1024)])
def test_what_is_no_archive_is_told(tmp_path: Path, packing: str, content: bytes) -> None:
    file = tmp_path / "a"
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"the archive cannot be read|no file in the archive"):
        unpack(file, tmp_path / "out", GO, packing=packing)


@pytest.mark.parametrize("kept", [100, 600, 1400])
def test_an_archive_that_was_cut_is_told(tmp_path: Path, kept: int) -> None:
    whole = packed(tmp_path / "a.tar", member("model.onnx", bytes(5000))).read_bytes()
    (tmp_path / "cut").write_bytes(whole[:kept])
    with pytest.raises(ArtifactError, match=r"cannot be read|ends in the middle"):
        unpack(tmp_path / "cut", tmp_path / "out", GO, packing="")


def test_a_directory_under_the_name_of_an_archive_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="but it is a directory"):
        unpack(tmp_path, tmp_path / "out", GO, packing="")


def test_it_can_be_stopped(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(ArtifactError, match="stopped"):
        unpack(packed(tmp_path / "a.tar", member("a")), tmp_path / "out", stop, packing="")


@given(st.binary(max_size=1500), st.integers(0, 1499))
def test_damaged_bytes_never_do_anything_but_fail_or_unpack(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    whole = bytearray(packed(folder / "a.tar", member("model.onnx", b"x" * 600)).read_bytes())
    whole[place : place + len(noise)] = noise
    (folder / "a.tar").write_bytes(whole)
    with suppress(ArtifactError):
        unpack(folder / "a.tar", folder / "out", GO, packing="")
    assert {path.name for path in folder.iterdir()} <= {"a.tar", "out"}


def artifact(file: Path) -> Artifact:
    return Artifact(uri=f"file://{file}", digest=f"sha256:{digest.of_file(file)}")


async def test_in_the_cache_each_file_is_hashed_again(tmp_path: Path) -> None:
    """The digest of the archive says nothing of a file that was changed after it was unpacked."""
    file = packed(tmp_path / "digits.tar", member("1/model.onnx", b"network"), member("labels.txt", b"a\n"))
    given = artifact(file)

    async def fetch(target: Path) -> str:
        fetched.append(1)
        await asyncio.to_thread(target.write_bytes, file.read_bytes())
        return digest.of_file(target)

    fetched: list[int] = []
    store = Store(tmp_path / "cache")
    entry = await store.ensure(entry_name(given), fetch, unpack=unpacker(given))
    assert (entry.path / "1/model.onnx").read_bytes() == b"network"
    assert entry.hex == hashlib.sha256(file.read_bytes()).hexdigest()
    again = Store(tmp_path / "cache")
    assert await again.ensure(entry_name(given), fetch, unpack=unpacker(given)) == entry
    assert len(fetched) == 1
    (entry.path / "1/model.onnx").chmod(0o644)
    (entry.path / "1/model.onnx").write_bytes(b"NETWORK")
    entry = await Store(tmp_path / "cache").ensure(entry_name(given), fetch, unpack=unpacker(given))
    assert len(fetched) == 2
    assert (entry.path / "1/model.onnx").read_bytes() == b"network"
    (entry.path / "evil").write_bytes(b"")
    assert await Store(tmp_path / "cache").recall(entry_name(given)) is None


async def test_an_archive_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    file = packed(tmp_path / "bad.tar", member("../out"))
    given = artifact(file)

    async def fetch(target: Path) -> str:
        await asyncio.to_thread(target.write_bytes, file.read_bytes())
        return digest.of_file(target)

    with pytest.raises(ArtifactError, match="leads out"):
        await Store(tmp_path / "cache").ensure(entry_name(given), fetch, unpack=unpacker(given))
    assert list((tmp_path / "cache" / "sha256").iterdir()) == list((tmp_path / "cache" / "incoming").iterdir()) == []


def test_an_archive_and_its_bytes_are_two_entries(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.tar", member("a"))
    plain = Artifact(uri="file:///x.bin", digest=artifact(file).digest)
    assert entry_name(artifact(file)) == entry_name(plain) + ".unpacked"
    assert unpacker(plain) is None
    assert archive.SUFFIXES.keys() == {".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"}
