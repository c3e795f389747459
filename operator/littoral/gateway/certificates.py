"""The gateway's certificate and the authorities of its peers: mounted files that somebody renews."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Certificates:
    """What HAProxy is given.

    Attributes:
        own: this gateway's certificate, what leads to its authority, and its key, as PEM.
        authorities: of the other gateways, as PEM.
    """

    own: str
    authorities: str

    @property
    def fingerprint(self) -> str:
        """SHA-1 of this gateway's certificate (DER, hexadecimal)."""
        body = self.own.split("-----BEGIN CERTIFICATE-----")[1].split("-----END CERTIFICATE-----")[0]
        return hashlib.sha1(base64.b64decode(body), usedforsecurity=False).hexdigest()


class CertificateFolder:
    """A mounted Secret of the type kubernetes.io/tls, with `ca.crt` as cert-manager adds it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._signature: tuple[int, ...] | None = None
        self._current: Certificates | None = None
        self._trouble = ""

    def read(self) -> Certificates | None:
        """What is mounted now, or was when it was last good; None as long as it never was: a gateway serves its own
        clients without."""
        try:
            files = [self._folder / name for name in ("tls.crt", "tls.key", "ca.crt")]
            # The kubelet replaces all files of a Secret by one link, so they belong together.
            signature = tuple(value for file in files for value in (os.stat(file).st_ino, os.stat(file).st_mtime_ns))
            if self._current is None or signature != self._signature:
                certificate, key, authorities = (_pem(file) for file in files)
                self._current, self._signature = Certificates(f"{certificate}{key}", authorities), signature
        except (OSError, ValueError) as error:
            if str(error) != self._trouble:
                log.warning("no new certificates in %s: %s", self._folder, error)
            self._trouble = str(error)
        else:
            self._trouble = ""
        return self._current


def _pem(file: Path) -> str:
    blocks = re.findall(r"-----BEGIN ([A-Z ]+)-----\n(.+?)\n-----END \1-----", file.read_text(), re.DOTALL)
    wanted = "PRIVATE KEY" if file.suffix == ".key" else "CERTIFICATE"
    if not any(kind.endswith(wanted) for kind, _ in blocks):
        raise ValueError(f"{file.name} holds no {wanted.lower()}")
    return "".join(f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n" for kind, body in blocks)
