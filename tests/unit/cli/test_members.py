"""`littoral invite`, `join` and `revoke`, as far as they go without a cluster."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from littoral.cli.failures import Failure
from littoral.cli.invite import unreachable_from_elsewhere
from littoral.cli.main import main
from littoral.cli.releases import Release, choose, release_of
from littoral.cluster.membership import Credentials

HOUR = 3600


def jwt(*, left: float) -> str:
    """A token with so many seconds to live."""
    claims = {"iat": time.time() + left - HOUR, "exp": time.time() + left}
    return f"eyJ9.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


def join_token(*, left: float = HOUR) -> str:
    return Credentials(
        server="https://hub.example:6443",
        ca="",
        member="store-12",
        namespace="littoral-system",
        token=jwt(left=left),
        secret="a-uid",
    ).encode()


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, arguments, input=stdin)


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def test_the_secret_can_be_printed_without_a_cluster() -> None:
    for arguments, stdin in ((("join", join_token()), ""), (("join", "-"), f"{join_token()}\n")):
        shown = run(*arguments, "-o", "yaml", "-n", "edge", stdin=stdin)
        assert shown.exit_code == 0, shown.output
        body = yaml.safe_load(shown.stdout)
        assert (body["metadata"]["name"], body["metadata"]["namespace"]) == ("littoral-hub", "edge")
        assert Credentials.from_secret(body).member == "store-12"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("join", "K10abc::server:def"), "this is no join token: it is not what littoral invite prints"),
        (("join", join_token()[:-30]), "or not all of it"),
        (("join", ""), "this is no join token"),
        # Made when tests are collected, and run minutes later.
        (("join", join_token(left=-20.5 * 86400)), "expired 20d ago"),
        (("join", join_token(left=-90 * 60)), "run littoral invite store-12 on the hub again"),
        (("join", join_token()), "there is no kubeconfig"),
        (("join", join_token(), "--wait", "soon"), "not a duration: 'soon'"),
        (("invite", "Store_12"), "cannot be a member's name: take lower-case letters"),
        (("revoke", "store.12"), "cannot be a member's name"),
        (("invite", "store-12", "--server", "hub.example"), "it must begin with https://"),
        (("invite", "store-12", "--valid", "9m"), "9m is out of bounds: 10m at least and 720h at most"),
        (("invite", "store-12"), "there is no kubeconfig"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], message: str) -> None:
    shown = run(*arguments)
    assert shown.exit_code == 1
    assert message in " ".join(shown.output.split())
    assert "Traceback" not in shown.output


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("https://127.0.0.1:6443", "this machine alone"),
        ("https://[::1]:6443", "this machine alone"),
        ("https://0.0.0.0:6443", "this machine alone"),
        ("https://localhost:6443", "something else on every machine"),
        ("https://kubernetes.default.svc", "something else on every machine"),
        ("https://192.168.1.10:6443", ""),
        ("https://hub.example:6443", ""),
    ],
)
def test_an_address_that_only_works_here_is_noticed(server: str, why: str) -> None:
    found = unreachable_from_elsewhere(server, in_pod=False)
    assert (why in found) if why else not found
    assert unreachable_from_elsewhere(server, in_pod=True)


def _deployment(*arguments: str, namespace: str = "littoral-system") -> dict[str, Any]:
    containers = [{"name": "operator", "args": ["operator", *arguments]}]
    return {
        "metadata": {"name": "littoral", "namespace": namespace},
        "spec": {"template": {"spec": {"containers": containers}}},
    }


def test_an_operators_deployment_says_what_it_is() -> None:
    assert release_of(_deployment("--role=site", "--member=store-12")) == Release(
        namespace="littoral-system", name="littoral", roles=frozenset({"site"}), member="store-12"
    )
    assert release_of(_deployment("--role=hub", "--role=site")).roles == {"hub", "site"}


def test_the_release_is_the_only_one_or_the_one_that_was_named() -> None:
    one, two = (release_of(_deployment(namespace=name)) for name in ("one", "two"))
    assert choose([one], namespace=None) == one
    assert choose([one, two], namespace="two") == two
    assert choose([], namespace=None) == Release(namespace="littoral-system")
    assert choose([one], namespace="three") == Release(namespace="three")
    with pytest.raises(Failure, match="several namespaces: one, two: name one with -n"):
        choose([two, one], namespace=None)
