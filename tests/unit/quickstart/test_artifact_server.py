"""The artifact server, as the image runs it, under a certificate as the demo issues it."""

import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.quickstart import certificates

SERVE = Path(__file__).parents[3] / "images/quickstart-models/serve.py"


@dataclass(frozen=True, kw_only=True)
class Artifacts:
    """A running server, on a free port of this machine."""

    url: str
    ca_crt: str
    process: subprocess.Popen[str]


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Artifacts]:
    monkeypatch.setattr(certificates, "HOST_NAMES", ("localhost",))
    bundle = certificates.issue()
    bundle.write(tmp_path / "tls")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "net.onnx").write_bytes(b"weights")
    command = [sys.executable, str(SERVE), str(tmp_path / "files"), "--port=0"]
    command += [f"--certificate={tmp_path}/tls/tls.crt", f"--key={tmp_path}/tls/tls.key"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split()[-1]
        yield Artifacts(url=f"https://localhost:{port}", ca_crt=bundle.ca_crt.decode(), process=process)
        process.kill()


def test_serves_files_to_those_who_trust_the_authority(artifacts: Artifacts) -> None:
    trusting = ssl.create_default_context(cadata=artifacts.ca_crt)
    with urllib.request.urlopen(f"{artifacts.url}/net.onnx", context=trusting) as response:
        assert response.read() == b"weights"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{artifacts.url}/../tls/tls.key", context=trusting)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"{artifacts.url}/net.onnx", context=ssl.create_default_context())


def test_a_silent_peer_holds_up_nobody(artifacts: Artifacts) -> None:
    host, port = artifacts.url.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port))):
        trusting = ssl.create_default_context(cadata=artifacts.ca_crt)
        with urllib.request.urlopen(f"{artifacts.url}/net.onnx", context=trusting, timeout=10) as response:
            assert response.status == 200


def test_ends_at_once_on_sigterm(artifacts: Artifacts) -> None:
    artifacts.process.send_signal(signal.SIGTERM)
    assert artifacts.process.wait(timeout=10) == 0


def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    for _ in range(2):
        certificates.issue().write(tmp_path)
    assert (tmp_path / "tls.key").stat().st_mode & 0o777 == 0o600
