"""`littoral operator`: what its options make of the process."""

from __future__ import annotations

from typing import Any

import kopf
import pytest
from click.testing import CliRunner

from littoral import manager
from littoral.cli.operator import operator

REQUIRED = ("--triton-image", "triton", "--agent-image", "littoral")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[manager.Options]:
    """What is started, though nothing is."""
    found: list[manager.Options] = []

    async def run(options: manager.Options) -> None:
        found.append(options)

    def configure(**_: Any) -> None:
        pass

    monkeypatch.setattr(manager, "run", run)
    monkeypatch.setattr(kopf, "configure", configure)
    return found


@pytest.mark.parametrize(
    ("arguments", "planned"),
    [
        pytest.param((), False, id="no gateways unless they are asked for"),
        pytest.param(("--gateway", "--gateway-image", "haproxy"), True, id="gateways"),
        pytest.param(("--no-gateway", "--gateway-image", "haproxy"), False, id="an image alone is none"),
    ],
)
def test_plans_have_routes_where_there_are_gateways(
    started: list[manager.Options], arguments: tuple[str, ...], planned: bool
) -> None:
    ran = CliRunner().invoke(operator, [*REQUIRED, *arguments])
    assert ran.exit_code == 0, ran.output
    assert [options.planning.gateways for options in started] == [planned]


def test_gateways_need_an_image(started: list[manager.Options]) -> None:
    ran = CliRunner().invoke(operator, [*REQUIRED, "--gateway"])
    assert ran.exit_code == 2
    assert "--gateway-image" in ran.output
    assert started == []


@pytest.mark.parametrize("roles", [(), ("--role", "hub"), ("--role", "hub", "--role", "site")])
def test_a_hub_is_no_member(started: list[manager.Options], roles: tuple[str, ...]) -> None:
    ran = CliRunner().invoke(operator, [*REQUIRED, *roles, "--member", "store-12"])
    assert ran.exit_code == 2
    assert "--role site" in ran.output
    assert started == []


def test_a_site_is_a_member(started: list[manager.Options]) -> None:
    ran = CliRunner().invoke(operator, [*REQUIRED, "--role", "site", "--member", "store-12"])
    assert ran.exit_code == 0, ran.output
    assert [(options.roles, options.member) for options in started] == [({"site"}, "store-12")]
