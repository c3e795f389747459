"""Join tokens and the site's Secret: what goes in comes out, and what cannot be right is named."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from littoral.cluster.invitation import invitation, member_role
from littoral.cluster.membership import Credentials, InvalidCredentials, Lifetime, is_member_name, lifetime_of
from littoral.hub.members import names_by_member
from tests.support.objects import assignment

PEM = "-----BEGIN CERTIFICATE-----\nTGl0dG9yYWw=\n-----END CERTIFICATE-----\n"
FIELDS: dict[str, Any] = {
    "server": "https://hub.example:6443",
    "ca": PEM,
    "member": "store-12",
    "namespace": "littoral-system",
    "token": "a.b.c",
    "secret": "0f4c",
}


def jwt(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.c2lnbmF0dXJl"


def test_a_join_token_comes_back_as_it_was() -> None:
    credentials = Credentials(**FIELDS)
    text = credentials.encode()
    assert Credentials.decode(text) == credentials
    assert text.replace("-", "").replace("_", "").isalnum()


def test_a_mail_may_break_the_lines_of_a_join_token() -> None:
    text = Credentials(**FIELDS).encode()
    assert Credentials.decode(f" {text[:76]}\r\n{text[76:]}\n") == Credentials(**FIELDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not what littoral invite prints"),
        ("K10abc::server:def", "not what littoral invite prints"),
        (Credentials(**FIELDS).encode()[:-20], "not all of it"),
        (base64.urlsafe_b64encode(b'["list"]').decode(), "not what littoral invite prints"),
        (base64.urlsafe_b64encode(b'{"server": "https://x"}').decode(), "ca is missing|member is missing"),
    ],
)
def test_what_is_no_join_token_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidCredentials, match=message):
        Credentials.decode(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"member": "Store 12"}, "member 'Store 12' is not a DNS label"),
        ({"member": "store.12"}, "not a DNS label"),
        ({"member": ""}, "member is missing"),
        ({"server": "hub.example:6443"}, "is not an https:// URL"),
        ({"server": "http://hub.example"}, "is not an https:// URL"),
        ({"token": ""}, "token is missing"),
        ({"token": "a b"}, "token has spaces"),
        ({"ca": "ca.crt"}, "ca is not a certificate in PEM"),
        ({"namespace": None}, "namespace is missing"),
    ],
)
def test_credentials_that_cannot_be_right_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidCredentials, match=message):
        Credentials(**FIELDS | change)


def test_a_public_certificate_needs_no_authority() -> None:
    assert Credentials.decode(Credentials(**FIELDS | {"ca": ""}).encode()).ca == ""


def test_the_token_does_not_get_into_a_log() -> None:
    assert "a.b.c" not in repr(Credentials(**FIELDS)) + str(Credentials(**FIELDS))


def test_the_sites_secret_comes_back_as_it_was() -> None:
    for credentials in (Credentials(**FIELDS), Credentials(**FIELDS | {"secret": ""})):
        body = credentials.to_secret(namespace="edge")
        assert Credentials.from_secret(body) == credentials
        assert ("joinSecret" in body["data"]) == bool(credentials.secret)
        assert body["metadata"]["name"] == "littoral-hub"


def test_a_broken_secret_is_named() -> None:
    body = Credentials(**FIELDS).to_secret(namespace="edge")
    del body["data"]["token"]
    with pytest.raises(InvalidCredentials, match="token is missing"):
        Credentials.from_secret(body)
    with pytest.raises(InvalidCredentials, match="no text"):
        Credentials.from_secret({"data": {"server": base64.b64encode(b"\xff").decode()}})
    with pytest.raises(InvalidCredentials, match="is missing"):
        Credentials.from_secret({})


def test_a_token_says_how_long_it_lives() -> None:
    assert lifetime_of(jwt(iat=1000, exp=4600)) == Lifetime(issued=1000, expires=4600)


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", jwt(iat=1), jwt(iat=5, exp=5), jwt(iat="x", exp=9)])
def test_a_token_that_does_not_say_is_no_error(token: str) -> None:
    assert lifetime_of(token) is None


@pytest.mark.parametrize(("life", "expected"), [(30 * 86400, 86400), (7200, 3600), (2 * 86400, 86400)])
def test_a_token_is_renewed_daily_or_after_half_its_life(life: float, expected: float) -> None:
    assert Lifetime(issued=10, expires=10 + life).renew_at(most=86400) == 10 + expected


@pytest.mark.parametrize(
    ("name", "good"),
    [("store-12", True), ("a" * 63, True), ("a" * 64, False), ("-a", False), ("a.b", False), ("A", False), ("", False)],
)
def test_a_member_is_named_as_a_dns_label(name: str, good: bool) -> None:
    assert is_member_name(name) is good


def test_a_member_without_assignments_may_read_none() -> None:
    # A rule without resourceNames would be about all of them.
    assert member_role("store-12", assignments=())["rules"] == []
    for rule in member_role("store-12", assignments=("b", "a"))["rules"]:
        assert rule["resourceNames"] == ["a", "b"]


def test_every_right_of_an_invitation_is_for_named_objects() -> None:
    bodies = invitation("store-12", namespace="littoral-system")
    (role,) = [body for body in bodies if body["kind"] == "Role"]
    assert all(rule["resourceNames"] for rule in role["rules"])
    assert not [body for body in bodies if body["kind"] == "ClusterRole"]
    assert bodies[-1]["kind"] == "Lease"


def test_assignments_belong_to_the_members_that_they_name() -> None:
    def of(name: str, member: str | None) -> Any:
        body = assignment(name).dump()
        return type(assignment()).parse(body | {"spec": body["spec"] | ({"member": member} if member else {})})

    found = names_by_member(
        [of("b", "m"), of("a", "m"), of("c", None), of("d", "n")], announced={"m": None, "gone": None}
    )
    assert found == {"m": ("a", "b"), "n": ("d",), "gone": ()}
