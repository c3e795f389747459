"""A real Triton, started once: every test has models of its own names."""

from collections.abc import Iterator

import pytest

from lab.state import cache_directory
from lab.triton import ensure_triton, serve
from tests.triton.server import Triton


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    root = tmp_path_factory.mktemp("triton")
    repository = root / "models"
    repository.mkdir()
    installation = ensure_triton(cache_directory())
    with serve(installation, repository=repository, log=root / "triton.log") as server, Triton(server) as triton:
        yield triton
