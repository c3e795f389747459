"""Sigstore bundles as far as a check with a key needs them, and what the statements in them vouch for."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from littoral.agent.errors import SignatureError

LARGEST = 4 << 20
"""Bytes of a bundle: a directory of some ten thousand files is listed in about as many."""

STATEMENT_TYPE = "application/vnd.in-toto+json"
MODEL_PREDICATE = "https://model_signing/signature/v1.0"
"""What `model_signing` signs: a list of files with their digests
(https://github.com/sigstore/model-transparency)."""
COSIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
"""What `cosign sign` signs: the digest of one thing."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A signature over bytes with a digest, or over an envelope (DSSE) with a statement in it."""

    signature: bytes
    digest: str | None = None
    """Hex SHA-256 that the bundle says was signed; None for an envelope or where it does not say."""
    payload_type: str | None = None
    """Of the envelope; None for a signature over bytes."""
    payload: bytes = b""

    @property
    def signed(self) -> bytes:
        """The bytes of an envelope that are signed (https://github.com/secure-systems-lab/dsse, PAE)."""
        kind = (self.payload_type or "").encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a signed statement vouches for."""

    digest: str | None = None
    """Hex SHA-256 of the one thing it is about."""
    files: Mapping[str, str] | None = None
    """Relative path -> hex SHA-256 of all files of a model; "." alone for a model that is one file."""


def parse(content: bytes) -> Bundle:
    """The bundle in a JSON document.

    Raises:
        SignatureError: it is none, or one of a kind that is not known here.
    """
    try:
        body = json.loads(content)
        if (envelope := body.get("dsseEnvelope")) is not None:
            signatures = envelope["signatures"]
            if len(signatures) != 1:
                raise SignatureError(f"the signature is an envelope with {len(signatures)} signatures instead of one")
            return Bundle(
                signature=_decoded(signatures[0]["sig"]),
                payload_type=str(envelope["payloadType"]),
                payload=_decoded(envelope["payload"]),
            )
        message = body["messageSignature"]
        said = message.get("messageDigest")
        if said is not None and said["algorithm"] != "SHA2_256":
            raise SignatureError(f"the signature is over a digest of kind {said['algorithm']}, not SHA2_256")
        return Bundle(
            signature=_decoded(message["signature"]), digest=None if said is None else _decoded(said["digest"]).hex()
        )
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise SignatureError("the signature is not a Sigstore bundle: sign with `cosign sign-blob --bundle`") from error


def statement(payload_type: str | None, payload: bytes) -> Statement:
    """What an envelope vouches for, once its signature is right.

    Raises:
        SignatureError: it is about something else than an artifact, such as a list of its dependencies.
    """
    if payload_type != STATEMENT_TYPE:
        raise SignatureError(f"what is signed is {payload_type!r}, not an in-toto statement")
    try:
        body = json.loads(payload)
        kind = body["predicateType"]
        match kind:
            case _ if kind == MODEL_PREDICATE:
                return Statement(files=_files(body["predicate"]))
            case _ if kind == COSIGN_PREDICATE and len(body["subject"]) == 1:
                return Statement(digest=str(body["subject"][0]["digest"]["sha256"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SignatureError("the signed statement is not one that `model_signing` or `cosign` writes") from error
    raise SignatureError(f"the signed statement says {kind!r}, which vouches for no artifact")


def _files(predicate: Mapping[str, Any]) -> dict[str, str]:
    files: dict[str, str] = {}
    for resource in predicate["resources"]:
        if resource["algorithm"] != "sha256":
            raise SignatureError(f"files are signed as {resource['algorithm']}: sign whole files with sha256")
        if resource["name"] in files:
            raise SignatureError(f"{resource['name']!r} is twice in the signed statement")
        files[str(resource["name"])] = str(resource["digest"])
    return files


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
