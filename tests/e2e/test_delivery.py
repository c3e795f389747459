"""Artifacts from real stores on the lab, with a login and with a signature, and with the wrong one of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from examples.quickstart.digits import load
from examples.quickstart.networks import DIGITS, DIGITS_V2
from examples.quickstart.reading import accuracy_directly, accuracy_through, under_load
from tests.e2e import stores as artifact_stores
from tests.e2e.littoral import Littoral, digits_model, digits_variants, stays_at_the_edge
from tests.e2e.stores import S3, S3_LOGIN, Stores, fresh, registry_login, secret

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stores(littoral: Littoral, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """A registry and an S3 server on the node cloud."""
    with artifact_stores.running_stores(littoral, tmp_path_factory.mktemp("stores")) as running:
        yield running


@pytest.fixture
def namespace(littoral: Littoral) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"e2e-{uuid4().hex[:6]}"
    littoral.cluster.run("create", "namespace", name)
    yield name
    littoral.cluster.run("delete", "namespace", name, "--wait=false")


def test_an_artifact_from_a_registry_with_a_login(
    littoral: Littoral, stores: Stores, namespace: str, tmp_path: Path
) -> None:
    """The wrong password is told, and the right one is taken up by itself."""
    artifact = stores.publish("shop/digits:v1", fresh(tmp_path))
    _apply(littoral, "digits", artifact | {"secretRef": {"name": "login"}}, namespace=namespace)
    _await_stalled(littoral, "digits", "the Secret 'login' is not there", namespace=namespace)
    login = secret("login", namespace=namespace, data=registry_login("incorrect donkey"))
    littoral.cluster.apply([login])
    _await_stalled(littoral, "digits", "401 Unauthorized (with the credentials of the Secret", namespace=namespace)
    assert "donkey" not in str(littoral.model("digits", namespace=namespace)["status"])
    littoral.cluster.apply([secret("login", namespace=namespace, data=registry_login())])
    _answers_as_it_should(littoral, "digits", namespace=namespace)


def test_an_artifact_from_a_bucket(littoral: Littoral, stores: Stores, namespace: str, tmp_path: Path) -> None:
    content = fresh(tmp_path).read_bytes()
    stores.put("digits/v1.onnx", content)
    login = S3_LOGIN | {"endpoint": S3, "region": "edge-1"}
    littoral.cluster.apply([secret("bucket", namespace=namespace, data=login)])
    artifact = {
        "uri": "s3://models/digits/v1.onnx",
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "secretRef": {"name": "bucket"},
    }
    _apply(littoral, "digits", artifact, namespace=namespace)
    _answers_as_it_should(littoral, "digits", namespace=namespace)


def test_only_what_is_signed_with_the_key_is_loaded(
    littoral: Littoral, stores: Stores, namespace: str, tmp_path: Path
) -> None:
    """Somebody else's signature, and none: neither is loaded, and what served before loses no request."""
    right, wrong = _key(tmp_path / "right.pem"), _key(tmp_path / "wrong.pem")
    littoral.cluster.apply(
        [
            secret("login", namespace=namespace, data=registry_login()),
            secret("release-key", namespace=namespace, data={"cosign.pub": right}),
        ]
    )
    reference: dict[str, Any] = {"secretRef": {"name": "login"}}
    signed = stores.publish("shop/signed:v1", fresh(tmp_path), key=tmp_path / "right.pem") | reference
    verification = {"publicKeySecretRef": {"name": "release-key"}}
    _apply(littoral, "digits", signed, namespace=namespace, verification=verification)
    _answers_as_it_should(littoral, "digits", namespace=namespace)

    second = fresh(tmp_path, network=DIGITS_V2)
    others = stores.publish("shop/signed:others", second, key=tmp_path / "wrong.pem") | reference
    unsigned = stores.publish("shop/signed:none", second) | reference
    assert wrong != right
    _, test = load()
    with under_load(lambda: littoral.connect("digits", namespace=namespace), test.images, pause=0.1) as running:
        for artifact, message in (
            (others, "the signature was not made with this key"),
            (unsigned, "carries its signature inside, as model.sig"),
        ):
            littoral.patch_model("digits", {"variants": digits_variants(**artifact)}, namespace=namespace)
            _await_stalled(littoral, "digits", message, namespace=namespace)
    report = running.report()
    assert (report.failed, report.errors) == (0, ())
    assert list(report.answers) == ["1"], "no other version has ever answered"
    # Once it is signed with the key, it is loaded.
    good = stores.publish("shop/signed:v2", second, key=tmp_path / "right.pem") | reference
    littoral.patch_model("digits", {"variants": digits_variants(**good)}, namespace=namespace)
    _answers_as_it_should(littoral, "digits", namespace=namespace, network=DIGITS_V2)


def test_an_unsigned_artifact_never_serves(littoral: Littoral, stores: Stores, namespace: str, tmp_path: Path) -> None:
    """Of a Model that has never served: its first artifact is signed by somebody else."""
    littoral.cluster.apply(
        [
            secret("login", namespace=namespace, data=registry_login()),
            secret("release-key", namespace=namespace, data={"cosign.pub": _key(tmp_path / "right.pem")}),
        ]
    )
    _key(tmp_path / "wrong.pem")
    artifact = stores.publish("shop/foreign:v1", fresh(tmp_path), key=tmp_path / "wrong.pem")
    verification = {"publicKeySecretRef": {"name": "release-key"}}
    _apply(
        littoral, "foreign", artifact | {"secretRef": {"name": "login"}}, namespace=namespace, verification=verification
    )
    _await_stalled(littoral, "foreign", "the signature was not made with this key", namespace=namespace)
    assignment = littoral.cluster.get("assignments.littoral.dev", "edge")
    said = [
        model
        for server in assignment["status"]["servers"]
        if server["namespace"] == namespace
        for model in server["models"]
    ]
    assert [(model["reason"], model.get("readyReplicas", 0)) for model in said] == [("SignatureInvalid", 0)], said


def _apply(littoral: Littoral, name: str, artifact: dict[str, Any], *, namespace: str, **spec: Any) -> None:
    """A Model of digits that stays at the edge, while the stores are on the node cloud."""
    model = digits_model(name, namespace=namespace, variants=digits_variants(**artifact))
    # One server: how many a load takes is not what is tested here.
    model["spec"] |= spec | {"scaling": {"maxReplicas": 1}}
    littoral.cluster.apply([stays_at_the_edge(name, namespace=namespace), model])


def _await_stalled(littoral: Littoral, name: str, message: str, *, namespace: str) -> None:
    def says_so() -> bool:
        reason, said = littoral.condition(name, "Stalled", namespace=namespace)
        return reason == "ModelFailed" and message in said

    littoral.wait(says_so, what=f"Model {name} says: {message}")


def _answers_as_it_should(littoral: Littoral, name: str, *, namespace: str, network: Any = DIGITS) -> None:
    _, test = load()
    littoral.wait_ready(name, namespace=namespace)
    littoral.wait_answers(name, namespace=namespace)
    with littoral.connect(name, namespace=namespace) as client:
        assert accuracy_through(client, test) == accuracy_directly(network, test)


def _key(path: Path) -> str:
    """Make a private key, and return the public one (PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
