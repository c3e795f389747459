"""Encrypted artifacts, decrypted into memory: the node's disk holds the ciphertext alone.

    <root>/<hex digest of the ciphertext>/<Secret with the identity>

The format is age (age-encryption.org/v1). Each chunk of 64 KiB is authenticated, so nothing that was changed or cut
short is ever given a name here. What is in the folder belongs to one Pod, and goes with it.
"""

import asyncio
import errno
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from littoral.agent import archive
from littoral.agent.errors import ArtifactError, DecryptionError
from littoral.agent.store import Entry
from littoral.api.serving import Artifact

KEY = "identity"
"""Key of the Secret that holds the identities, one a line, as `age-keygen` writes them."""

LARGEST = 1 << 16
"""The most bytes that a file of identities may have."""

_PART = "part-"
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


class Vault:
    """The folder in memory that holds decrypted artifacts, and the identities that open them."""

    def __init__(self, root: Path | None, *, identities_root: Path | None, mounts: Path = Path("/proc/mounts")) -> None:
        """
        Args:
            root: a folder on a tmpfs; None if this agent decrypts nothing. What it holds is removed.
            identities_root: where the Secrets with identities are mounted, one folder each.
            mounts: the file systems of this machine.
        """
        self._root = root
        self._identities_root = identities_root
        self._mounts = mounts
        self._opening: set[str] = set()
        if root is not None:
            self.keep(())

    def path(self, artifact: Artifact) -> Path | None:
        """Where the artifact is once it is decrypted; None if it is not encrypted, or this agent decrypts nothing."""
        if artifact.encryption is None or self._root is None:
            return None
        hex_digest = artifact.digest.removeprefix("sha256:")
        return self._root / hex_digest / artifact.encryption.identity_secret_ref.name

    def holds(self, artifact: Artifact) -> bool:
        """Whether the artifact may be loaded as far as encryption is concerned: it has none, or is decrypted."""
        return artifact.encryption is None or ((path := self.path(artifact)) is not None and path.exists())

    def entry_of(self, path: str) -> str | None:
        """The entry of the cache that `path` is decrypted from; None if it is none of this folder's."""
        try:
            return None if self._root is None else Path(path).relative_to(self._root).parts[0]
        except (ValueError, IndexError):
            return None

    def keep(self, paths: Iterable[str], *, wanted: Iterable[Artifact] = ()) -> None:
        """Remove all but these paths, what these artifacts are decrypted to, and what is being decrypted now."""
        if self._root is None or not self._root.is_dir():
            return
        digests = {artifact.digest.removeprefix("sha256:") for artifact in wanted}
        kept = {name for path in paths if (name := self.entry_of(path)) is not None} | digests | self._opening
        for child in self._root.iterdir():
            if child.name in kept:
                continue
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child, ignore_errors=True)
            else:
                child.unlink(missing_ok=True)

    async def open(self, artifact: Artifact, sealed: Path) -> None:
        """Decrypt an artifact in the cache, if it is encrypted and was not decrypted yet.

        Raises:
            ArtifactError: it is not a single file.
            DecryptionError: the identity does not open it, or is not there, or the bytes are not what was encrypted.
            OSError: there is no room for it.
        """
        if artifact.encryption is None:
            return
        if archive.compression(artifact.path.partition("?")[0].removesuffix(".age")) is not None:
            raise ArtifactError("an encrypted artifact is a single file: archives are not decrypted by this agent")
        self._folder()
        await self._restore(str(self.path(artifact)), sealed)

    async def restore(self, paths: Iterable[str], entry: Callable[[str], Entry | None]) -> None:
        """Decrypt again what belongs at those paths of this folder, out of the entries of the cache.

        Raises:
            As `open`.
        """
        for path in paths:
            name = self.entry_of(path)
            if name is not None and (found := entry(name)) is not None:
                await self._restore(path, found.path)

    async def _restore(self, path: str, sealed: Path) -> None:
        target = Path(path)
        if self._is_there(target, sealed):
            return
        identities = self._identities(target.name)
        part = self._folder() / f"{_PART}{uuid.uuid4().hex}"
        stop = threading.Event()
        self._opening |= {part.name, target.parent.name}
        try:
            thread = asyncio.ensure_future(asyncio.to_thread(_decrypt, sealed, part, identities, target.name, stop))
            try:
                await asyncio.shield(thread)
            except asyncio.CancelledError:
                stop.set()
                await asyncio.wait([thread])
                raise
            target.parent.mkdir(exist_ok=True)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
            self._opening -= {part.name, target.parent.name}

    def _is_there(self, target: Path, sealed: Path) -> bool:
        """Whether nothing is to be done; or else, see that something can be."""
        if target.exists():
            return True
        if not sealed.is_file():
            raise ArtifactError("an encrypted artifact is a single file, and this is a directory")
        self._see_that_it_is_memory()
        return False

    def _folder(self) -> Path:
        if self._root is None:
            raise DecryptionError("the artifact is encrypted, and this agent has no --decrypted-root")
        return self._root

    def _see_that_it_is_memory(self) -> None:
        """
        Raises:
            DecryptionError: what is written there would be on a disk.
        """
        folder = self._folder().resolve()
        found = {
            fields[1]: fields[2] for line in self._mounts.read_text().splitlines() if len(fields := line.split()) > 2
        }
        holder = next((it for it in (folder, *folder.parents) if str(it) in found), None)
        if holder is None or found[str(holder)] not in _IN_MEMORY:
            raise DecryptionError(f"{folder} is not in memory (a tmpfs): nothing is decrypted onto a disk")

    def _identities(self, secret: str) -> list[Any]:
        """What opens an artifact. Nothing of it is quoted.

        Raises:
            DecryptionError: it is not there, or no identity.
        """
        from pyrage import IdentityError, x25519

        if self._identities_root is None:
            raise DecryptionError("the artifact is encrypted, and this agent has no --identities-root")
        file = self._identities_root / PurePosixPath(secret).name / KEY
        try:
            with file.open("rb") as reader:
                text = reader.read(LARGEST).decode()
            lines = [line.strip() for line in text.splitlines()]
            found = [x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
        except OSError as error:
            raise DecryptionError(
                f"the identity is not there: create the Secret {secret!r} in the Model's namespace, with the file of"
                f" age-keygen as its key {KEY!r} ({error.strerror})"
            ) from None
        except (IdentityError, UnicodeDecodeError):
            raise DecryptionError(
                f"the key {KEY!r} of the Secret {secret!r} is no age identity: lines that begin with AGE-SECRET-KEY-1"
            ) from None
        if not found:
            raise DecryptionError(f"the key {KEY!r} of the Secret {secret!r} holds no identity")
        return found


class _Writer:
    """Keeps what the disk said, which the library only passes on as text; and ends early."""

    def __init__(self, file: IO[bytes], stop: threading.Event) -> None:
        self._file = file
        self._stop = stop
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write all of it."""
        if self._stop.is_set():
            raise InterruptedError("stopped")
        try:
            self._put(data)
        except OSError as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        while left:  # a raw file may take only a part
            left = left[self._file.write(left) :]


def _decrypt(sealed: Path, target: Path, identities: list[Any], secret: str, stop: threading.Event) -> None:
    from pyrage import DecryptError, decrypt_io

    with sealed.open("rb") as reader, target.open("xb", buffering=0) as file:
        writer = _Writer(file, stop)
        try:
            decrypt_io(reader, writer, identities)
        except (DecryptError, OSError, ValueError) as error:
            if writer.error is not None and writer.error.errno == errno.ENOSPC:
                size = os.stat(sealed).st_size
                raise OSError(
                    errno.ENOSPC, f"{size} bytes do not fit into the memory for decrypted artifacts"
                ) from None
            if writer.error is not None:
                raise writer.error from None
            raise DecryptionError(
                f"it cannot be decrypted with the identity in the Secret {secret!r}: {error}; see that it was encrypted"
                " to that identity's recipient (age -r age1...), that the upload was whole, and that artifact.digest"
                " is of the encrypted file"
            ) from None
