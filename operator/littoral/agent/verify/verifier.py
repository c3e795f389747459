"""The check as a whole: which signature, whose, and whether it is over what is in the cache."""

import asyncio
import hashlib
import json
import logging
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from littoral.agent import digest
from littoral.agent.errors import AgentError, FetchError, NotFound, SignatureError
from littoral.agent.fetch import redacted
from littoral.agent.files import write_atomically
from littoral.agent.store import Entry
from littoral.agent.verify.bundle import LARGEST, Statement, parse, statement
from littoral.api.serving import Artifact, ServedModel, Verification

log = logging.getLogger(__name__)

INSIDE = "model.sig"
"""Where `model_signing` puts the signature of a directory: into it."""

BESIDE = ".sigstore.json"
"""Appended to the URI it names the signature of a file: what cosign calls it."""

_IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
"""What `model_signing` leaves out of a signature, and no backend reads."""

FetchSignature = Callable[[Artifact, Path], Awaitable[object]]
"""Brings what the first names to the second, or raises a FetchError."""


class Policy(StrEnum):
    """What becomes of a Model that asks for no signature. One that does is never loaded without."""

    OFF = "Off"
    WARN = "Warn"
    REQUIRE = "Require"


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """What was found to be right, which is not looked at again in the life of the process."""

    entry: str
    verification: str


class Verifier:
    """Decides which artifacts may be loaded."""

    def __init__(
        self,
        *,
        policy: Policy,
        fetch: FetchSignature,
        kept: Path,
        keys_root: Path | None,
        trusted_root: Path | None = None,
    ) -> None:
        """
        Args:
            policy: for Models that ask for no signature.
            fetch: brings signatures.
            kept: folder in which they are kept, since a node that restarts may have no uplink.
            keys_root: where public keys are mounted, as <name of the Secret>/<key>.
            trusted_root: whose certificates and logs are believed (Sigstore's `trusted_root.json`); None for the
                public ones.
        """
        self._policy = policy
        self._fetch = fetch
        self._kept = kept
        self._keys_root = keys_root
        self._trusted_root = trusted_root
        self._right: set[_Checked] = set()
        self._warned: set[str] = set()

    def accepts(self, model: ServedModel, entry: Entry) -> bool:
        """Whether the entry may be loaded for the model, as far as `check` was asked."""
        if model.verification is None:
            return self._policy is not Policy.REQUIRE
        return _checked(model.verification, entry) in self._right

    async def check(self, model: ServedModel, entry: Entry) -> None:
        """See that the entry carries the signature that the model must have.

        Raises:
            SignatureError: it does not, or there is none where it belongs.
            FetchError: the signature, or the key, is not to be had now.
        """
        if model.verification is None:
            self._unsigned(model)
            return
        if self.accepts(model, entry):
            return
        wrong: SignatureError | None = None
        for content in await asyncio.to_thread(self._known, entry):
            try:
                await asyncio.to_thread(self._verify, content, model.verification, entry)
            except SignatureError as error:  # of another key, or of before it was signed anew
                wrong = wrong or error
                continue
            self._right.add(_checked(model.verification, entry))
            return
        try:
            content = await self._bring(model.artifact)
        except (FetchError, SignatureError) as error:
            raise (wrong or error) from None  # or its reason would be that of the cause
        await asyncio.to_thread(self._verify, content, model.verification, entry)
        self._keep(entry, content)
        self._right.add(_checked(model.verification, entry))

    def _unsigned(self, model: ServedModel) -> None:
        said = "no signature is asked for: set spec.verification of the Model"
        if self._policy is Policy.REQUIRE:
            raise SignatureError(f"{said}; this node loads nothing without")
        if self._policy is Policy.WARN and model.name not in self._warned:
            self._warned.add(model.name)
            log.warning("%s: %s", model.name, said)

    def _verify(self, content: bytes, wanted: Verification, entry: Entry) -> None:
        # `cryptography` takes 12 MiB of memory, which agents without signed Models are spared.
        from littoral.agent.verify import identity, keys

        bundle = parse(content)
        said = None if bundle.payload_type is None else (bundle.payload_type, bundle.payload)
        if wanted.identity is not None:
            said = identity.check(content, wanted.identity, digest=entry.hex, trusted_root=self._trusted_root)
        else:
            keys.check(bundle, keys.load(self._key(wanted)), digest=entry.hex)
        if said is not None:
            _compare(statement(*said), entry)

    def _key(self, wanted: Verification) -> bytes:
        reference = wanted.public_key_secret_ref
        if reference is None:
            raise SignatureError("neither a public key nor an identity is named")
        if self._keys_root is None:
            raise FetchError("the Model names a public key, and this agent has no --keys-root")
        try:
            return (self._keys_root / reference.name / reference.key).read_bytes()
        except OSError as error:
            raise FetchError(
                f"the public key {reference.key!r} of the Secret {reference.name!r} is not there: "
                f"{error.strerror}; the Secret belongs in the Model's namespace"
            ) from error

    def _known(self, entry: Entry) -> list[bytes]:
        """Signatures that are here already, that which is in the artifact first."""
        inside = [entry.path / INSIDE] if entry.path.is_dir() else []
        found = []
        for path in (*inside, *sorted((self._kept / entry.hex).glob("*.json"))):
            with suppress(OSError):
                if path.stat().st_size <= LARGEST:
                    found.append(path.read_bytes())
        return found

    async def _bring(self, artifact: Artifact) -> bytes:
        if artifact.scheme == "oci":
            raise SignatureError(
                f"no signature was found in it: an artifact from a registry carries its signature inside, as {INSIDE};"
                " publish it anew with: littoral publish --sign KEY.pem"
            )
        uri = signature_uri(artifact.uri)
        wanted = Artifact.model_construct(uri=uri, digest=artifact.digest, secret_ref=artifact.secret_ref)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "signature")
            try:
                await self._fetch(wanted, target)
                return await asyncio.to_thread(target.read_bytes)
            except NotFound as error:
                raise SignatureError(
                    f"no signature was found at {redacted(uri)} ({error}): put one there, as cosign sign-blob --bundle"
                    " writes it, or publish the artifact with: littoral publish --sign KEY.pem"
                ) from error
            except (AgentError, OSError) as error:
                raise FetchError(f"its signature ({BESIDE} beside it) is not to be had: {error}") from error

    def _keep(self, entry: Entry, content: bytes) -> None:
        folder = self._kept / entry.hex
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / f"{hashlib.sha256(content).hexdigest()}.json", content.decode())
        except OSError as error:
            log.warning("a signature is not kept for the next start: %s", error)


