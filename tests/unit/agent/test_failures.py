"""Which reason stands for which error."""

from __future__ import annotations

import pytest

from littoral.agent.errors import ArtifactError, FetchError, LoadError, TritonError
from littoral.agent.failures import reason_of
from littoral.agent.store import DigestError
from littoral.api.serving import FailureReason


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


WRONG = DigestError(expected="0" * 64, actual="1" * 64)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FetchError("404"), FailureReason.FETCH_FAILED),
        (caused(FetchError("no route"), OSError("no route")), FailureReason.FETCH_FAILED),
        (ArtifactError("s3://"), FailureReason.UNSUPPORTED),
        (WRONG, FailureReason.DIGEST_MISMATCH),
        (caused(FetchError("https://x: wrong digest"), WRONG), FailureReason.DIGEST_MISMATCH),
        (caused(FetchError("s3://x: not fetched"), ArtifactError("not fetched")), FailureReason.UNSUPPORTED),
        (LoadError("no such backend"), FailureReason.LOAD_FAILED),
        (TritonError("gone"), FailureReason.TRITON_UNAVAILABLE),
        (OSError(28, "No space left on device"), FailureReason.STORAGE_FAILED),
        (ValueError("a mistake of ours"), FailureReason.INTERNAL_ERROR),
    ],
)
def test_the_reason_of_an_error(error: Exception, reason: FailureReason) -> None:
    assert reason_of(error) is reason
