"""Signatures of an artifact's files with a key, as the agent checks them: the file `model.sig` beside the others.

It is what `model_signing sign key` writes: a Sigstore bundle with an envelope (DSSE) around an in-toto statement that
lists every file with its SHA-256 (https://github.com/sigstore/model-transparency, predicate
model_signing/signature/v1.0). It is written here since all that it takes is one signature by `cryptography`: the
library would bring Sigstore's clients into a process that only pushes files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from littoral.optimize.errors import OptimizeError

FILE: Final = "model.sig"
PASSWORD: Final = "LITTORAL_KEY_PASSWORD"  # noqa: S105 - the name of the variable
"""Environment variable with the password of an encrypted key."""

_BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_STATEMENT: Final = "application/vnd.in-toto+json"
# No backend reads them, and the library leaves them out of what it signs.
_IGNORED: Final = (FILE, ".git", ".gitattributes", ".github", ".gitignore")
_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The private key of a PEM file.

    Raises:
        OptimizeError: it is none, is encrypted with another password, or is of a kind that is not signed with.
    """
    password = os.environ.get(PASSWORD)
    try:
        key = load_pem_private_key(path.read_bytes(), password.encode() if password else None)
    except TypeError as error:
        what = "is encrypted: set" if password is None else "is not encrypted: unset"
        raise OptimizeError(f"{path} {what} {PASSWORD}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OptimizeError(
            f"{path} is not a private key in PEM (or {PASSWORD} is wrong): make one with "
            "openssl ecparam -genkey -name prime256v1"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
        raise OptimizeError(f"{path} is not a key on a curve that is signed with (P-256, P-384, P-521)")
    return key


def sign(files: Mapping[str, str], key: ec.EllipticCurvePrivateKey, *, name: str) -> bytes:
    """The content of `model.sig`. The same files and key give the same bytes (RFC 6979).

    Args:
        files: relative path -> hex SHA-256 of each file.
        name: what the artifact is called, for people.
    """
    listed = {path: files[path] for path in sorted(files) if path.partition("/")[0] not in _IGNORED}
    total = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in listed.values())).hexdigest()
    payload = _json(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": name, "digest": {"sha256": total}}],
            "predicateType": "https://model_signing/signature/v1.0",
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": list(_IGNORED),
                },
                "resources": [
                    {"name": path, "algorithm": "sha256", "digest": digest} for path, digest in listed.items()
                ],
            },
        }
    )
    # DSSE's encoding of what is signed (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md).
    signed = b"DSSEv1 %d %b %d %b" % (len(_STATEMENT), _STATEMENT.encode(), len(payload), payload)
    signature = key.sign(signed, ec.ECDSA(_HASHES[key.curve.name], deterministic_signing=True))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return _json(
        {
            "mediaType": _BUNDLE,
            "verificationMaterial": {
                "publicKey": {"hint": hashlib.sha256(public).hexdigest()},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": _STATEMENT,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
    )


def _json(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
