"""What an Assignment may say: the hub writes it, and the API server holds the hub to it."""

from __future__ import annotations

from typing import Any

from littoral.api import Assignment
from tests.unit.api.cases.case import ABSENT, DIGEST, Table

ROUTE = {"namespace": "shop", "name": "digits", "rate": "12.5", "budget": "40ms", "next": [{"pool": "cloud"}]}


def server(**fields: Any) -> dict[str, Any]:
    """A server that is accepted."""
    return {"name": "triton-edge-cpu", "namespace": "shop", "accelerator": "cpu", "models": [served()], **fields}


def served(**fields: Any) -> dict[str, Any]:
    """A model of a server that is accepted."""
    artifact = {"uri": "https://models.example/digits.onnx", "digest": DIGEST}
    return {"name": "digits", "variant": "onnx-cpu", "backend": "onnxruntime", "artifact": artifact, **fields}


def assignment(**spec: Any) -> dict[str, Any]:
    """An Assignment that is accepted."""
    parts = {"servers": [server()], "routes": [ROUTE]}
    return {
        "apiVersion": "littoral.dev/v1alpha1",
        "kind": "Assignment",
        "metadata": {"name": "edge"},
        "spec": {"site": "store-12", "tier": "edge", "nodeSelector": {}} | parts | spec,
    }


TABLE = Table(Assignment, assignment())
accepts, refuses = TABLE.accepts, TABLE.refuses

accepts("metadata.name", "a" * 35)
refuses("metadata.name", "a.b", says="should match")
refuses("metadata.name", "a" * 36, says="Too long")
accepts("spec.site", ABSENT)
TABLE.names("spec.site", longest=63)
TABLE.names("spec.member", longest=63)
TABLE.quantity("spec.cacheQuota", zero=False)
TABLE.quantity("spec.bandwidth", zero=False)
accepts("spec.tier", "cloud")
refuses("spec.tier", "fog", says="Unsupported value")
for required in ("tier", "nodeSelector"):
    refuses(f"spec.{required}", ABSENT, says="Required value")
TABLE.selector("spec.nodeSelector")

ROUTES = "spec.routes"
accepts(ROUTES, [], ABSENT, [{"namespace": "shop", "name": "digits"}], [ROUTE, ROUTE | {"namespace": "bank"}])
accepts(ROUTES, [ROUTE | {"name": f"n{n}"} for n in range(1024)])
refuses(ROUTES, [ROUTE | {"name": f"n{n}"} for n in range(1025)], says="must have at most 1024 items")
refuses(ROUTES, [ROUTE, ROUTE], says="Duplicate value", at=f"{ROUTES}[1]")
for required in ("namespace", "name"):
    refuses(f"{ROUTES}[0].{required}", ABSENT, says="Required value")
TABLE.names(f"{ROUTES}[0].namespace", longest=63)
accepts(f"{ROUTES}[0].name", "a", "a" * 63)
refuses(f"{ROUTES}[0].name", "9digits", "shop/digits", "", says="should match")
refuses(f"{ROUTES}[0].name", "a" * 64, says="Too long")
accepts(f"{ROUTES}[0].overflow", "Never")
refuses(f"{ROUTES}[0].overflow", "Sometimes", says="Unsupported value")
TABLE.positive_duration(f"{ROUTES}[0].budget")
for decimal in (f"{ROUTES}[0].rate", f"{ROUTES}[0].next[0].weight"):
    accepts(decimal, "0.5", "12")
    refuses(decimal, "many", "", says="should match")
    refuses(decimal, "1" * 33, says="Too long")
accepts(f"{ROUTES}[0].limit", 1, 1_000_000)
refuses(f"{ROUTES}[0].limit", 0, says="should be greater than or equal to 1")
refuses(f"{ROUTES}[0].limit", 1_000_001, says="should be less than or equal to 1000000")
for lone in ("rate", "budget"):
    refuses(f"{ROUTES}[0].{lone}", ABSENT, says="rate and budget are given together", at=f"{ROUTES}[0]")
NEXT = f"{ROUTES}[0].next"
accepts(NEXT, [], [{"pool": f"p{n}", "weight": "0.5"} for n in range(64)])
refuses(NEXT, [{"pool": f"p{n}"} for n in range(65)], says="must have at most 64 items")
refuses(NEXT, [{"pool": "cloud"}, {"pool": "cloud"}], says="Duplicate value", at=f"{NEXT}[1]")
refuses(f"{NEXT}[0].pool", ABSENT, says="Required value")
TABLE.names(f"{NEXT}[0].pool", longest=35)
TARGET = f"{NEXT}[0].gateway"
FAR = {"address": "gateway.cloud.example:8443", "tlsName": "gateway-cloud.littoral.internal"}
accepts(TARGET, FAR)
TABLE.host_port(f"{TARGET}.address", also={TARGET: FAR})
refuses(f"{TARGET}.tlsName", "Gateway", says="should match", also={TARGET: FAR})
refuses(f"{TARGET}.tlsName", "a" * 254, says="Too long", also={TARGET: FAR})
for required in ("address", "tlsName"):
    refuses(f"{TARGET}.{required}", ABSENT, says="Required value", also={TARGET: FAR})