def signature_uri(uri: str) -> str:
    """Where the signature of an artifact is: beside it."""
    path, mark, query = uri.partition("?")
    return f"{path}{BESIDE}{mark}{query}"


def _checked(verification: Verification, entry: Entry) -> _Checked:
    return _Checked(entry=entry.name, verification=json.dumps(verification.dump(), sort_keys=True))


def _compare(said: Statement, entry: Entry) -> None:
    """
    Raises:
        SignatureError: what was signed is not what is in the cache.
    """
    if said.files is None:
        if said.digest != entry.hex:
            raise SignatureError(f"the signature is for sha256:{said.digest}, and the artifact is sha256:{entry.hex}")
        return
    files = _files_of(entry)
    wrong = [path for path in sorted(files.keys() | said.files.keys()) if files.get(path) != said.files.get(path)]
    if wrong:
        path = wrong[0]
        how = "is not signed" if path not in said.files else "is missing" if path not in files else "is another file"
        raise SignatureError(f"{path!r} {how}" + (f", and {len(wrong) - 1} more differ" if len(wrong) > 1 else ""))


def _files_of(entry: Entry) -> Mapping[str, str]:
    """Relative path -> hex SHA-256 of what must be signed."""
    if entry.path.is_file():
        return {".": digest.of_file(entry.path)}
    return {
        path: digest.of_file(entry.path / path)
        for path in digest.walk(entry.path)
        if path != INSIDE and path.partition("/")[0] not in _IGNORED
    }
