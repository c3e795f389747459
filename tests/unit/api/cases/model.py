"""What a Model may say."""

from __future__ import annotations

from typing import Any

from littoral.api import Model
from tests.unit.api.cases.case import ABSENT, DIGEST, Table


def model(**spec: Any) -> dict[str, Any]:
    """A Model that is accepted."""
    return {
        "apiVersion": "littoral.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "digits", "namespace": "default"},
        "spec": {"variants": [variant("onnx-cpu")], **spec},
    }


def variant(name: str, **fields: Any) -> dict[str, Any]:
    """A variant that is accepted."""
    artifact = {"uri": "https://models.example/digits.onnx", "digest": DIGEST}
    return {"name": name, "accelerator": "cpu", "backend": "onnxruntime", "artifact": artifact, **fields}


TABLE = Table(Model, model())
accepts, refuses = TABLE.accepts, TABLE.refuses

accepts("metadata.name", "a", "a" * 63, "text-detect-2")
refuses("metadata.name", "9digits", "a.b", says="should match")
refuses("metadata.name", "a" * 64, says="Too long")

accepts("spec.priority", 0, 1_000_000)
refuses("spec.priority", -1, says="should be greater than or equal to 0")
refuses("spec.priority", 1_000_001, says="should be less than or equal to 1000000")

refuses("spec.variants", ABSENT, says="Required value")
accepts("spec.variants", [variant(f"v{n}") for n in range(16)])
refuses("spec.variants", [], says="should have at least 1 items")
refuses("spec.variants", [variant(f"v{n}") for n in range(17)], says="must have at most 16 items")
refuses("spec.variants", [variant("same"), variant("same")], says="Duplicate value", at="spec.variants[1]")

FIRST = "spec.variants[0]"
for required in ("name", "accelerator", "backend", "artifact"):
    refuses(f"{FIRST}.{required}", ABSENT, says="Required value")
TABLE.names(f"{FIRST}.name", longest=63)
TABLE.names(f"{FIRST}.accelerator", longest=20)
TABLE.selector(f"{FIRST}.nodeSelector")
accepts(f"{FIRST}.backend", "onnxruntime", "python", "b" * 63)
refuses(f"{FIRST}.backend", "ONNX", "onnx-runtime", "", "../python", says="should match")
refuses(f"{FIRST}.backend", "b" * 64, says="Too long")
TABLE.quantity(f"{FIRST}.cpu", zero=False)
TABLE.quantity(f"{FIRST}.memory", zero=False)
TABLE.ratio(f"{FIRST}.accuracy")
PROFILED = Table(Model, model(variants=[variant("v", profile={"base": "1.1ms", "perItem": "0.4ms"})]), TABLE.cases)
for part in ("base", "perItem"):
    PROFILED.refuses(f"{FIRST}.profile.{part}", ABSENT, says="Required value")
    PROFILED.positive_duration(f"{FIRST}.profile.{part}")
PARAMETERS = f"{FIRST}.parameters"
accepts(PARAMETERS, {"intra_op_thread_count": "2"}, {"k" * 128: "v" * 4096}, {f"k{n}": "" for n in range(64)})
refuses(PARAMETERS, {f"k{n}": "" for n in range(65)}, says="must have at most 64 items")
refuses(PARAMETERS, {"k": "v" * 4097}, says="Too long", at=f"{PARAMETERS}.k")
refuses(
    PARAMETERS, {"two words": ""}, {"k" * 129: ""}, {"": ""},
    says="names of parameters must be 1 to 128 letters, digits, '_', '.' or '-'",
)  # fmt: skip