CERTIFICATE = "spec.certificate"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SHOWN = {"certificate": PEM, "authorities": PEM}
accepts(CERTIFICATE, SHOWN, {"authorities": PEM})
refuses(f"{CERTIFICATE}.authorities", ABSENT, says="Required value", also={CERTIFICATE: SHOWN})
for part in ("certificate", "authorities"):
    at = f"{CERTIFICATE}.{part}"
    refuses(at, "MIIB", says="should match", also={CERTIFICATE: SHOWN})
    refuses(at, "", says="at least 1 chars long", also={CERTIFICATE: SHOWN})
    refuses(at, PEM + "A" * 32768, says="Too long", also={CERTIFICATE: SHOWN})

accepts("spec.gateway", {"address": "gateway.cloud.example:8443"})
refuses("spec.gateway.address", ABSENT, says="Required value", also={"spec.gateway": {"address": "a:1"}})
TABLE.host_port("spec.gateway.address", also={"spec.gateway": {"address": "gateway.cloud.example:8443"}})

INPUTS = "spec.inputs"
COPY = {"namespace": "shop", "name": "digits", "spec": {"variants": []}}
accepts(INPUTS, {}, {"models": [COPY], "slos": [COPY, COPY | {"name": "quick"}], "pool": {"tier": "edge"}})
for part, most in (("models", 256), ("slos", 512)):
    at = f"{INPUTS}.{part}"
    refuses(at, [COPY, COPY], says="Duplicate value", at=f"{at}[1]", also={INPUTS: {}})
    many = [COPY | {"name": f"n{n}"} for n in range(most + 1)]
    refuses(at, many, says=f"must have at most {most} items", also={INPUTS: {}})
    for required in ("namespace", "name", "spec"):
        refuses(f"{at}[0].{required}", ABSENT, says="Required value", also={INPUTS: {part: [COPY]}})
    refuses(f"{at}[0].namespace", "Shop", says="should match", also={INPUTS: {part: [COPY]}})
    refuses(f"{at}[0].namespace", "a" * 64, says="Too long", also={INPUTS: {part: [COPY]}})
    refuses(f"{at}[0].name", "Digits", says="should match", also={INPUTS: {part: [COPY]}})
    refuses(f"{at}[0].name", "a" * 254, says="Too long", also={INPUTS: {part: [COPY]}})

SERVERS, FIRST = "spec.servers", "spec.servers[0]"
accepts(SERVERS, [], ABSENT, [server(), server(namespace="bank")], [server(namespace=f"n{n}") for n in range(1024)])
refuses(SERVERS, [server(namespace=f"n{n}") for n in range(1025)], says="must have at most 1024 items")
refuses(SERVERS, [server(), server()], says="Duplicate value", at=f"{SERVERS}[1]")
for required in ("name", "namespace", "accelerator"):
    refuses(f"{FIRST}.{required}", ABSENT, says="Required value")
NAMED = "must be triton-<pool>-<class>, with the class that accelerator names"
accepts(f"{FIRST}.name", "triton-" + "a" * 52 + "-cpu")
refuses(f"{FIRST}.name", "triton-edge-intel-npu", "edge-cpu", says=NAMED)
refuses(f"{FIRST}.name", "triton-" + "a" * 53 + "-cpu", says="Too long")
refuses(f"{FIRST}.name", "triton-Edge-cpu", says="should match")
TABLE.names(f"{FIRST}.namespace", longest=63)
accepts(f"{FIRST}.accelerator", "a" * 20, also={f"{FIRST}.name": f"triton-edge-{'a' * 20}"})
refuses(f"{FIRST}.accelerator", "CPU", says="should match")
refuses(f"{FIRST}.accelerator", "a" * 21, says="Too long")
accepts(f"{FIRST}.extendedResource", "nvidia.com/gpu", "huawei.com/Ascend310P")
refuses(f"{FIRST}.extendedResource", "gpu", "nvidia.com/", "", says="should match")
refuses(f"{FIRST}.extendedResource", "a/" + "b" * 316, says="Too long")
TABLE.selector(f"{FIRST}.nodeSelector")
accepts(f"{FIRST}.replicas", 0, 2**31 - 1)
refuses(f"{FIRST}.replicas", -1, says="should be greater than or equal to 0")
refuses(f"{FIRST}.replicas", 2**31, says="should be less than or equal to 2147483647")
for part in ("cpu", "memory"):
    accepts(f"{FIRST}.{part}", 2, "2", "500m", "2Gi")
    refuses(f"{FIRST}.{part}", "two", says="should match")
    refuses(f"{FIRST}.{part}", "1" * 33, says="Too long")

MODELS = f"{FIRST}.models"
accepts(MODELS, [], [served(name=f"m{n}") for n in range(256)])
refuses(MODELS, [served(name=f"m{n}") for n in range(257)], says="must have at most 256 items")
refuses(MODELS, [served(), served()], says="Duplicate value", at=f"{MODELS}[1]")

