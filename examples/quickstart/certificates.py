"""The artifact server's certificate, signed by an authority of the demo's own.

`python -m examples.quickstart.certificates DIRECTORY` writes ca.crt, tls.crt and tls.key, for those who apply
the manifests by hand.
"""

from __future__ import annotations

import datetime
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST_NAMES = ("artifacts.shop.svc", "artifacts.shop.svc.cluster.local")

_LIFE = datetime.timedelta(days=365)
# A node's clock may be behind this machine's.
_CLOCK_SKEW = datetime.timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """PEM texts: the authority's certificate, the server's certificate, and the server's key."""

    ca_crt: bytes
    tls_crt: bytes
    tls_key: bytes

    def write(self, directory: Path) -> None:
        """Write the three as ca.crt, tls.crt and tls.key; only the owner can read the key."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "ca.crt").write_bytes(self.ca_crt)
        (directory / "tls.crt").write_bytes(self.tls_crt)
        key = directory / "tls.key"
        key.unlink(missing_ok=True)
        with open(key, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(self.tls_key)


def issue() -> Bundle:
    """Make an authority and a certificate of the artifact server, for a year; the authority's key is forgotten."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("Littoral quickstart")
    authority = (
        _builder(subject=authority_name, issuer=authority_name, key=authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(subject=_name(HOST_NAMES[0]), issuer=authority_name, key=key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in HOST_NAMES]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return Bundle(
        ca_crt=authority.public_bytes(serialization.Encoding.PEM),
        tls_crt=certificate.public_bytes(serialization.Encoding.PEM),
        tls_key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(*, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFE)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


if __name__ == "__main__":
    issue().write(Path(sys.argv[1]))
