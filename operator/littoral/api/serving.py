"""The contract between the site role and the agent beside Triton.

The site role writes a `ServerConfig` into the server's ConfigMap; the agent answers `GET /v1/status` with a
`ServerStatus`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from littoral.api.base import ApiModel
from littoral.api.meta import DeviceClass, DnsLabel, ObjectName, ServiceName
from littoral.api.quantity import Duration
from littoral.api.rules import ListMap, Rule

DIGEST_PATTERN = r"^sha256:[a-f0-9]{64}$"

Backend = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
Digest = Annotated[str, Field(pattern=DIGEST_PATTERN, max_length=71)]
Parameter = Annotated[str, Field(max_length=4096)]
Reason = Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$")]


class ModelState(StrEnum):
    """Where a model is on its way into Triton."""

    PENDING = "Pending"
    FETCHING = "Fetching"
    LOADING = "Loading"
    READY = "Ready"
    UNLOADING = "Unloading"
    FAILED = "Failed"
    # No agent says this of itself: it stands in status for a server whose agent does not answer.
    UNKNOWN = "Unknown"


class FailureReason(StrEnum):
    """Why the wanted artifact does not serve. A status holds it as text, since a newer agent may know more reasons."""

    FETCH_FAILED = "FetchFailed"
    DIGEST_MISMATCH = "DigestMismatch"
    # It is not signed as it must be.
    SIGNATURE_INVALID = "SignatureInvalid"
    # It is encrypted, and the identity does not open it or is not there.
    DECRYPTION_FAILED = "DecryptionFailed"
    # The artifact, or where it is said to be, is nothing that this agent serves.
    UNSUPPORTED = "Unsupported"
    LOAD_FAILED = "LoadFailed"
    TRITON_UNAVAILABLE = "TritonUnavailable"
    # The node's disk cannot be read or written, or is full.
    STORAGE_FAILED = "StorageFailed"
    INTERNAL_ERROR = "InternalError"
    # No agent says this: the Service that clients would ask could not be made.
    SERVICE_REFUSED = "ServiceRefused"

    @property
    def transient(self) -> bool:
        """Whether it may go away by itself: another attempt is more than a hope that somebody has changed something."""
        return self in (self.FETCH_FAILED, self.TRITON_UNAVAILABLE, self.STORAGE_FAILED)


FINAL_ATTEMPTS = 3
"""Attempts after which a model is `Failed`, although what went wrong may go away by itself."""

MOST_ATTEMPTS = 10
"""Attempts beyond which nobody counts, since each number would be a write."""


class SecretReference(ApiModel):
    """Names a Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret."""


class Encryption(ApiModel):
    """What opens an artifact that is published encrypted (age)."""

    identity_secret_ref: SecretReference
    """Secret in the Model's namespace with the age identity that the artifact is encrypted to, under the key
    `identity`: lines that begin with AGE-SECRET-KEY-1."""


class Artifact(ApiModel):
    """A file or archive that holds a network, and the digest that proves it."""

    uri: str = Field(min_length=1, max_length=2048, pattern=r"^\S+$")
    """Where the artifact is: oci://, https://, s3://, gs://, pvc://<claim>/<path> or file:///<path on the node>.
    Example: https://models.example/digits.onnx."""
    digest: Digest
    """SHA-256 of the artifact's bytes, as sha256:<64 hexadecimal digits>. Nothing is loaded whose bytes differ."""
    secret_ref: SecretReference | None = None
    """Secret in the Model's namespace with the credentials to fetch it with: of type kubernetes.io/dockerconfigjson
    for oci://, username and password or token for https://, accessKeyId and secretAccessKey for s3://, key.json for
    gs://. Absent: it is fetched without."""
    encryption: Encryption | None = None
    """Set where the artifact is a single file that age has encrypted; digest and signature are of the encrypted file.
    Each node keeps it encrypted and decrypts it into memory alone. Absent: it is not encrypted."""

    @property
    def scheme(self) -> str:
        """What stands before `://`."""
        return self.uri.partition("://")[0]

    @property
    def claim(self) -> str | None:
        """The PersistentVolumeClaim of a pvc:// artifact."""
        return self.uri.removeprefix("pvc://").partition("/")[0] if self.scheme == "pvc" else None

    @property
    def path(self) -> str:
        """The path below the host, bucket or claim (relative), or on the node (absolute, for file://)."""
        rest = self.uri.partition("://")[2]
        return rest if self.scheme == "file" else rest.partition("/")[2]

    @property
    def public(self) -> bool:
        """Whether whoever reaches its source is given it: it names no credentials, and holds none in its URI (a
        password, a signed query). What is on a node or in a claim is for those who may read there."""
        try:
            parts = urlsplit(self.uri)
        except ValueError:  # it is no URL, and the fetch will say so
            return False
        secret = self.secret_ref is not None or "@" in parts.netloc or bool(parts.query)
        return self.scheme in ("gs", "https", "oci", "s3") and not secret


