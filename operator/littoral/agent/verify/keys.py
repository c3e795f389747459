"""Signatures with a key."""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from littoral.agent.errors import SignatureError
from littoral.agent.verify.bundle import Bundle

SMALLEST_RSA = 2048
"""Bits (NIST SP 800-131A: fewer are not allowed)."""

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def load(pem: bytes) -> PublicKey:
    """The public key of a PEM document.

    Raises:
        SignatureError: it is none, or of a kind that is not used for artifacts.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError("the public key is not a PEM document (`-----BEGIN PUBLIC KEY-----`)") from error
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < SMALLEST_RSA:
        raise SignatureError(f"the public key has {key.key_size} bits, and {SMALLEST_RSA} are the least that is safe")
    if not isinstance(key, PublicKey):
        raise SignatureError("the public key is neither ECDSA, RSA nor Ed25519")
    return key


def check(bundle: Bundle, key: PublicKey, *, digest: str) -> None:
    """See that the key has made the signature of the bundle.

    Args:
        digest: hex SHA-256 of the artifact, for a bundle that signs bytes.

    Raises:
        SignatureError: it has not.
    """
    try:
        if bundle.payload_type is not None:
            _check(key, bundle.signature, bundle.signed, None)
        elif bundle.digest not in (None, digest):
            raise SignatureError(f"the signature is over sha256:{bundle.digest}, and the artifact is sha256:{digest}")
        else:
            _check(key, bundle.signature, bytes.fromhex(digest), hashes.SHA256())
    except InvalidSignature as error:
        raise SignatureError("the signature was not made with this key, or not for this artifact") from error


def _check(key: PublicKey, signature: bytes, data: bytes, hashed: hashes.HashAlgorithm | None) -> None:
    """
    Args:
        hashed: how `data` was hashed; None if it was not.
    """
    match key:
        case ec.EllipticCurvePublicKey():
            own = _hash_of(key)
            if hashed is not None and own.name != hashed.name:
                raise SignatureError("signatures over a file need a key on P-256, which cosign makes")
            key.verify(signature, data, ec.ECDSA(own if hashed is None else Prehashed(hashed)))
        case rsa.RSAPublicKey():
            algorithm = hashes.SHA256() if hashed is None else Prehashed(hashed)
            key.verify(signature, data, padding.PKCS1v15(), algorithm)
        case ed25519.Ed25519PublicKey():
            if hashed is not None:
                raise SignatureError("signatures over a file need a key on P-256, which cosign makes")
            key.verify(signature, data)


def _hash_of(key: ec.EllipticCurvePublicKey) -> hashes.HashAlgorithm:
    """The hash that goes with a curve, as Sigstore's clients choose it."""
    match key.curve.name:
        case "secp256r1":
            return hashes.SHA256()
        case "secp384r1":
            return hashes.SHA384()
        case "secp521r1":
            return hashes.SHA512()
    raise SignatureError(f"keys on {key.curve.name} are not used for artifacts")
