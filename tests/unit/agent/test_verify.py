"""Nothing counts as signed but what the right key has signed."""

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from littoral.agent import digest
from littoral.agent.errors import AgentError, FetchError, NotFound, SignatureError
from littoral.agent.failures import reason_of
from littoral.agent.store import Entry
from littoral.agent.verify import Policy, Verifier, keys
from littoral.agent.verify.bundle import COSIGN_PREDICATE, MODEL_PREDICATE, Bundle, parse, statement
from littoral.agent.verify.verifier import signature_uri
from littoral.api.serving import Artifact, FailureReason, ServedModel, Verification

NETWORK = b"a network"
HEX = hashlib.sha256(NETWORK).hexdigest()
P256 = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def sign(key: Any, content: bytes) -> bytes:
    match key:
        case ec.EllipticCurvePrivateKey():
            size = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
            return key.sign(content, ec.ECDSA(size))
        case rsa.RSAPrivateKey():
            return key.sign(content, padding.PKCS1v15(), hashes.SHA256())
    return bytes(key.sign(content))


def blob_bundle(key: Any, content: bytes = NETWORK) -> bytes:
    """As `cosign sign-blob --key cosign.key --bundle` writes it."""
    digest_ = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(content).digest())}
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "x"}},
            "messageSignature": {"messageDigest": digest_, "signature": b64(sign(key, content))},
        }
    ).encode()


def envelope(key: Any, body: object, kind: str = "application/vnd.in-toto+json") -> bytes:
    payload = json.dumps(body).encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "x"}},
            "dsseEnvelope": {
                "payload": b64(payload),
                "payloadType": kind,
                "signatures": [{"sig": b64(sign(key, signed)), "keyid": ""}],
            },
        }
    ).encode()


