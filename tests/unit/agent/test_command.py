"""`littoral agent`: options and their environment variables."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from littoral.agent import main
from littoral.agent.store import Quota
from littoral.agent.verify import Policy
from littoral.cli.agent import Duration, agent


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("500ms", 0.5), ("1m30s", 90.0), ("1.5h", 5400.0), ("0s", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration()(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "s", "", "5 s", "-5s", "5d", "5s!"])
def test_what_is_no_duration(text: str) -> None:
    assert "is not a duration" in CliRunner().invoke(agent, ["--drain", text]).output


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[main.Options]:
    options: list[main.Options] = []

    async def run(given: main.Options) -> None:
        options.append(given)

    monkeypatch.setattr(main, "run", run)
    return options


def test_options_and_defaults(started: list[main.Options]) -> None:
    result = CliRunner().invoke(agent, ["--cache", "/c", "--drain", "1m"], catch_exceptions=False)
    assert result.exit_code == 0
    expected: dict[str, Any] = {
        "config": Path("/etc/littoral/server.json"),
        "peers": None,
        "cache": Path("/c"),
        "state": Path("/c/state"),
        "repository": Path("/models"),
        "triton": "127.0.0.1:8000",
        "triton_grpc": "127.0.0.1:8001",
        "listen": "0.0.0.0:9400",
        "files_root": None,
        "claims_root": Path("/artifacts"),
        "credentials_root": None,
        "ca_file": None,
        "max_bytes": 64 * 2**30,
        "bandwidth": None,
        "cache_quota": Quota(),
        "signature_policy": Policy.OFF,
        "keys_root": None,
        "sigstore_trusted_root": None,
        "decrypted_root": None,
        "identities_root": None,
        "drain": 60.0,
    }
    assert started == [main.Options(**expected)]


def test_environment_variables(started: list[main.Options]) -> None:
    environment = {"LITTORAL_AGENT_FILES_ROOT": "/f", "LITTORAL_AGENT_DRAIN": "2s", "LITTORAL_AGENT_STATE": "/s"}
    CliRunner().invoke(agent, [], env=environment, catch_exceptions=False)
    assert (started[0].files_root, started[0].drain, started[0].state) == (Path("/f"), 2.0, Path("/s"))


def test_the_quota_of_the_cache(started: list[main.Options]) -> None:
    CliRunner().invoke(agent, [], env={"LITTORAL_AGENT_CACHE_QUOTA": "50%"}, catch_exceptions=False)
    assert started[0].cache_quota == Quota(share=0.5)
    assert "not a percentage" in CliRunner().invoke(agent, ["--cache-quota", "101%"]).output
