"""What goes wrong, as `application/problem+json` (RFC 9457) with a status that says what a client can do about it."""

from __future__ import annotations

import json
import math

from aiohttp import web

from examples.vision.kserve import ModelError, ModelTimedOut, ModelUnavailable
from examples.vision.opening import NotAPicture, PictureTooLarge


class Problem(Exception):
    """An answer other than 200; `retry_after`: seconds for the header of that name."""

    def __init__(self, status: int, code: str, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after

    def response(self) -> web.Response:
        """Return it as an HTTP response."""
        headers = {} if self.retry_after is None else {"Retry-After": str(math.ceil(self.retry_after))}
        body = {"type": "about:blank", "status": self.status, "code": self.code, "detail": self.detail}
        return web.Response(
            status=self.status, text=json.dumps(body), content_type="application/problem+json", headers=headers
        )


def from_error(error: ModelError | NotAPicture | PictureTooLarge) -> Problem:
    """Return the problem that an error of the picture or of a Model is to the client."""
    match error:
        case NotAPicture():
            return Problem(415, "not-a-picture", str(error))
        case PictureTooLarge():
            return Problem(413, "too-large", str(error))
        case ModelUnavailable():
            return Problem(503, "model-unavailable", str(error), retry_after=error.retry_after)
        case ModelTimedOut():
            return Problem(504, "model-timed-out", str(error))
        case _:
            return Problem(502, "model-refused", str(error))
