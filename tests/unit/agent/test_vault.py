"""Encrypted artifacts are decrypted into memory, by whom they are meant for, or not at all."""

import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from pyrage import x25519

from littoral.agent import archive
from littoral.agent.errors import ArtifactError, DecryptionError
from littoral.agent.failures import reason_of
from littoral.agent.layout import fingerprint, install
from littoral.agent.vault import Vault
from littoral.api.serving import Artifact, FailureReason, ServedModel

PLAIN = b"a network that is nobody's business " * 10_000
HEX = "ab" * 32
OWN, OTHER = x25519.Identity.generate(), x25519.Identity.generate()
SEALED = pyrage.encrypt(PLAIN, [OWN.to_public()])


def artifact(uri: str = "https://models.example/digits.onnx.age") -> Artifact:
    return Artifact.parse(
        {"uri": uri, "digest": f"sha256:{HEX}", "encryption": {"identitySecretRef": {"name": "release"}}}
    )


class Place:
    """A node's disk, and its memory."""

    def __init__(self, disk: Path, memory: Path) -> None:
        self.disk, self.memory = disk, memory
        self.sealed = disk / "artifact"
        self.sealed.write_bytes(SEALED)
        self.mount(f"# created: today\n# public key: {OWN.to_public()}\n{OWN}\n")

    def mount(self, text: str) -> None:
        file = self.disk / "identities" / "release" / "identity"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def vault(self) -> Vault:
        return Vault(self.memory, identities_root=self.disk / "identities")

    @property
    def decrypted(self) -> list[Path]:
        return [path for path in self.memory.rglob("*") if path.is_file()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    memory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield Place(tmp_path, memory)
    shutil.rmtree(memory)


async def test_it_is_decrypted_into_memory_and_the_disk_keeps_the_ciphertext(place: Place) -> None:
    vault = place.vault()
    assert not vault.holds(artifact())
    await vault.open(artifact(), place.sealed)
    assert vault.holds(artifact())
    assert [path.read_bytes() for path in place.decrypted] == [PLAIN]
    assert place.decrypted == [vault.path(artifact())]
    assert all(PLAIN[:100] not in path.read_bytes() for path in place.disk.rglob("*") if path.is_file())
    assert vault.entry_of(str(vault.path(artifact()))) == HEX


async def test_any_of_several_identities_opens_it(place: Place) -> None:
    place.mount(f"{OTHER}\n\n{OWN}\n")
    await place.vault().open(artifact(), place.sealed)
    assert [path.read_bytes() for path in place.decrypted] == [PLAIN]


async def test_what_nobody_wants_leaves_memory_and_so_does_what_an_agent_before_has_left(place: Place) -> None:
    vault = place.vault()
    await vault.open(artifact(), place.sealed)
    vault.keep([str(vault.path(artifact()))])
    assert place.decrypted
    vault.keep([])
    assert not place.decrypted
    await vault.open(artifact(), place.sealed)
    (place.memory / "part-x").write_bytes(PLAIN)
    place.vault()
    assert list(place.memory.iterdir()) == []


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        (str(OTHER), "cannot be decrypted with the identity in the Secret 'release'"),
        ("AGE-SECRET-KEY-1NONSENSE", "is no age identity"),
        ("# nothing\n", "holds no identity"),
    ],
)
async def test_a_wrong_identity_is_told_and_not_quoted(place: Place, identity: str, said: str) -> None:
    place.mount(identity)
    with pytest.raises(DecryptionError, match=said) as error:
        await place.vault().open(artifact(), place.sealed)
    assert "NONSENSE" not in str(error.value)
    assert error.value.__cause__ is None
    assert str(OTHER) not in str(error.value)
    assert reason_of(error.value) is FailureReason.DECRYPTION_FAILED
    assert not FailureReason.DECRYPTION_FAILED.transient
    assert not place.decrypted


async def test_a_missing_identity_is_told(place: Place) -> None:
    shutil.rmtree(place.disk / "identities" / "release")
    with pytest.raises(DecryptionError, match=r"create the Secret 'release' in the Model's namespace"):
        await place.vault().open(artifact(), place.sealed)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(SEALED[:-1], id="a byte short"),
        pytest.param(SEALED[: len(SEALED) // 2], id="half"),
        pytest.param(SEALED[:-1] + bytes([SEALED[-1] ^ 1]), id="a bit changed in the last chunk"),
        pytest.param(SEALED + b"x", id="longer"),
        pytest.param(PLAIN, id="not encrypted"),
        pytest.param(b"", id="empty"),
    ],
)
async def test_bytes_that_were_not_encrypted_so_are_never_loaded(place: Place, content: bytes) -> None:
    place.sealed.write_bytes(content)
    with pytest.raises(DecryptionError, match=r"cannot be decrypted .* that the upload was whole"):
        await place.vault().open(artifact(), place.sealed)
    assert not place.decrypted


async def test_nothing_is_decrypted_onto_a_disk(place: Place) -> None:
    mounts = place.disk / "mounts"
    mounts.write_text("overlay / overlay rw 0 0\n")
    vault = Vault(place.memory, identities_root=place.disk / "identities", mounts=mounts)
    with pytest.raises(DecryptionError, match="is not in memory"):
        await vault.open(artifact(), place.sealed)
    assert not place.decrypted


async def test_an_agent_without_the_options_says_so(place: Place) -> None:
    assert Vault(None, identities_root=None).path(artifact()) is None
    with pytest.raises(DecryptionError, match="no --decrypted-root"):
        await Vault(None, identities_root=None).open(artifact(), place.sealed)
    with pytest.raises(DecryptionError, match="no --identities-root"):
        await Vault(place.memory, identities_root=None).open(artifact(), place.sealed)


async def test_memory_that_is_full_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("littoral.agent.vault._Writer._put", full)
    with pytest.raises(OSError, match="do not fit into the memory for decrypted artifacts") as error:
        await place.vault().open(artifact(), place.sealed)
    assert reason_of(error.value) is FailureReason.STORAGE_FAILED
    assert not place.decrypted


async def test_archives_and_directories_are_refused(place: Place) -> None:
    with pytest.raises(ArtifactError, match="archives are not decrypted"):
        await place.vault().open(artifact("https://models.example/digits.tar.zst.age"), place.sealed)
    with pytest.raises(ArtifactError, match="this is a directory"):
        await place.vault().open(artifact(), place.disk)


def test_an_encrypted_artifact_is_kept_as_it_is_and_loaded_under_its_own_name(place: Place) -> None:
    wanted = artifact("https://models.example/x.tar")
    assert archive.entry_name(wanted) == HEX
    assert archive.unpacker(wanted) is None
    model = ServedModel(name="x", variant="cpu", backend="openvino", artifact=artifact())
    installed = install(model, place.sealed, 1)
    assert list(installed.links) == ["1/model.onnx"]
    plain = model.model_copy(update={"artifact": model.artifact.model_copy(update={"encryption": None})})
    assert fingerprint(model) != fingerprint(plain)
