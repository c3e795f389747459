"""Which credentials are read from a Secret, and that nothing ever shows them."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from littoral.agent.errors import FetchError
from littoral.agent.sources import credentials
from littoral.agent.sources.credentials import Login

HIDDEN = "hunter2-hidden"


def secret(root: Path, name: str = "login", **values: str) -> credentials.Secret:
    """As the kubelet mounts it: each key a link into a hidden folder."""
    data = root / name / "..2026_01_01"
    data.mkdir(parents=True)
    (root / name / "..data").symlink_to(data.name)
    for key, value in values.items():
        (data / key).write_text(value)
        (root / name / key).symlink_to(f"..data/{key}")
    return credentials.read(root, name)


def docker(root: Path, auths: Any) -> credentials.Secret:
    return secret(root, **{".dockerconfigjson": json.dumps({"auths": auths})})


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_a_token_counts_before_a_password(tmp_path: Path) -> None:
    assert secret(tmp_path, "a", username="me", password="pass\n").login().header == (
        "Basic " + base64.b64encode(b"me:pass").decode()
    )
    assert secret(tmp_path, "b", username="me", password="pass", token="abc\n").login().header == "Bearer abc"


def test_a_token_that_is_no_header(tmp_path: Path) -> None:
    broken = secret(tmp_path, token=f"{HIDDEN}\nX-Other: header")
    with pytest.raises(FetchError, match="`token` is not one line of printable characters") as caught:
        broken.login()
    assert HIDDEN not in str(caught.value)
    with pytest.raises(FetchError, match="is not a docker configuration"):
        docker(tmp_path / "x", {"r": {"registrytoken": "a\nb"}}).registry("r", "x")


@pytest.mark.parametrize(
    ("auths", "user"),
    [
        ({"registry.example": auth("a:p")}, "a"),
        ({"registry.example": {"username": "a", "password": "p"}}, "a"),
        ({"https://registry.example": auth("a:p")}, "a"),
        ({"https://registry.example/v2/": auth("a:p")}, "a"),
        ({"registry.example/shop": auth("a:p"), "registry.example": auth("b:p")}, "a"),
        ({"registry.example": auth("b:p"), "registry.example/shop/digits": auth("a:p")}, "a"),
        ({"registry.example/sho": auth("b:p")}, None),
        ({"registry.example/other": auth("b:p")}, None),
        ({"registry.example:5000": auth("b:p")}, None),
        ({"*.example": auth("a:p")}, "a"),
        ({"*": auth("b:p")}, None),
        ({"other.example": auth("b:p")}, None),
        ({}, None),
    ],
)
def test_the_entry_that_names_the_repository_most_closely(
    tmp_path: Path, auths: dict[str, Any], user: str | None
) -> None:
    login = docker(tmp_path, auths).registry("registry.example", "shop/digits")
    assert (login and login.username) == user


@pytest.mark.parametrize("key", ["docker.io", "index.docker.io", "https://index.docker.io/v1/"])
def test_docker_hub_has_several_names(tmp_path: Path, key: str) -> None:
    login = docker(tmp_path, {key: auth("a:p:q")}).registry("docker.io", "library/x")
    assert login == Login(username="a", password="p:q")


def test_tokens_of_a_registry(tmp_path: Path) -> None:
    found = docker(tmp_path, {"a": {"identitytoken": "i"}, "b": {"registrytoken": "r"}})
    assert found.registry("a", "x") == Login(identity_token="i")
    assert found.registry("b", "x") == Login(token="r")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"auths": []}',
        '{"auths": {"registry.example": "x"}}',
        '{"auths": {"registry.example": {"auth": "%"}}}',
    ],
)
def test_what_is_no_docker_configuration(tmp_path: Path, text: str) -> None:
    broken = secret(tmp_path, **{".dockerconfigjson": f"{text} "})
    with pytest.raises(FetchError, match=r"the Secret 'login'"):
        broken.registry("registry.example", "x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "the Secret 'missing' is not there: create it in the Model's namespace"),
        ("empty", "the Secret 'empty' is not there"),
        ("binary", "the Secret 'binary' cannot be read: it is not text"),
        ("..", "is not the name of a Secret"),
        ("a/b", "is not the name of a Secret"),
    ],
)
def test_a_secret_that_cannot_be_had(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary/key").write_bytes(b"\xff\xfe")
    with pytest.raises(FetchError, match=message):
        credentials.read(tmp_path, name)


def test_an_agent_that_is_given_none(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="this agent has no --credentials-root"):
        credentials.read(None, "login")


def test_nothing_shows_a_secret(tmp_path: Path) -> None:
    found = secret(
        tmp_path,
        token=HIDDEN,
        username="me",
        password=HIDDEN,
        **{".dockerconfigjson": json.dumps({"auths": {"r": auth(f"me:{HIDDEN}") | {"identitytoken": HIDDEN}}})},
    )
    login = found.registry("r", "x")
    for thing in (found, found.login(), login):
        assert HIDDEN not in repr(thing)
        assert HIDDEN not in str(thing)
    broken = secret(tmp_path, "broken", **{".dockerconfigjson": f'{{"auths": {{"r": {{"auth": "{HIDDEN}" ,}}}}}}'})
    with pytest.raises(FetchError) as caught:
        broken.registry("r", "x")
    assert HIDDEN not in str(caught.value)
    assert caught.value.__suppress_context__