class SecretKeyReference(ApiModel):
    """Names one key of a Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret, in the Model's namespace."""
    key: str = Field(default="cosign.pub", min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")
    """Key of the Secret that holds the PEM public key."""


class SigningIdentity(ApiModel):
    """Who must have signed, as a Sigstore certificate states it."""

    issuer: str = Field(min_length=1, max_length=2048, pattern=r"^https://\S+$")
    """OpenID Connect issuer that vouched for the signer. Example: https://accounts.example.com."""
    subject: str = Field(min_length=1, max_length=2048)
    """The signer, as the issuer names it. Example: release@example.com."""


class Verification(ApiModel):
    """Whose signature every artifact must carry."""

    public_key_secret_ref: SecretKeyReference | None = None
    """Secret with the public key that must have signed."""
    identity: SigningIdentity | None = None
    """Identity that must have signed without a key (Sigstore)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.publicKeySecretRef) != has(self.identity)",
            holds=lambda it: (it.public_key_secret_ref is None) != (it.identity is None),
            message="set exactly one of publicKeySecretRef and identity",
        ),
    )


class Batching(ApiModel):
    """How requests that wait together become one batch, where the artifact's own config.pbtxt says nothing of it."""

    max_batch_size: int | None = Field(default=None, ge=1, le=4096)
    """The most requests in one batch; absent: Triton decides (4, unless its command line says otherwise)."""
    max_queue_delay: Duration | None = None
    """How long a request may wait for others to join it, a small part of its latency budget; absent or 0s: a batch is
    what waits anyway while the instance is busy. Example: 500us."""


class ServedModel(ApiModel):
    """One model of a server."""

    name: ServiceName
    """Name of the Model, and of the model in Triton."""
    variant: DnsLabel
    """Name of the variant of the Model that is served."""
    backend: Backend
    """Triton backend that runs it. Example: onnxruntime."""
    artifact: Artifact
    """What is loaded."""
    parameters: dict[str, Parameter] = Field(default_factory=dict, max_length=64)
    """Parameters that Triton hands to the backend (config.pbtxt)."""
    batching: Batching | None = None
    """Batches that suit the latency objective; absent: Triton's defaults. A change loads the model anew."""
    verification: Verification | None = None
    """Signature that the agent checks before it loads the artifact; absent: the digest alone is checked."""


class ServerConfig(ApiModel):
    """Desired state of one Triton server: the content of `server.json`."""

    revision: str
    """Hash of the content, echoed in the status."""
    accelerator: DeviceClass | None = None
    """Class of the device that Triton has beside it; absent: not known, and Triton chooses where a model runs."""
    models: Annotated[tuple[ServedModel, ...], ListMap("name")] = ()
    """The models to serve, and no others."""


class Peers(ApiModel):
    """Agents that may have what this one wants: the content of `peers.json`, beside `server.json`. It changes as Pods
    come and go, and is no part of the revision."""

    agents: tuple[str, ...] = ()
    """Where each one reports, as host:port."""


class TritonStatus(ApiModel):
    """What the agent sees of the Triton beside it."""

    ready: bool = False
    """Whether Triton answers its readiness check."""
    version: str = ""
    """Triton's version; empty until it has answered."""


class ModelStatus(ApiModel):
    """What the agent says of one model."""

    name: str
    """Name of the model."""
    variant: str = ""
    """Variant that is wanted."""
    digest: str = ""
    """Digest that is wanted."""
    version: int = 0
    """Version directory in Triton's repository; 0 until there is one."""
    state: ModelState = ModelState.PENDING
    """Where the wanted artifact is on its way into Triton."""
    ready: bool = False
    """Whether Triton answers requests for the model; with state Loading, the previous artifact still answers."""
    message: str = ""
    """What went wrong or what is awaited, for people."""
    reason: Reason | None = None
    """Why the last attempt failed, as one CamelCase word (`FailureReason`); absent when it did not."""
    attempts: int = Field(default=0, ge=0, le=MOST_ATTEMPTS)
    """Attempts that have failed in a row, counted up to 10; 0 when the last one did not."""
    bytes: int = 0
    """Bytes fetched so far."""
    total_bytes: int = 0
    """Bytes to fetch; 0 while unknown."""
    load_seconds: float | None = Field(default=None, ge=0)
    """How long Triton took to load the version; absent when this agent has not loaded it."""


class ServerStatus(ApiModel):
    """The agent's answer to `GET /v1/status`."""

    revision: str = ""
    """Last `ServerConfig.revision` seen; empty before the first."""
    generation: int = 0
    """Counts changes of this status; `?after=<generation>` waits for the next one."""
    message: str = ""
    """Why the mounted desired state is not followed; empty if it is."""
    triton: TritonStatus = TritonStatus()
    """The Triton beside the agent."""
    models: tuple[ModelStatus, ...] = ()
    """Wanted models and those still being unloaded."""
