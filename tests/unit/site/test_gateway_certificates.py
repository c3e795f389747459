"""The Secret of a gateway: a key that is made once, and what the hub gives for it."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from cryptography import x509

from littoral.api.assignment import Assignment
from littoral.cluster.client import ApiError, Client
from littoral.hub.authority_signing import Authorities, Names, create, sign
from littoral.site import gateway_certificates, gateway_keys
from littoral.site.gateway_certificates import GatewayCertificates, Identity

NOW = datetime.now(UTC)
AUTHORITIES = Authorities((create(NOW),))
EDGE = Names(pool="edge", member="store-12")
NAME = "gateway-edge"


class Cluster:
    """The part of a client that keeps Secrets."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, Any]] = {}
        self.asked = self.written = 0
        self.refuses = False

    def _answer(self) -> None:
        if self.refuses:
            raise ApiError(status=403, reason="Forbidden", message="secrets is forbidden")

    async def get(self, _: object, *, name: str, namespace: str) -> dict[str, Any] | None:
        """A Secret, if it is there."""
        self._answer()
        assert namespace == "system"
        self.asked += 1
        return self.secrets.get(name)

    async def create(self, _: object, body: dict[str, Any], *, namespace: str) -> dict[str, Any]:
        """Keep a Secret."""
        self._answer()
        assert all(isinstance(it, str) for it in body["data"].values())
        self.written += 1
        body["metadata"]["resourceVersion"] = "1"
        self.secrets[body["metadata"]["name"]] = body
        return body

    async def patch(self, _: object, patch: dict[str, Any], *, namespace: str, name: str, manager: str) -> Any:
        """Change the data of a Secret."""
        self._answer()
        metadata = self.secrets[name]["metadata"]
        if patch["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise ApiError(status=409, reason="Conflict", message="changed")
        self.written += 1
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        data = self.secrets[name]["data"] | patch["data"]
        self.secrets[name]["data"] = {key: value for key, value in data.items() if value is not None}
        return self.secrets[name]

    def file(self, name: str) -> str:
        """A file of the Secret; empty where it is not there."""
        return base64.b64decode(self.secrets[NAME]["data"].get(name, "")).decode()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def site(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> GatewayCertificates:
    monkeypatch.setattr(gateway_certificates, "_READ_AGAIN", 0.0)
    return fresh(cluster)


def fresh(cluster: Cluster) -> GatewayCertificates:
    return GatewayCertificates(cast(Client, cluster), namespace="system", manager="site")


def told(certificate: str | None = None, *, by: Authorities = AUTHORITIES, routed: bool = True) -> Assignment:
    spec: dict[str, Any] = {
        "tier": "edge",
        "site": "edge",
        "member": "store-12",
        "nodeSelector": {},
        "routes": [{"namespace": "shop", "name": "digits"}] if routed else [],
        "certificate": {"authorities": by.bundle} | ({"certificate": certificate} if certificate else {}),
    }
    return Assignment.parse({"metadata": {"name": "edge", "uid": "uid-of-edge"}, "spec": spec})


def passed(site: GatewayCertificates, assignment: Assignment) -> Identity:
    return asyncio.run(site.step([assignment]))["edge"]


def signed(request: str | None, *, by: Authorities = AUTHORITIES) -> str:
    assert request is not None
    return sign(request, names=EDGE, by=by.members[0], now=NOW)


def test_a_gateway_that_talks_to_nobody_has_no_secret(site: GatewayCertificates, cluster: Cluster) -> None:
    plain = told().model_copy(update={"spec": told().spec.model_copy(update={"certificate": None})})
    assert asyncio.run(site.step([plain, told(routed=False)])) == {}
    assert (cluster.asked, cluster.written) == (0, 0)


def test_a_key_is_made_once_and_stays(site: GatewayCertificates, cluster: Cluster) -> None:
    first = passed(site, told())
    assert first.request is not None
    assert (first.revision, first.trouble) == ("", "")
    secret = cluster.secrets[NAME]
    assert secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "littoral"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "uid-of-edge"
    assert (cluster.file("tls.crt"), cluster.file("ca.crt")) == ("", "")
    # Nor does a restart make another.
    for _ in range(3):
        assert passed(site, told()) == passed(fresh(cluster), told()) == first
    assert cluster.written == 1
    assert "PRIVATE" not in first.request


def test_what_the_hub_signs_is_mounted_beside_the_key(site: GatewayCertificates, cluster: Cluster) -> None:
    first = passed(site, told())
    certificate = signed(first.request)
    got = passed(site, told(certificate))
    assert got.request == first.request
    assert got.revision
    assert cluster.file("tls.crt") == certificate
    assert cluster.file("ca.crt") == AUTHORITIES.bundle
    found = x509.load_pem_x509_certificate(certificate.encode())
    assert gateway_keys.usable(gateway_keys.Credentials(key=cluster.file("tls.key"), request=first.request or ""))
    assert found.public_key() == x509.load_pem_x509_csr((first.request or "").encode()).public_key()
    assert passed(site, told(certificate)) == got
    assert cluster.written == 2


def test_authorities_change_before_the_certificate_does(site: GatewayCertificates, cluster: Cluster) -> None:
    certificate = signed(passed(site, told()).request)
    first = passed(site, told(certificate))
    both = Authorities((*AUTHORITIES.members, create(NOW)))
    second = passed(site, told(certificate, by=both))
    assert second.revision != first.revision
    assert (cluster.file("tls.crt"), cluster.file("ca.crt")) == (certificate, both.bundle)


@pytest.mark.parametrize("other", ["-----BEGIN CERTIFICATE-----\nbroken", None])
def test_a_certificate_of_another_key_is_not_mounted(
    site: GatewayCertificates, cluster: Cluster, other: str | None
) -> None:
    first = passed(site, told())
    stranger = other or signed(gateway_keys.create("edge").request)
    assert passed(site, told(stranger)) == first
    assert cluster.file("tls.crt") == ""
    certificate = signed(first.request)
    passed(site, told(certificate))
    passed(site, told(stranger))
    assert cluster.file("tls.crt") == certificate


def test_a_secret_that_is_gone_or_damaged_is_a_new_key(site: GatewayCertificates, cluster: Cluster) -> None:
    first = passed(site, told())
    certificate = signed(first.request)
    passed(site, told(certificate))
    for damage in ("gone", "another key", "no text"):
        if damage == "gone":
            del cluster.secrets[NAME]
        elif damage == "another key":
            key = gateway_keys.create("edge").key
            cluster.secrets[NAME]["data"]["tls.key"] = base64.b64encode(key.encode()).decode()
        else:
            cluster.secrets[NAME]["data"]["tls.key"] = "////"
        again = passed(site, told(certificate))
        assert again.request != first.request
        assert (again.revision, cluster.file("tls.crt")) == ("", "")
        got = passed(site, told(signed(again.request)))
        assert got.revision
        first = again


def test_somebody_elses_secret_is_left_alone(site: GatewayCertificates, cluster: Cluster) -> None:
    theirs = {"metadata": {"name": NAME, "resourceVersion": "1"}, "data": {"tls.key": "c2VjcmV0"}}
    cluster.secrets[NAME] = theirs
    got = passed(site, told())
    assert got.request is None
    assert "not Littoral's" in got.trouble
    assert cluster.written == 0


def test_what_the_api_server_refuses_is_told_and_tried_again(site: GatewayCertificates, cluster: Cluster) -> None:
    cluster.refuses = True
    got = passed(site, told())
    assert "secrets is forbidden" in got.trouble
    cluster.refuses = False
    assert passed(site, told()).request


def test_it_does_not_ask_at_each_pass(cluster: Cluster) -> None:
    site = fresh(cluster)
    for _ in range(5):
        passed(site, told())
    assert cluster.asked == 1
