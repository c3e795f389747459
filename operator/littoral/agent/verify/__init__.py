"""Whether an artifact is signed by whom the Model says, before it is loaded.

A signature is a Sigstore bundle (https://docs.sigstore.dev/about/bundle/), as `cosign sign-blob --bundle` and
`model_signing sign` write it. With a key it is checked by `cryptography` alone; the `sigstore` package, which takes 40
MiB of memory, is loaded when a Model names an identity.
"""

from littoral.agent.verify.verifier import Policy, Verifier

__all__ = ["Policy", "Verifier"]