def model_statement(files: dict[str, bytes], algorithm: str = "sha256") -> dict[str, Any]:
    """As `model_signing sign key` writes it."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": "0" * 64}}],
        "predicateType": MODEL_PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [
                {"name": name, "algorithm": algorithm, "digest": hashlib.sha256(content).hexdigest()}
                for name, content in files.items()
            ],
        },
    }


def cosign_statement(hex_digest: str = HEX, kind: str = COSIGN_PREDICATE) -> dict[str, Any]:
    return {"predicateType": kind, "subject": [{"name": "", "digest": {"sha256": hex_digest}}], "predicate": {}}


@dataclass
class Place:
    """A node with a cache and mounted keys, and where signatures come from."""

    root: Path
    beside: bytes | None = None
    policy: Policy = Policy.OFF
    trouble: AgentError = field(default_factory=lambda: NotFound("the server answered 404 Not Found"))
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mount(P256)

    def mount(self, key: Any) -> None:
        file = self.root / "keys" / "release" / "cosign.pub"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pem(key))

    def verifier(self) -> Verifier:
        async def fetch(artifact: Artifact, target: Path) -> None:
            self.asked.append(artifact.uri)
            if self.beside is None:
                raise self.trouble
            save(target, self.beside)

        return Verifier(policy=self.policy, fetch=fetch, kept=self.root / "signatures", keys_root=self.root / "keys")

    def file(self, content: bytes = NETWORK) -> Entry:
        path = self.root / "artifact"
        path.write_bytes(content)
        return Entry(name=hashlib.sha256(content).hexdigest(), path=path, bytes=len(content))

    def folder(self, files: dict[str, bytes]) -> Entry:
        path = self.root / "folder"
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        return Entry(name=digest.of_path(path), path=path, bytes=0)


def save(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def model(verification: dict[str, Any] | None, uri: str = "https://models.example/x.onnx") -> ServedModel:
    return ServedModel(
        name="digits",
        variant="cpu",
        backend="onnxruntime",
        artifact=Artifact(uri=uri, digest=f"sha256:{HEX}"),
        verification=None if verification is None else Verification.parse(verification),
    )


SIGNED = model({"publicKeySecretRef": {"name": "release"}})


@pytest.mark.parametrize(
    "bundle",
    [
        blob_bundle(P256),
        envelope(P256, cosign_statement()),
        envelope(P256, model_statement({".": NETWORK})),
    ],
)
async def test_what_is_signed_beside_is_accepted_also_after_a_restart_without_uplink(
    place: Place, bundle: bytes
) -> None:
    place.beside = bundle
    entry, verifier = place.file(), place.verifier()
    assert not verifier.accepts(SIGNED, entry)
    await verifier.check(SIGNED, entry)
    assert verifier.accepts(SIGNED, entry)
    assert place.asked == ["https://models.example/x.onnx.sigstore.json"]
    place.beside = None
    again = place.verifier()
    assert not again.accepts(SIGNED, entry)
    await again.check(SIGNED, entry)
    assert again.accepts(SIGNED, entry)
    assert len(place.asked) == 1


FILES = {"1/model.onnx": b"network", "config.pbtxt": b"max_batch_size: 8"}


async def test_a_directory_carries_its_signature_inside(place: Place) -> None:
    signature = envelope(P256, model_statement(FILES))
    entry, verifier = place.folder(FILES | {"model.sig": signature, ".gitattributes": b"x"}), place.verifier()
    await verifier.check(SIGNED, entry)
    assert verifier.accepts(SIGNED, entry)
    assert place.asked == []


async def test_a_directory_may_be_signed_as_the_list_that_its_digest_is_of(place: Place) -> None:
    entry = place.folder(FILES)
    listing = "".join(f"{hashlib.sha256(FILES[name]).hexdigest()}  ./{name}\n" for name in sorted(FILES)).encode()
    assert hashlib.sha256(listing).hexdigest() == entry.hex
    place.beside = blob_bundle(P256, listing)
    await place.verifier().check(SIGNED, entry)


@pytest.mark.parametrize(
    ("signed", "said"),
    [
        (FILES | {"1/model.onnx": b"another"}, "'1/model.onnx' is another file"),
        (FILES | {"gone": b""}, "'gone' is missing"),
        ({"config.pbtxt": FILES["config.pbtxt"]}, "'1/model.onnx' is not signed"),
        ({}, "'1/model.onnx' is not signed, and 1 more differ"),
    ],
)
async def test_each_file_must_be_as_it_was_signed(place: Place, signed: dict[str, bytes], said: str) -> None:
    entry = place.folder(FILES | {"model.sig": envelope(P256, model_statement(signed))})
    verifier = place.verifier()
    with pytest.raises(SignatureError, match=said):
        await verifier.check(SIGNED, entry)
    assert not verifier.accepts(SIGNED, entry)


ATTESTED = cosign_statement(kind="https://spdx.dev/Document")


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        (blob_bundle(OTHER), "not made with this key"),
        (blob_bundle(P256, b"another network"), "the artifact is sha256"),
        (envelope(OTHER, cosign_statement()), "not made with this key"),
        (envelope(P256, cosign_statement("0" * 64)), "the signature is for sha256:0"),
        (envelope(P256, model_statement({".": b"another"})), "'.' is another file"),
        (envelope(P256, model_statement({".": NETWORK}, algorithm="blake3")), "signed as blake3"),
        (envelope(P256, ATTESTED), "vouches for no artifact"),
        (envelope(P256, cosign_statement(), kind="text/plain"), "not an in-toto statement"),
        (b"", "not a Sigstore bundle"),
        (b"{}", "not a Sigstore bundle"),
        (b"[]", "not a Sigstore bundle"),
        (b'{"messageSignature": {"signature": "!"}}', "not a Sigstore bundle"),
        (b'{"dsseEnvelope": {"signatures": [], "payload": "", "payloadType": ""}}', "0 signatures"),
        (b"-----BEGIN PUBLIC KEY-----", "not a Sigstore bundle"),
    ],
)
async def test_what_is_not_signed_is_refused_and_forgotten(place: Place, bundle: bytes, said: str) -> None:
    place.beside = bundle
    entry, verifier = place.file(), place.verifier()
    for _ in range(2):
        with pytest.raises(SignatureError, match=said):
            await verifier.check(SIGNED, entry)
        assert not verifier.accepts(SIGNED, entry)
    assert list((place.root / "signatures").rglob("*.json")) == []


async def test_a_signature_that_is_not_there_may_come(place: Place) -> None:
    entry, verifier = place.file(), place.verifier()
    with pytest.raises(SignatureError, match=r"no signature was found at https://models.*publish --sign") as told:
        await verifier.check(SIGNED, entry)
    assert reason_of(told.value) is FailureReason.SIGNATURE_INVALID
    place.trouble = FetchError("the server answered 503 Service Unavailable")
    with pytest.raises(FetchError, match=r"its signature .* is not to be had: the server answered 503") as failed:
        await verifier.check(SIGNED, entry)
    assert reason_of(failed.value) is FailureReason.FETCH_FAILED
    place.beside = blob_bundle(P256)
    await verifier.check(SIGNED, entry)
    assert verifier.accepts(SIGNED, entry)


async def test_a_new_key_asks_for_a_new_signature(place: Place) -> None:
    place.beside = blob_bundle(P256)
    await place.verifier().check(SIGNED, place.file())
    place.mount(OTHER)
    verifier = place.verifier()
    with pytest.raises(SignatureError):
        await verifier.check(SIGNED, place.file())
    place.beside = blob_bundle(OTHER)
    await verifier.check(SIGNED, place.file())
    assert len(place.asked) == 3


async def test_a_key_that_is_not_mounted_is_told(place: Place) -> None:
    place.beside = blob_bundle(P256)
    missing = model({"publicKeySecretRef": {"name": "release", "key": "other.pub"}})
    with pytest.raises(FetchError, match=r"'other.pub' of the Secret 'release' is not there"):
        await place.verifier().check(missing, place.file())


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
)
async def test_kinds_of_keys(place: Place, key: Any) -> None:
    place.mount(key)
    place.beside = envelope(key, cosign_statement())
    await place.verifier().check(SIGNED, place.file())


async def test_rsa_signs_files_too(place: Place) -> None:
    key = rsa.generate_private_key(65537, 2048)
    place.mount(key)
    place.beside = blob_bundle(key)
    await place.verifier().check(SIGNED, place.file())


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
async def test_keys_that_sign_no_digest_are_told(place: Place, key: Any) -> None:
    place.mount(key)
    place.beside = blob_bundle(key)
    with pytest.raises(SignatureError, match="need a key on P-256"):
        await place.verifier().check(SIGNED, place.file())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not a PEM document"),
        (b"secret", "not a PEM document"),
        (pem(rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (pem(dsa.generate_private_key(2048)), "neither ECDSA"),
    ],
)
def test_what_is_no_key(text: bytes, said: str) -> None:
    with pytest.raises(SignatureError, match=said):
        keys.load(text)


@pytest.mark.parametrize(
    ("policy", "accepted", "warned"),
    [(Policy.OFF, True, False), (Policy.WARN, True, True), (Policy.REQUIRE, False, False)],
)
async def test_a_model_that_asks_for_no_signature(
    place: Place, caplog: pytest.LogCaptureFixture, policy: Policy, accepted: bool, warned: bool
) -> None:
    place.policy = policy
    verifier, entry = place.verifier(), place.file()
    assert verifier.accepts(model(None), entry) == accepted
    with caplog.at_level(logging.WARNING):
        if accepted:
            await verifier.check(model(None), entry)
        else:
            with pytest.raises(SignatureError, match=r"set spec.verification of the Model; this node loads nothing"):
                await verifier.check(model(None), entry)
    assert ("no signature is asked for" in caplog.text) == warned


@pytest.mark.parametrize("policy", list(Policy))
async def test_a_model_that_asks_is_never_loaded_without(place: Place, policy: Policy) -> None:
    place.policy, place.beside = policy, blob_bundle(OTHER)
    verifier, entry = place.verifier(), place.file()
    with pytest.raises(SignatureError):
        await verifier.check(SIGNED, entry)
    assert not verifier.accepts(SIGNED, entry)


async def test_an_identity_needs_more_than_a_key(place: Place) -> None:
    """A bundle without a certificate and a log entry says nothing of an identity. `sigstore` checks the rest."""
    place.beside = blob_bundle(P256)
    keyless = model({"identity": {"issuer": "https://accounts.example", "subject": "release@models.example"}})
    with pytest.raises(SignatureError, match=r"not signed by 'release@models.example' \(https://accounts.example\)"):
        await place.verifier().check(keyless, place.file())


async def test_an_artifact_from_a_registry_carries_its_signature_inside(place: Place) -> None:
    with pytest.raises(SignatureError, match=r"no signature was found in it: .* inside, as model.sig"):
        await place.verifier().check(
            model({"publicKeySecretRef": {"name": "release"}}, uri=f"oci://registry.example/x@sha256:{HEX}"),
            place.file(),
        )


@pytest.mark.parametrize(
    ("uri", "beside"),
    [
        ("https://h/x.onnx", "https://h/x.onnx.sigstore.json"),
        ("https://h/x.onnx?token=a", "https://h/x.onnx.sigstore.json?token=a"),
        ("file:///x", "file:///x.sigstore.json"),
        ("s3://b/k", "s3://b/k.sigstore.json"),
    ],
)
def test_where_the_signature_is(uri: str, beside: str) -> None:
    assert signature_uri(uri) == beside


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@given(st.integers(0, 10_000), st.sampled_from([blob_bundle, lambda key: envelope(key, cosign_statement())]))
def test_no_changed_byte_makes_a_signature_of_another_artifact(place: int, make: Callable[[Any], bytes]) -> None:
    """Whatever is flipped in a bundle of another artifact, it is not accepted for this one."""
    other = hashlib.sha256(b"another").hexdigest()
    content = make(P256)
    changed = flipped(content, place % len(content))
    try:
        bundle = parse(changed)
        keys.check(bundle, keys.load(pem(P256)), digest=other)
        assert bundle.payload_type is not None
        assert statement(bundle.payload_type, bundle.payload).digest != other
    except SignatureError:
        pass


def test_the_bytes_of_an_envelope() -> None:
    """The example of the DSSE specification."""
    bundle = Bundle(signature=b"", payload_type="http://example.com/HelloWorld", payload=b"hello world")
    assert bundle.signed == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
