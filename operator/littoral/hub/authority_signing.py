"""The hub's own certificate authority: what it signs for gateways, and when. Nothing here reads or writes.

What a certificate says follows from the Assignment alone. Of the request that a site sends only the public key is
taken, once the request proves that the site has the private one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from littoral.api.routes import gateway_tls_name

LIFETIME: Final = timedelta(days=30)
"""Of a gateway's certificate; it is renewed after two thirds of it."""
AUTHORITY_LIFETIME: Final = timedelta(days=3650)
OVERLAP: Final = timedelta(days=32)
"""How long a new authority is trusted before it signs, and an old one after it has signed last: longer than any
certificate lasts, so a site that is away in the meantime needs another certificate anyway."""

_RENEWED_BEFORE: Final = timedelta(days=730)
"""Before its end an authority gets a successor."""
_BACKDATED: Final = timedelta(days=1)
"""The clock of a box without a battery may be behind."""
_LONGEST_REQUEST: Final = 8192
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class RefusedRequest(ValueError):
    """A request that is not signed; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Whom a certificate is for.

    Attributes:
        member: cluster of the pool; None for the hub's own.
    """

    pool: str
    member: str | None = None

    @property
    def dns(self) -> str:
        """The name that gateways of other clusters ask for."""
        return gateway_tls_name(self.pool)

    @property
    def uri(self) -> str:
        """Says where the gateway is, for whoever reads the certificate."""
        return f"littoral://{f'member/{self.member}' if self.member else 'hub'}/pool/{self.pool}"

    @property
    def extension(self) -> x509.SubjectAlternativeName:
        """Both, as a certificate has them."""
        return x509.SubjectAlternativeName([x509.DNSName(self.dns), x509.UniformResourceIdentifier(self.uri)])


@dataclass(frozen=True)
class Authority:
    """One authority: its certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def since(self) -> datetime:
        """When it was made."""
        return self.certificate.not_valid_before_utc + _BACKDATED

    @property
    def until(self) -> datetime:
        """When it ends."""
        return self.certificate.not_valid_after_utc

    def signed(self, certificate: x509.Certificate) -> bool:
        """Whether it has signed this certificate."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


@dataclass(frozen=True)
class Authorities:
    """The authorities that gateways trust, the oldest first: never none."""

    members: tuple[Authority, ...]

    @cached_property
    def bundle(self) -> str:
        """Their certificates (PEM)."""
        return "".join(_pem(it.certificate) for it in self.members)

    @cached_property
    def keys(self) -> str:
        """Their keys in the same order (PEM). Secret."""
        return "".join(
            it.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode()
            for it in self.members
        )

    def signer(self, now: datetime) -> Authority:
        """The one that signs: the newest that every gateway has had time to learn of, else the oldest."""
        known = [it for it in self.members if now - it.since >= OVERLAP]
        return known[-1] if known else self.members[0]

    def rotated(self, now: datetime) -> Authorities:
        """The same with a successor for one that comes to its end, and without those that nothing needs any more."""
        needed = [
            it
            for it, newer in zip(self.members, [*self.members[1:], None], strict=True)
            if newer is None or (now - newer.since < 2 * OVERLAP and it.until > now)
        ]
        if needed[-1].until - now < _RENEWED_BEFORE:
            needed.append(create(now))
        return (
            self if len(needed) == len(self.members) and needed[-1] is self.members[-1] else Authorities(tuple(needed))
        )


def create(now: datetime) -> Authority:
    """A new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    # The serial number makes each its own issuer: a certificate leads to one of several with the same name.
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"littoral gateways {serial:x}"[:64])])
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(_whole(now - _BACKDATED))
        .not_valid_after(_whole(now + AUTHORITY_LIFETIME))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def load(*, certificates: str, keys: str) -> Authorities:
    """What `Authorities.bundle` and `Authorities.keys` have written.

    Raises:
        ValueError: they are something else.
    """
    found = x509.load_pem_x509_certificates(certificates.encode())
    begin = "-----BEGIN "
    loaded = [
        serialization.load_pem_private_key(f"{begin}{text}".encode(), password=None) for text in keys.split(begin)[1:]
    ]
    if not found or len(found) != len(loaded):
        raise ValueError(f"{len(found)} certificates and {len(loaded)} keys")
    members = []
    for certificate, key in zip(found, loaded, strict=True):
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError("a key is not that of its certificate")
        members.append(Authority(certificate, key))
    return Authorities(tuple(sorted(members, key=lambda it: it.since)))


def sign(request: str, *, names: Names, by: Authority, now: datetime) -> str:
    """The certificate (PEM) of a gateway.

    Args:
        request: PKCS #10 (PEM), from a site: it may be anything.

    Raises:
        RefusedRequest: it is no proper request.
    """
    public = public_key_of(request)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"gateway-{names.pool}"[:64])]))
        .issuer_name(by.certificate.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_whole(now - _BACKDATED))
        .not_valid_after(min(_whole(now + LIFETIME), by.until))
        .add_extension(names.extension, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(_issuer_identifier(by.certificate), critical=False)
        .sign(by.key, hashes.SHA256())
    )
    return _pem(certificate)


def public_key_of(request: str) -> ec.EllipticCurvePublicKey:
    """The public key of a request whose sender has the private one.

    Raises:
        RefusedRequest: it is no request, its signature is wrong, or its key is not one that we sign.
    """
    if len(request) > _LONGEST_REQUEST:
        raise RefusedRequest(f"a request has at most {_LONGEST_REQUEST} bytes, and this one {len(request)}")
    try:
        parsed = x509.load_pem_x509_csr(request.encode())
        public = parsed.public_key()
        digest = parsed.signature_hash_algorithm
        valid = parsed.is_signature_valid
    except Exception as error:  # what a site sends may be anything, and the parser's errors are many
        raise RefusedRequest(f"it is no PKCS #10 request: {error}") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, _CURVES):
        raise RefusedRequest("its key is not of ECDSA on P-256 or P-384")
    if not isinstance(digest, _HASHES):
        raise RefusedRequest("it is not signed with SHA-256, SHA-384 or SHA-512")
    if not valid:
        raise RefusedRequest("its signature is not by its key")
    return public


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known of a certificate that a pool has.

    Attributes:
        renewed_at: when it is to be replaced.
    """

    key: ec.EllipticCurvePublicKey
    renewed_at: datetime


def examine(certificate: str, *, names: Names, authorities: Sequence[Authority], now: datetime) -> Standing | None:
    """What is known of a certificate (PEM); None where it is not ours, for another, over, or not yet valid."""
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        key = found.public_key()
        named = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # it was kept where others may write
        return None
    since, until = found.not_valid_before_utc, found.not_valid_after_utc
    if named != names.extension or not since <= now < until or not any(it.signed(found) for it in authorities):
        return None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return None
    issued = since + _BACKDATED
    return Standing(key=key, renewed_at=issued + (until - issued) * 2 / 3)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _issuer_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
