"""The key of a gateway, which stays at its site, the request for its certificate, and what of both is in use. Nothing
here reads or writes."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from littoral.api.routes import GatewayCertificate


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What the Secret of a gateway holds, as PEM.

    Attributes:
        request: for a certificate of the key.
        certificate: of the key; empty until there is one.
        authorities: whose gateways are trusted; empty as long as `certificate` is.
    """

    key: str
    request: str
    certificate: str = ""
    authorities: str = ""

    @property
    def complete(self) -> bool:
        """Whether a gateway can use them."""
        return bool(self.certificate and self.authorities)


def create(pool: str) -> Credentials:
    """A new key, and the request for its certificate.

    Args:
        pool: only says to people whose request it is: the hub knows whom it signs for.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"gateway-{pool}"[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return Credentials(
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        request=request.public_bytes(serialization.Encoding.PEM).decode(),
    )


def usable(credentials: Credentials) -> bool:
    """Whether key and request are what `create` makes of them: somebody else may have written to the Secret."""
    try:
        key = serialization.load_pem_private_key(credentials.key.encode(), password=None)
        request = x509.load_pem_x509_csr(credentials.request.encode())
        return key.public_key() == request.public_key()
    except Exception:  # the parser's errors are many
        return False


def renewed(credentials: Credentials, given: GatewayCertificate) -> Credentials:
    """The same with what the hub has given; as they were where that is no certificate of this key."""
    certificate = given.certificate
    if certificate is None or not _is_for(certificate, credentials.key):
        if not credentials.certificate:
            return credentials
        # The new certificate is under way, perhaps by a new authority.
        return _with(credentials, credentials.certificate, given.authorities)
    return _with(credentials, certificate, given.authorities)


def _with(credentials: Credentials, certificate: str, authorities: str) -> Credentials:
    return Credentials(
        key=credentials.key, request=credentials.request, certificate=certificate, authorities=authorities
    )


def _is_for(certificate: str, key: str) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        own = serialization.load_pem_private_key(key.encode(), password=None)
        return own.public_key() == found.public_key()
    except Exception:  # the parser's errors are many
        return False
