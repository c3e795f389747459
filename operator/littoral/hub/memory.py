"""What the hub has learned, kept in ConfigMaps beside its Lease, so that a restart or a successor need not learn anew.

A text is compressed and cut into pieces, since an object may have 1 MiB at most. Every piece names the whole that it is
of: a text of which a piece is missing or from another time is forgotten, and that is all that a crash can do.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import zlib
from typing import Final

from littoral.cluster.client import ApiError, Client
from littoral.cluster.resources import CONFIG_MAPS
from littoral.render import names

logger = logging.getLogger(__name__)

_PIECE: Final = 600 * 1024
_MOST: Final = 64
_CONTENT: Final = "content"


class Memory:
    """The ConfigMaps `<name>-0`, `<name>-1`, ... of a namespace."""

    def __init__(self, client: Client, *, namespace: str, name: str, manager: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._manager = manager
        self._saved = ""

    async def load(self) -> str:
        """What was saved last; empty where nothing was, or not all of it is there.

        Raises:
            ApiError: the API server did not answer the question.
        """
        pieces: list[bytes] = []
        whole, count = "", 1
        while len(pieces) < count:
            body = await self._client.get(CONFIG_MAPS, namespace=self._namespace, name=f"{self._name}-{len(pieces)}")
            data = (body or {}).get("data") or {}
            try:
                count = min(int(data["pieces"]), _MOST)
                pieces.append(base64.b64decode(body["binaryData"][_CONTENT], validate=True) if body else b"")
                whole = whole or data["whole"]
                if data["whole"] != whole:
                    return ""
            except (KeyError, TypeError, ValueError):
                return ""
        packed = b"".join(pieces)
        try:
            return zlib.decompress(packed).decode() if _digest(packed) == whole else ""
        except (zlib.error, UnicodeDecodeError):
            return ""

    async def save(self, text: str) -> None:
        """Keep the text instead of the last one. A failure is logged: it costs no more than what was learned since."""
        if text == self._saved:
            return
        packed = zlib.compress(text.encode(), level=6)
        cuts = range(0, max(len(packed), 1), _PIECE)
        if len(cuts) > _MOST:
            logger.warning("what was learned is too large to be kept: %d bytes", len(packed))
            return
        try:
            # The first piece last: until it is there, a reader finds pieces of two texts, and forgets both.
            for number, start in reversed(list(enumerate(cuts))):
                await self._client.apply(
                    {
                        "apiVersion": CONFIG_MAPS.api_version,
                        "kind": CONFIG_MAPS.kind,
                        "metadata": {
                            "name": f"{self._name}-{number}",
                            "namespace": self._namespace,
                            "labels": names.ours(),
                        },
                        "data": {"whole": _digest(packed), "pieces": str(len(cuts))},
                        "binaryData": {_CONTENT: base64.b64encode(packed[start : start + _PIECE]).decode()},
                    },
                    manager=self._manager,
                )
        except ApiError as error:
            logger.warning("what was learned could not be kept: %s", error)
        else:
            self._saved = text


def _digest(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()
