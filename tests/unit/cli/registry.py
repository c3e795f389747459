"""A real OCI registry (`distribution`, as the lab builds it) on a free port of 127.0.0.1, with TLS."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.programs import ensure
from lab.state import cache_directory
from tests.support.tls import Authority

USER, PASSWORD = "release", "open sesame"
# Of that password, as htpasswd -B writes it.
_HASH = "$2b$05$YUbHXt7V63N5sNRuTY3LsuVZ40HazBmjniCS4yxn/AlpuOjlMyRha"


@contextmanager
def serve_registry(folder: Path, authority: Authority, *, closed: bool = False) -> Iterator[str]:
    """Run one until the block ends; gives its host, with the port.

    Args:
        folder: a new one for what it stores.
        closed: only USER with PASSWORD may do anything.
    """
    folder.mkdir()
    (folder / "htpasswd").write_text(f"{USER}:{_HASH}\n")
    (folder / "config.yml").write_text(
        f"""\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:0", tls: {{certificate: {authority.certificate}, key: {authority.key}}}}}
{f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}" if closed else ""}
"""
    )
    program = ensure(["distribution"], cache=cache_directory()).path("distribution", "registry")
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=log, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stderr is not None
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if match := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                    break
            else:
                raise AssertionError(f"the registry has ended: {''.join(said)[-2000:]}")
            # It would wait for somebody to read what it logs.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield match[1]
        finally:
            process.terminate()
