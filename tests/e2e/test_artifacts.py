"""Artifacts: replaced under load, refused when they are not what their digest says, and read from where they may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from examples.quickstart.digits import load
from examples.quickstart.networks import DIGITS, DIGITS_V2
from examples.quickstart.reading import accuracy_directly, accuracy_through, under_load
from tests.e2e.littoral import Littoral, digits_model, digits_variants, stays_at_the_edge

pytestmark = pytest.mark.timeout(600)

_CHANGES = 20

# A digest that no cache has: an artifact that is there already needs no source.
ELSEWHERE = {"digest": "sha256:" + "1" * 64}


@pytest.fixture
def namespace(littoral: Littoral) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"e2e-{uuid4().hex[:6]}"
    littoral.cluster.run("create", "namespace", name)
    yield name
    littoral.cluster.run("delete", "namespace", name, "--wait=false")


def test_an_artifact_is_replaced_again_and_again_and_no_request_fails(littoral: Littoral) -> None:
    """One Model on two servers, four clients on its Service, no pause between a change and the next."""
    _, test = load()
    littoral.wait_ready("digits")
    littoral.wait_answers("digits")
    with under_load(lambda: littoral.connect("digits"), test.images, pause=0.005) as running:
        for change in range(_CHANGES):
            littoral.patch_model("digits", {"variants": digits_variants((DIGITS_V2, DIGITS)[change % 2])})
            littoral.wait_ready("digits")
    report = running.report()
    assert (report.failed, report.errors) == (0, ())
    assert len(report.answers) >= _CHANGES, "each artifact has answered under a version of its own"


@pytest.mark.parametrize(
    ("artifact", "message"),
    [
        pytest.param({"digest": "sha256:" + "0" * 64}, "sha256:" + "0" * 64, id="wrong digest"),
        pytest.param(ELSEWHERE | {"uri": "https://artifacts.shop.svc/nothing.onnx"}, "404", id="not found"),
        pytest.param(ELSEWHERE | {"uri": "https://nowhere.shop.svc/x.onnx"}, "nowhere.shop.svc", id="no such host"),
        pytest.param(ELSEWHERE | {"uri": "s3://bucket/x.onnx"}, "s3", id="a scheme that is not there yet"),
        pytest.param(ELSEWHERE | {"uri": "file:///etc/passwd"}, "/etc/passwd", id="a file that is nobody's business"),
    ],
)
def test_what_cannot_be_had_is_told_and_what_served_goes_on(
    littoral: Littoral, artifact: dict[str, str], message: str
) -> None:
    _, test = load()
    littoral.patch_model("digits", {"variants": digits_variants(DIGITS)})
    littoral.wait_ready("digits")
    littoral.wait_answers("digits")
    with under_load(lambda: littoral.connect("digits"), test.images) as running:
        littoral.patch_model("digits", {"variants": digits_variants(DIGITS, **artifact)})
        littoral.wait(lambda: littoral.condition("digits", "Stalled")[0] == "ModelFailed", what="the Model says so")
        assert message in littoral.condition("digits", "Stalled")[1]
        littoral.patch_model("digits", {"variants": digits_variants(DIGITS)})
        littoral.wait_ready("digits")
    assert running.report().failed == 0


def test_a_file_that_is_no_network_is_told(littoral: Littoral, namespace: str) -> None:
    """The digest is right, and Triton cannot load it."""
    wrong = [digits_variants(DIGITS)[0] | {"backend": "python"}]
    littoral.cluster.apply([digits_model("nonsense", namespace=namespace, variants=wrong)])
    littoral.wait(
        lambda: littoral.condition("nonsense", "Stalled", namespace=namespace)[0] == "ModelFailed",
        what="the Model says that it cannot be loaded",
    )


def test_artifacts_from_the_node_and_from_a_claim(littoral: Littoral, namespace: str) -> None:
    """`file://` below the allowed folder, and `pvc://` of the Model's own namespace."""
    volume = f"networks-{namespace}"
    copier = _copier(littoral, volume=volume, namespace=namespace)
    littoral.cluster.apply([*_claim(volume, namespace=namespace), copier])
    littoral.wait(
        lambda: littoral.cluster.get("pod", "copier", f"--namespace={namespace}")["status"]["phase"] == "Succeeded",
        what="the network is on the node",
    )
    models = {
        "from-file": f"file:///var/lib/littoral/files/{volume}/digits.onnx",
        "from-claim": "pvc://networks/digits.onnx",
    }
    # The folder is on the node edge alone.
    slos = [stays_at_the_edge(name, namespace=namespace) for name in models]
    littoral.cluster.apply(
        [
            *slos,
            *(
                digits_model(name, namespace=namespace, variants=digits_variants(DIGITS, uri=uri))
                for name, uri in models.items()
            ),
        ]
    )
    _, test = load()
    for name in models:
        littoral.wait_ready(name, namespace=namespace)
        littoral.wait_answers(name, namespace=namespace)
        with littoral.connect(name, namespace=namespace) as client:
            assert accuracy_through(client, test) == accuracy_directly(DIGITS, test)


def _claim(volume: str, *, namespace: str) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": f"/var/lib/littoral/files/{volume}"},
                "claimRef": {"namespace": namespace, "name": "networks"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "networks", "namespace": namespace},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "volumeName": volume,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    ]


def _copier(littoral: Littoral, *, volume: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "copier", "namespace": namespace},
        "spec": {
            "restartPolicy": "OnFailure",
            "nodeSelector": {"littoral.dev/pool": "edge"},
            "containers": [
                {
                    "name": "copier",
                    "image": littoral.images.quickstart_models,
                    "command": ["sh", "-c", "cp /srv/networks/digits.onnx /target/ && chmod a+r /target/digits.onnx"],
                    "securityContext": {"runAsUser": 0},
                    "volumeMounts": [{"name": "target", "mountPath": "/target"}],
                }
            ],
            "volumes": [
                {
                    "name": "target",
                    "hostPath": {"path": f"/var/lib/littoral/files/{volume}", "type": "DirectoryOrCreate"},
                }
            ],
        },
    }