VERIFICATION = f"{MODELS}[0].verification"
KEY, IDENTITY = f"{VERIFICATION}.publicKeySecretRef", f"{VERIFICATION}.identity"
SIGNER = {"issuer": "https://accounts.example.com", "subject": "release@example.com"}
ONE = "set exactly one of publicKeySecretRef and identity"
accepts(VERIFICATION, {"publicKeySecretRef": {"name": "release-key"}}, {"identity": SIGNER})
refuses(VERIFICATION, {}, {"publicKeySecretRef": {"name": "release-key"}, "identity": SIGNER}, says=ONE)
refuses(VERIFICATION, {"publicKeySecretRef": {}}, says="Required value", at=f"{KEY}.name")
KEYED = Table(
    Assignment,
    assignment(servers=[server(models=[served(verification={"publicKeySecretRef": {"name": "release-key"}})])]),
    TABLE.cases,
)
KEYED.refuses(f"{KEY}.name", "Release", "../key", says="should match")
KEYED.refuses(f"{KEY}.name", "a" * 254, says="Too long")
KEYED.refuses(f"{KEY}.key", "a/b", says="should match")
KEYED.refuses(f"{KEY}.key", "", says="at least 1 chars long")
KEYED.refuses(f"{KEY}.key", "a" * 254, says="Too long")
SIGNED = Table(
    Assignment, assignment(servers=[server(models=[served(verification={"identity": SIGNER})])]), TABLE.cases
)
for part in ("issuer", "subject"):
    SIGNED.refuses(f"{IDENTITY}.{part}", ABSENT, says="Required value")
    SIGNED.refuses(f"{IDENTITY}.{part}", "", says="at least 1 chars long")
    SIGNED.refuses(f"{IDENTITY}.{part}", "https://" + "a" * 2041, says="Too long")
SIGNED.refuses(f"{IDENTITY}.issuer", "accounts.example.com", says="should match")
for required in ("name", "variant", "backend", "artifact"):
    refuses(f"{MODELS}[0].{required}", ABSENT, says="Required value")
refuses(f"{MODELS}[0].name", "9digits", says="should match")
refuses(f"{MODELS}[0].name", "a" * 64, says="Too long")
TABLE.names(f"{MODELS}[0].variant", longest=63)
refuses(f"{MODELS}[0].backend", "ONNX", says="should match")
refuses(f"{MODELS}[0].backend", "b" * 64, says="Too long")
for required in ("uri", "digest"):
    refuses(f"{MODELS}[0].artifact.{required}", ABSENT, says="Required value")
refuses(f"{MODELS}[0].artifact.digest", "sha256:0", says="should match")
refuses(f"{MODELS}[0].artifact.digest", DIGEST + "0", says="Too long")
refuses(f"{MODELS}[0].artifact.uri", "https://a b", says="should match")
refuses(f"{MODELS}[0].artifact.uri", "", says="at least 1 chars long")
refuses(f"{MODELS}[0].artifact.uri", "h" * 2049, says="Too long")
SECRET = f"{MODELS}[0].artifact.secretRef"
accepts(SECRET, {"name": "registry-login"})
refuses(SECRET, {}, says="Required value", at=f"{SECRET}.name")
refuses(f"{SECRET}.name", "Login", says="should match", also={SECRET: {"name": "login"}})
refuses(f"{SECRET}.name", "a" * 254, says="Too long", also={SECRET: {"name": "login"}})
ENCRYPTION = f"{MODELS}[0].artifact.encryption"
SEALED = {ENCRYPTION: {"identitySecretRef": {"name": "release"}}}
accepts(ENCRYPTION, {"identitySecretRef": {"name": "release"}})
refuses(ENCRYPTION, {}, says="Required value", at=f"{ENCRYPTION}.identitySecretRef")
refuses(f"{ENCRYPTION}.identitySecretRef", {}, says="Required value", at=f"{ENCRYPTION}.identitySecretRef.name")
refuses(f"{ENCRYPTION}.identitySecretRef.name", "Release", says="should match", also=SEALED)
refuses(f"{ENCRYPTION}.identitySecretRef.name", "a" * 254, says="Too long", also=SEALED)
accepts(f"{MODELS}[0].parameters", {f"k{n}": "" for n in range(64)})
refuses(f"{MODELS}[0].parameters", {f"k{n}": "" for n in range(65)}, says="must have at most 64 items")
refuses(f"{MODELS}[0].parameters", {"k": "v" * 4097}, says="Too long", at=f"{MODELS}[0].parameters.k")

BATCHING = f"{MODELS}[0].batching"
accepts(BATCHING, {}, {"maxBatchSize": 1}, {"maxBatchSize": 4096, "maxQueueDelay": "0s"}, {"maxQueueDelay": "500us"})
refuses(f"{BATCHING}.maxBatchSize", 0, says="should be greater than or equal to 1")
refuses(f"{BATCHING}.maxBatchSize", 4097, says="should be less than or equal to 4096")
refuses(f"{BATCHING}.maxQueueDelay", "500", "-1ms", "", says="should match")
refuses(f"{BATCHING}.maxQueueDelay", "1" * 32 + "ms", says="Too long")
