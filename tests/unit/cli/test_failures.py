"""What goes wrong is told in one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from click.testing import CliRunner

from littoral.cli.access import Access
from littoral.cli.failures import Failure, not_found, refused
from littoral.cli.main import main


def kubeconfig(path: Path, *, server: str = "https://127.0.0.1:1", namespace: str = "shop") -> str:
    """A kubeconfig with the contexts `here` (the current one) and `there`."""
    clusters = [{"name": "c", "cluster": {"server": server}}]
    contexts = [
        {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": namespace}},
        {"name": "there", "context": {"cluster": "c", "user": "u"}},
    ]
    body = {"apiVersion": "v1", "kind": "Config", "current-context": "here", "clusters": clusters}
    path.write_text(yaml.safe_dump(body | {"contexts": contexts, "users": [{"name": "u", "user": {"token": "t"}}]}))
    return str(path)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (["digits", "text"], "there is no Model digts in namespace shop: did you mean digits?"),
        (["text"], "there is no Model digts in namespace shop; there is text"),
        (["b", "a"], "there is no Model digts in namespace shop; there are a, b"),
        (list("abcdefg"), "there is no Model digts in namespace shop; there are a, b, c, d, e, ..."),
        ([], "there is no Model digts in namespace shop, nor any other"),
    ],
)
def test_not_found(known: list[str], said: str) -> None:
    assert not_found("Model", name="digts", known=known, where="in namespace shop").message == said


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "log in again"), (403, "ask for a role"), (404, "install Littoral's CRDs"), (500, "try again")],
)
def test_refusals_say_what_to_do(status: int, advice: str) -> None:
    failure = refused(status=status, message="first line\nsecond line", plural="models.littoral.dev")
    assert advice in failure.message
    assert "\n" not in failure.message


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not in a Pod, and without a kubeconfig of the developer's own."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))


@pytest.mark.parametrize("command", ["explain", "plan", "snapshot", "top"])
def test_no_kubeconfig(command: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, [command])
    assert ran.exit_code == 1
    assert ran.stderr == (
        f"Error: no cluster to talk to: there is no kubeconfig at {tmp_path / 'none'}: set KUBECONFIG, or name one "
        "with --kubeconfig\n"
    )


def test_an_unknown_context(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["top", "--kubeconfig", kubeconfig(tmp_path / "k"), "--context", "ther"])
    assert (ran.exit_code, ran.stderr) == (
        1,
        "Error: there is no context ther in the kubeconfig: did you mean there or here?\n",
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"a: [", b"text", b"\xff\x00", b"contexts: 7\ncurrent-context: a", b"current-context: a\ncontexts: [{}]"],
)
@pytest.mark.parametrize("arguments", [["top"], ["top", "--context", "there"]])
def test_a_broken_kubeconfig(tmp_path: Path, content: bytes, arguments: list[str]) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)
    ran = CliRunner().invoke(main, [*arguments, "--kubeconfig", str(path)])
    assert ran.exit_code == 1
    assert ran.stderr.startswith("Error: ")
    assert len(ran.stderr.splitlines()) == 1


def test_nobody_answers(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["explain", "--kubeconfig", kubeconfig(tmp_path / "k")])
    assert ran.exit_code == 1
    assert ran.stderr.startswith("Error: the API server cannot be reached: ")
    assert len(ran.stderr.splitlines()) == 1


@pytest.fixture
def stranger() -> Iterator[str]:
    """An API server that serves none of our kinds: what it does not know, it answers as the real one does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(b"404 page not found\n")

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that is gone before its answer is written is none of the command's error lines."""

    with Server(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_cluster_without_littoral(tmp_path: Path, stranger: str) -> None:
    ran = CliRunner().invoke(main, ["explain", "--kubeconfig", kubeconfig(tmp_path / "k", server=stranger)])
    assert ran.exit_code == 1
    assert "does not serve" in ran.stderr
    assert "install Littoral's CRDs first" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_the_namespace_is_that_of_the_context(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "k")
    assert Access(kubeconfig=path).default_namespace() == "shop"
    assert Access(kubeconfig=path, context="there").default_namespace() == "default"
    assert Access(kubeconfig=path, namespace="mine").default_namespace() == "mine"
    assert Access(kubeconfig=str(tmp_path / "none")).default_namespace() == "default"


def test_the_namespace_of_kubeconfig_s_first_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = kubeconfig(tmp_path / "1", namespace="first"), kubeconfig(tmp_path / "2", namespace="second")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}")
    assert Access().default_namespace() == "first"


def test_completion_is_silent_about_failures(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "k")
    line = f"littoral explain --kubeconfig {path} "
    environment = {"_LITTORAL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": "4"}
    ran = CliRunner().invoke(main, [], prog_name="littoral", env=environment)
    assert (ran.exit_code, ran.output.strip()) == (0, "")


def test_contexts_complete(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "k")
    line = f"littoral explain --kubeconfig {path} --context th"
    environment = {"_LITTORAL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": "5"}
    ran = CliRunner().invoke(main, [], prog_name="littoral", env=environment)
    assert ran.output.splitlines() == ["plain,there"]


def test_a_failure_is_one_line() -> None:
    assert Failure("a\n  b").message == "a b"
