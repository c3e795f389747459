"""The lab's own certificate authority, the certificates and kubeconfigs of its programs."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = datetime.timedelta(days=3650)


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate authority in ``directory``: ``ca.crt``, ``ca.key``, and what it issued."""

    directory: Path

    @property
    def certificate(self) -> Path:
        """The authority's own certificate (PEM)."""
        return self.directory / "ca.crt"

    def create(self) -> None:
        """Make the authority and the key that signs service account tokens, unless they are there."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.certificate.exists():
            return
        tokens = ec.generate_private_key(ec.SECP256R1())
        _write_key(self.directory / "service-accounts.key", tokens)
        public = tokens.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self.directory / "service-accounts.pub").write_bytes(public)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name="littoral-lab", organization=None)
        certificate = (
            _builder(subject=name, issuer=name, public_key=key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write_key(self.directory / "ca.key", key)
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        file_name: str,
        *,
        common_name: str,
        organization: str | None = None,
        names: Sequence[str] = (),
        addresses: Sequence[IPv4Address] = (),
        into: Path | None = None,
    ) -> tuple[Path, Path]:
        """Issue ``<file_name>.crt`` and ``.key`` for a client, and for a server when it has names or addresses.

        They are written to ``into`` (by default the authority's own directory).
        """
        authority_key = serialization.load_pem_private_key((self.directory / "ca.key").read_bytes(), password=None)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(
            subject=_name(common_name=common_name, organization=organization),
            issuer=authority.subject,
            public_key=key.public_key(),
        ).add_extension(_usage(signs_certificates=False), critical=True)
        if names or addresses:
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
            alternatives = [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False).sign(
            authority_key, hashes.SHA256()
        )
        directory = into or self.directory
        paths = directory / f"{file_name}.crt", directory / f"{file_name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(paths[1], key)
        return paths

    def kubeconfig(
        self,
        file_name: str,
        *,
        server: str,
        user: str,
        organization: str | None = None,
        cluster: str = "lab",
        into: Path | None = None,
    ) -> Path:
        """Issue a certificate for ``user`` and write ``<file_name>.kubeconfig``, which holds everything in itself."""
        certificate, key = self.issue(file_name, common_name=user, organization=organization, into=into)
        path = certificate.with_suffix(".kubeconfig")
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": cluster,
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": f"{cluster}-{file_name}"}}],
            "clusters": [
                {
                    "name": cluster,
                    "cluster": {"server": server, "certificate-authority-data": _base64(self.certificate)},
                }
            ],
            "users": [
                {
                    "name": f"{cluster}-{file_name}",
                    "user": {
                        "client-certificate-data": _base64(certificate),
                        "client-key-data": _base64(key),
                    },
                }
            ],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _name(*, common_name: str, organization: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _builder(
    *, subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFE)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
