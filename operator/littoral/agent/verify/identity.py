"""Signatures without a key: a certificate says who signed, a public log says when."""

from pathlib import Path

from littoral.agent.errors import SignatureError
from littoral.agent.verify.bundle import parse
from littoral.api.serving import SigningIdentity


def check(
    content: bytes, identity: SigningIdentity, *, digest: str, trusted_root: Path | None
) -> tuple[str, bytes] | None:
    """See that the identity has made the signature of the bundle. Nothing is asked over the network.

    Args:
        content: the bundle's JSON document.
        digest: hex SHA-256 of the artifact, for a bundle that signs bytes.
        trusted_root: whose certificates and logs are believed; None for the public Sigstore, as the package has it.

    Returns:
        The type and the bytes of the statement that is signed; None if the artifact itself is.

    Raises:
        SignatureError: it has not, or that cannot be told.
    """
    # 40 MiB and half a second, which agents without such Models are spared.
    from sigstore.errors import Error
    from sigstore.hashes import Hashed
    from sigstore.models import Bundle as SigstoreBundle
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier, policy
    from sigstore_models.common.v1 import HashAlgorithm

    who = policy.Identity(identity=identity.subject, issuer=identity.issuer)
    try:
        if trusted_root is None:
            verifier = Verifier.production(offline=True)
        else:
            verifier = Verifier(trusted_root=TrustedRoot.from_file(str(trusted_root)))
        given = SigstoreBundle.from_json(content)
        if parse(content).payload_type is not None:
            return verifier.verify_dsse(given, who)
        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(digest))
        verifier.verify_artifact(hashed, given, who)
    except (Error, ValueError, OSError) as error:
        raise SignatureError(f"not signed by {identity.subject!r} ({identity.issuer}): {error}") from error
    return None
