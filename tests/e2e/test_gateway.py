"""Clients are led through gateways: what they ask is answered, counted, and not lost when a Pod goes."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from examples.quickstart import setting_up
from examples.quickstart.client import ModelClient
from examples.quickstart.digits import load
from examples.quickstart.reading import ask_digit, under_load
from littoral.hub.authority_signing import Names, sign
from littoral.hub.authority_signing import load as load_authorities
from littoral.site import gateway_keys
from tests.e2e.littoral import Littoral

pytestmark = pytest.mark.timeout(600)

NAMESPACE = "--namespace=littoral-system"


@pytest.fixture(scope="module")
def gateways(littoral: Littoral) -> Iterator[Littoral]:
    """Littoral, with gateways that lead to `digits`."""
    littoral.wait_ready("digits")
    littoral.install_with({"gateway": {"enabled": True}})
    littoral.wait(lambda: leads_to_gateways(littoral), what="clients of digits are led to a gateway", within=180)
    yield littoral
    littoral.install_with({})
    littoral.wait(lambda: not leads_to_gateways(littoral), what="clients of digits are led to its servers")
    littoral.wait_answers("digits")


def leads_to_gateways(littoral: Littoral) -> bool:
    service = littoral.cluster.get("service", "digits", f"--namespace={setting_up.NAMESPACE}")
    return "gateway" in service["spec"]["selector"].values()


def report(littoral: Littoral, pool: str) -> dict[str, Any]:
    """What the Assignment's status says of the gateway's share of `digits`."""
    status = littoral.cluster.get("assignments.littoral.dev", pool).get("status", {})
    routes = status.get("gateway", {}).get("routes", [])
    return next((route for route in routes if route["name"] == "digits"), {})


def test_a_request_is_answered_through_a_gateway_and_counted(gateways: Littoral) -> None:
    gateways.wait_answers("digits")
    _, test = load()

    def counted() -> bool:
        with gateways.connect("digits") as client:
            ask_digit(client, test.images[0])
        return any(float(report(gateways, pool).get("arrived", "0")) > 0 for pool in ("edge", "cloud"))

    gateways.wait(counted, what="the Assignment's status counts the requests")


def test_a_host_name_that_is_no_models_is_answered_with_those_that_are(gateways: Littoral) -> None:
    request = Request(f"http://{gateways.address('digits')}/v2/models/digits/ready", headers={"Host": "nobody.shop"})
    with pytest.raises(HTTPError) as raised, urlopen(request, timeout=10):
        pass
    assert raised.value.code == 404
    assert "digits.shop" in json.loads(raised.value.read())["models"]


def test_a_server_that_goes_costs_no_request(gateways: Littoral) -> None:
    """Neither with a connection for each request, nor with one that is kept: the gateway sends it elsewhere."""
    gateways.wait_answers("digits")
    _, test = load()
    (before,) = gateways.servers(gateways.server("digits", pool="edge"))
    with under_load(lambda: gateways.connect("digits"), test.images) as running:
        gateways.cluster.run("delete", "pod", before["metadata"]["name"], "--namespace=shop", "--wait=true")
        gateways.wait_ready("digits")
    assert (running.report().failed, running.report().errors) == (0, ())


def test_a_gateway_that_goes_costs_no_request(gateways: Littoral) -> None:
    """Clients are led to others, or straight to the servers, until it is back."""
    gateways.wait_answers("digits")
    _, test = load()
    address = gateways.address("digits")
    with under_load(lambda: ModelClient(url=address, model="digits"), test.images, keep=False) as running:
        selector = "--selector=app.kubernetes.io/name=gateway"
        gateways.cluster.run("delete", "pod", selector, NAMESPACE, "--wait=true")
        gateways.wait(lambda: leads_to_gateways(gateways), what="clients are led to a gateway again")
    assert (running.report().failed, running.report().errors) == (0, ())


@contextmanager
def reached_by_members(littoral: Littoral, pool: str) -> Iterator[None]:
    """The pool has an address for gateways of other clusters."""

    def patch(gateway: object) -> None:
        spec = json.dumps({"spec": {"gateway": gateway}})
        littoral.cluster.run("patch", "nodepools.littoral.dev", pool, "--type=merge", f"--patch={spec}")

    patch({"address": "gateway.example:8443"})
    try:
        yield
    finally:
        patch(None)


def files(littoral: Littoral, name: str) -> dict[str, str]:
    """What a Secret of the operator's namespace holds."""
    found = littoral.cluster.items("secrets", NAMESPACE, f"--field-selector=metadata.name={name}")
    data = found[0].get("data", {}) if found else {}
    return {key: base64.b64decode(text).decode() for key, text in data.items()}


def test_a_gateway_of_another_cluster_is_let_in_by_what_the_hub_has_signed(gateways: Littoral, tmp_path: Path) -> None:
    values = {"gateway": {"enabled": True, "members": {"serviceType": "ClusterIP"}}}
    gateways.install_with(values)
    with reached_by_members(gateways, "cloud"):
        gateways.wait(lambda: "tls.crt" in files(gateways, "gateway-cloud"), what="the gateway has a certificate")
        held = files(gateways, "littoral-gateway-ca")
        authorities = load_authorities(certificates=held["ca.crt"], keys=held["ca.key"])
        # What a site would get.
        own = gateway_keys.create("store-12")
        now = datetime.now(UTC)
        names = Names(pool="store-12", member="store-12")
        (tmp_path / "tls.key").write_text(own.key)
        (tmp_path / "tls.crt").write_text(sign(own.request, names=names, by=authorities.signer(now), now=now))

        def answered(*, certificate: bool) -> bool:
            service = gateways.cluster.get("service", "gateway-cloud-members", NAMESPACE)
            context = ssl.create_default_context(cadata=authorities.bundle)
            context.check_hostname = False  # it is asked by its address here
            if certificate:
                context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
            connection = HTTPSConnection(service["spec"]["clusterIP"], 8443, context=context, timeout=5)
            try:
                connection.request("GET", "/v2/models/digits/ready", headers={"Host": "digits.shop"})
                return connection.getresponse().status == 200
            except OSError:
                return False
            finally:
                connection.close()

        gateways.wait(lambda: answered(certificate=True), what="it lets a member in", within=180)
        assert not answered(certificate=False)
    gateways.wait(
        lambda: (
            not gateways.cluster.items("services", NAMESPACE, "--field-selector=metadata.name=gateway-cloud-members")
        ),
        what="nothing is exposed any more",
    )
    gateways.wait_answers("digits")
