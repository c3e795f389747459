"""Which reason an error is reported under: it tells programs whether waiting helps."""

from __future__ import annotations

from typing import Final

from littoral.agent.errors import (
    AgentError,
    ArtifactError,
    DecryptionError,
    FetchError,
    LoadError,
    SignatureError,
    TritonError,
)
from littoral.agent.store import DigestError, NoSpace
from littoral.api.serving import FailureReason

# The first that fits: a wrong digest is a special case of a wrong artifact.
_REASONS: Final = (
    (DigestError, FailureReason.DIGEST_MISMATCH),
    (SignatureError, FailureReason.SIGNATURE_INVALID),
    (DecryptionError, FailureReason.DECRYPTION_FAILED),
    (ArtifactError, FailureReason.UNSUPPORTED),
    (NoSpace, FailureReason.STORAGE_FAILED),
    (FetchError, FailureReason.FETCH_FAILED),
    (LoadError, FailureReason.LOAD_FAILED),
    (TritonError, FailureReason.TRITON_UNAVAILABLE),
    (OSError, FailureReason.STORAGE_FAILED),
)


def reason_of(error: Exception) -> FailureReason:
    """The reason that an error stands for: of one that only adds where it happened, that of its cause."""
    cause = error.__cause__ if isinstance(error.__cause__, AgentError) else error
    return next((reason for kind, reason in _REASONS if isinstance(cause, kind)), FailureReason.INTERNAL_ERROR)