DIGEST_FIELD, URI = f"{FIRST}.artifact.digest", f"{FIRST}.artifact.uri"
refuses(DIGEST_FIELD, ABSENT, says="Required value")
refuses(DIGEST_FIELD, DIGEST.upper(), DIGEST[:-1], "md5:" + "0" * 32, "", says="should match")
refuses(DIGEST_FIELD, DIGEST + "0", says="Too long")
refuses(URI, ABSENT, says="Required value")
refuses(URI, "https://models.example/two words", says="should match")
refuses(URI, "", says="at least 1 chars long")
accepts(URI, "https://models.example/" + "a" * (2048 - 23))
refuses(URI, "https://models.example/" + "a" * (2049 - 23), says="Too long")
accepts(
    URI,
    "https://models.example:8443/v1/digits.onnx?version=3",
    "oci://registry.example/models/digits:v1",
    f"oci://registry.example/models/digits@sha256:{'f' * 64}",
    "s3://bucket/models/digits/",
    "s3://bucket/digits.onnx",
    "gs://bucket/models/digits.onnx",
    "pvc://models/digits.onnx",
    "pvc://models.v2/a/b..c/digits.onnx",
    "file:///var/lib/littoral/files/digits.onnx",
)
refuses(
    URI, "http://models.example/a", "ftp://models.example/a", "/models/a", "HTTPS://models.example/a",
    says="must start with oci://, https://, s3://, gs://, pvc:// or file://",
)  # fmt: skip
refuses(
    URI, "https://models.example", "https://models.example/", "s3:///a", "gs://bucket", "oci://registry.example",
    says="must name a host or bucket and a path, such as https://models.example/digits.onnx",
)  # fmt: skip
refuses(
    URI, "pvc://models", "pvc://models/", "pvc:///a", "pvc://Models/a", "pvc://models/a//b", "pvc://models/a?b",
    says="must be pvc://<claim>/<path of the file>, with a claim in the Model's namespace",
)  # fmt: skip
refuses(
    URI, "file://digits.onnx", "file:///", "file:///models/", "file:///a//b",
    says="must be file:// and the file's absolute path on the node, such as file:///models/digits.onnx",
)  # fmt: skip
refuses(
    URI, "pvc://models/../secret", "file:///var/lib/littoral/files/../../shadow", "https://models.example/a/..",
    "file:///models/./a",
    says="must not contain '.' or '..' in its path",
)  # fmt: skip
refuses(
    URI, "https://user:password@models.example/a", "s3://key@bucket/a",
    says="must not hold a user or a password: everybody who can read the Model would know it",
)  # fmt: skip
refuses(
    URI, f"oci://registry.example/digits@sha256:{'F' * 64}", "oci://registry.example/digits@v1",
    says="must end with the digest of the manifest, as @sha256:<64 hexadecimal digits>, or with a tag",
)  # fmt: skip
SECRET = URI.replace("uri", "secretRef")
accepts(SECRET, {"name": "registry-login"}, {"name": "a.b"})
refuses(SECRET, {}, says="Required value", at=f"{SECRET}.name")
refuses(f"{SECRET}.name", "Login", "../other", says="should match")
refuses(f"{SECRET}.name", "a" * 254, says="Too long")
for there in ("pvc://models/digits.onnx", "file:///models/digits.onnx"):
    refuses(
        SECRET, {"name": "login"}, also={URI: there},
        says="is for oci://, https://, s3:// and gs://: what is on the node or in a claim needs no credentials",
    )  # fmt: skip
IDENTITY_REF = f"{URI.replace('uri', 'encryption')}.identitySecretRef"
accepts(URI.replace("uri", "encryption"), {"identitySecretRef": {"name": "release"}})
refuses(URI.replace("uri", "encryption"), {}, says="Required value", at=IDENTITY_REF)
refuses(IDENTITY_REF, {}, says="Required value", at=f"{IDENTITY_REF}.name")
ENCRYPTED = {URI.replace("uri", "encryption"): {"identitySecretRef": {"name": "release"}}}
refuses(f"{IDENTITY_REF}.name", "Release", "../other", says="should match", also=ENCRYPTED)
refuses(f"{IDENTITY_REF}.name", "a" * 254, says="Too long", also=ENCRYPTED)

KEY, IDENTITY = "spec.verification.publicKeySecretRef", "spec.verification.identity"
SIGNER = {"issuer": "https://accounts.example.com", "subject": "release@example.com"}
accepts(KEY, {"name": "release-key"}, {"name": "a.b", "key": "release.pub"})
accepts(IDENTITY, SIGNER)
ONE = "set exactly one of publicKeySecretRef and identity"
refuses("spec.verification", {}, says=ONE)
refuses(KEY, {"name": "release-key"}, says=ONE, at="spec.verification", also={IDENTITY: SIGNER})
refuses(KEY, {}, says="Required value", at=f"{KEY}.name")
KEYED = Table(Model, model(verification={"publicKeySecretRef": {"name": "release-key"}}), TABLE.cases)
refuses(f"{KEY}.name", "Release", "../key", says="should match")
refuses(f"{KEY}.name", "a" * 254, says="Too long")
KEYED.refuses(f"{KEY}.key", "a/b", says="should match")
KEYED.refuses(f"{KEY}.key", "", says="at least 1 chars long")
KEYED.refuses(f"{KEY}.key", "a" * 254, says="Too long")
SIGNED = Table(Model, model(verification={"identity": SIGNER}), TABLE.cases)
for part in ("issuer", "subject"):
    SIGNED.refuses(f"{IDENTITY}.{part}", ABSENT, says="Required value")
    SIGNED.refuses(f"{IDENTITY}.{part}", "", says="at least 1 chars long")
    SIGNED.refuses(f"{IDENTITY}.{part}", "https://" + "a" * 2041, says="Too long")
SIGNED.refuses(f"{IDENTITY}.issuer", "accounts.example.com", says="should match")

accepts("spec.scaling", {}, {"minReplicas": 0, "maxReplicas": 1}, {"minReplicas": 1000, "maxReplicas": 1000})
refuses("spec.scaling.minReplicas", -1, says="should be greater than or equal to 0")
refuses("spec.scaling.minReplicas", 1001, says="should be less than or equal to 1000")
refuses("spec.scaling.maxReplicas", 0, says="should be greater than or equal to 1")
refuses("spec.scaling.maxReplicas", 1001, says="should be less than or equal to 1000")
refuses("spec.scaling.minReplicas", 21, says="must not be greater than maxReplicas")
