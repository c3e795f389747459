"""The cache of built programs, with a real Go and a module small enough to build in a second."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import programs
from lab.errors import LabError

HELLO = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello") }\n'
ENSURE = """
import sys
from pathlib import Path
from lab import programs
programs.TOOLS = Path(sys.argv[1])
print(programs.ensure(("hello",), cache=Path(sys.argv[2])).path("hello"))
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tools"
    (path / "hello").mkdir(parents=True)
    (path / "hello" / "go.mod").write_text("module example.test/hello\n\ngo 1.24\n")
    (path / "hello" / "main.go").write_text(HELLO)
    monkeypatch.setattr(programs, "TOOLS", path)
    return path


def _ensure(cache: Path) -> str:
    return programs.ensure(("hello",), cache=cache).path("hello")


def test_every_module_pins_a_version_and_its_checksums() -> None:
    for module in (*programs.MODULES, *programs.SERVERS, *programs.SOURCES):
        directory = programs.TOOLS / module
        requires = "require" in (directory / "go.mod").read_text()
        assert (directory / "go.sum").exists() == requires, module
        assert bool(programs.version(module)) == requires, module


def test_sources_are_fetched_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = programs.fetch("gateway-api")
    assert programs.version("gateway-api") in found.name
    assert (found / "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml").is_file()
    shutil.copytree(programs.TOOLS / "gateway-api", tmp_path / "gateway-api")
    sums = tmp_path / "gateway-api" / "go.sum"
    sums.write_text(sums.read_text().replace("h1:mock6", "h1:other"))
    monkeypatch.setattr(programs, "TOOLS", tmp_path)
    with pytest.raises(LabError, match="checksum mismatch"):
        programs.fetch("gateway-api")


def test_a_module_is_built_once_and_again_when_it_changes(tools: Path, tmp_path: Path) -> None:
    first = _ensure(tmp_path / "cache")
    assert subprocess.run([first], capture_output=True, text=True, check=True).stdout == "hello\n"
    built = os.stat(first).st_mtime_ns
    assert _ensure(tmp_path / "cache") == first
    assert os.stat(first).st_mtime_ns == built
    (tools / "hello" / "main.go").write_text(HELLO.replace('"hello"', '"changed"'))
    second = _ensure(tmp_path / "cache")
    assert second != first
    assert subprocess.run([second], capture_output=True, text=True, check=True).stdout == "changed\n"


def test_a_failed_build_says_why_and_leaves_nothing(tools: Path, tmp_path: Path) -> None:
    (tools / "hello" / "main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(LabError, match="undefined: nonsense"):
        _ensure(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "bin").iterdir()] == [".lock"]


def test_a_build_never_changes_the_pins(tools: Path, tmp_path: Path) -> None:
    (tools / "hello" / "main.go").write_text('package main\n\nimport _ "golang.org/x/sys/unix"\n\nfunc main() {}\n')
    before = (tools / "hello" / "go.mod").read_text()
    with pytest.raises(LabError, match=r"golang\.org/x/sys"):
        _ensure(tmp_path / "cache")
    assert (tools / "hello" / "go.mod").read_text() == before


def test_two_at_the_same_time_build_once(tools: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENSURE, str(tools), str(tmp_path / "cache")]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert len({output for output, _ in results}) == 1
    assert sum("build hello" in errors for _, errors in results) == 1


def test_without_go_what_was_built_last_will_do(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = _ensure(tmp_path / "cache")
    monkeypatch.setattr(programs, "find", lambda name: None)
    assert _ensure(tmp_path / "cache") == built
    shutil.rmtree(Path(built).parent)
    with pytest.raises(LabError, match="Install Go"):
        _ensure(tmp_path / "cache")
