"""Certificates of gateways on a real API server: the site makes a key, the hub signs, neither writes without need."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509

from tests.cluster.api_server import ApiServer, Object, wait_until
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.test_operator import GROUP, Site, alive
from tests.support.objects import pool_object

ON = ("--gateway", "--gateway-image", "localhost/gateway:lab", "--gateway-members-service-type", "ClusterIP")


@pytest.fixture
def cloud(api: ApiServer, namespace: str) -> Iterator[Site]:
    """A pool of the hub's own cluster, that gateways of members could reach."""
    name = f"p-{uuid4().hex[:8]}"
    api.request("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"littoral.dev/pool": name}}}).granted()
    with alive(api, name):
        api.create(pool_object(name, tier="cloud", gateway={"address": "gateway.example:8443"}))
        yield Site(api=api, namespace=namespace, pool=name)
    api.delete(f"{GROUP}/nodepools/{name}")
    api.delete(f"{GROUP}/assignments/{name}")
    api.delete(f"/api/v1/nodes/{name}")


@pytest.fixture
def operator(kubeconfig: Path, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    process = OperatorProcess(kubeconfig=kubeconfig, namespace=namespace, log=tmp_path / "operator.log", more=ON)
    with process:
        yield process


def files(secret: Object | None) -> dict[str, str]:
    """What a Secret holds."""
    data: dict[str, Any] = (secret or {}).get("data") or {}
    return {name: base64.b64decode(text).decode() for name, text in data.items()}


def test_a_key_stays_at_its_site_and_its_certificate_comes_by_the_assignment(
    cloud: Site, operator: OperatorProcess
) -> None:
    name = f"gateway-{cloud.pool}"
    cloud.create_model()

    def eventually(predicate: Any, what: str) -> None:
        try:
            wait_until(predicate, what=what)
        except Exception as error:
            raise AssertionError(f"{what}: {error}\n{operator.log[-4000:]}") from error

    def assignment() -> Object:
        answer = cloud.api.get(f"{GROUP}/assignments/{cloud.pool}")
        return answer.body if answer.accepted else {}

    def mounted() -> dict[str, str]:
        return files(cloud.get("secrets", name))

    eventually(lambda: "tls.crt" in mounted(), "the Secret of the gateway has a certificate")
    found, authority = mounted(), files(cloud.get("secrets", "littoral-gateway-ca"))
    certificate = x509.load_pem_x509_certificate(found["tls.crt"].encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority["ca.crt"].encode()))
    assert found["ca.crt"] == authority["ca.crt"]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"{name}.littoral.internal"]
    assert "PRIVATE KEY" in found["tls.key"]
    assert "PRIVATE KEY" not in str(assignment())

    service = cloud.get("services", f"{name}-members")
    assert service is not None
    assert [(it["port"], it["targetPort"]) for it in service["spec"]["ports"]] == [(8443, "secure")]
    front = cloud.get("deployments", name)
    assert front is not None
    assert {"secretName": name, "optional": True}.items() <= next(
        it["secret"] for it in front["spec"]["template"]["spec"]["volumes"] if "secret" in it
    ).items()

    # With a successor, nothing is made or signed anew.
    generation, version = assignment()["metadata"]["generation"], cloud.get("secrets", name)
    operator.terminate()
    operator.start()
    cloud.create_model("other")
    eventually(lambda: cloud.assigned() == ["digits", "other"], "the successor writes")
    after = assignment()
    assert after["spec"]["certificate"]["certificate"] == found["tls.crt"]
    assert after["metadata"]["generation"] > generation
    assert cloud.get("secrets", name) == version

    # A key that is lost is another key.
    cloud.api.delete(cloud.path("secrets", name))
    operator.terminate()
    operator.start()
    eventually(lambda: mounted().get("tls.crt", found["tls.crt"]) != found["tls.crt"], "another key is signed")
    assert mounted()["tls.key"] != found["tls.key"]
