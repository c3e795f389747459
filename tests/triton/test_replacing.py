"""How a model's artifact can be replaced without a client noticing: what the agent does rests on this.

The agent puts the new artifact into a version directory of its own and asks for a load over gRPC; see docs/images.md.
"""

import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tritonclient.utils import InferenceServerException

from tests.triton.networks import write_scaling
from tests.triton.server import Triton

CLIENTS = 3
REPLACEMENTS = 3
REQUEST = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 1, 1]}]})

# The answer to REQUEST is the factor of the network that gave it, so it tells which artifact that was.
Answers = Counter[float]


class Load:
    """Clients that each send one request after the other, over HTTP connections that they keep."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._answers = [Answers() for _ in range(CLIENTS)]
        self._changed = threading.Condition()
        self._stopping = False

    def answers(self) -> Answers:
        """All answers so far."""
        return sum(self._answers, Answers())

    def wait_for_answer_of_each(self, factor: float) -> None:
        """Until every client has had an answer of the network with that factor."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: self.failures or all(answers[factor] for answers in self._answers), timeout=60
            )

    @contextmanager
    def on(self, triton: Triton, model: str) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask, args=(triton, model, answers)) for answers in self._answers]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping = True
            for thread in threads:
                thread.join()

    def _ask(self, triton: Triton, model: str, answers: Answers) -> None:
        connection = triton.connect()
        while not self._stopping:
            connection.request("POST", f"/v2/models/{model}/infer", REQUEST)
            response = connection.getresponse()
            body = response.read()
            with self._changed:
                if response.status == 200:
                    answers[json.loads(body)["outputs"][0]["data"][0]] += 1
                else:
                    self.failures.append(body.decode())
                self._changed.notify_all()
        connection.close()


class Repository:
    """One model's directory; `put` makes version directories whose file is a link into a cache, as the agent does."""

    def __init__(self, directory: Path, cache: Path) -> None:
        self.directory = directory
        self._cache = cache
        directory.mkdir(parents=True)
        self.configure(threads=1)

    def put(self, version: int, *, factor: float) -> None:
        artifact = self._cache / f"{factor}.onnx"
        write_scaling(artifact, factor=factor)
        self.link(version, artifact)

    def link(self, version: int, artifact: Path) -> None:
        folder = self.directory / str(version)
        folder.mkdir(exist_ok=True)
        (folder / ".new").symlink_to(artifact)
        (folder / ".new").rename(folder / "model.onnx")

    def remove(self, version: int) -> None:
        shutil.rmtree(self.directory / str(version))

    def configure(self, *, threads: int) -> None:
        new = self.directory / ".new"
        new.write_text(
            'backend: "onnxruntime"\ninstance_group [{ kind: KIND_CPU count: 1 }]\n'
            f'parameters {{ key: "intra_op_thread_count" value {{ string_value: "{threads}" }} }}\n'
        )
        os.replace(new, self.directory / "config.pbtxt")


def new_version(repository: Repository, step: int) -> None:
    repository.put(step + 1, factor=step + 1)


def new_version_and_the_old_one_gone(repository: Repository, step: int) -> None:
    repository.put(step + 1, factor=step + 1)
    repository.remove(step)


def new_version_and_configuration(repository: Repository, step: int) -> None:
    repository.put(step + 1, factor=step + 1)
    repository.configure(threads=1 + step % 2)


def same_version_with_another_target(repository: Repository, step: int) -> None:
    repository.put(1, factor=step + 1)


@pytest.mark.parametrize(
    "change",
    [
        new_version,
        new_version_and_the_old_one_gone,
        new_version_and_configuration,
        same_version_with_another_target,
    ],
)
def test_no_request_is_lost(triton: Triton, tmp_path: Path, change: Callable[[Repository, int], None]) -> None:
    model = change.__name__
    repository = Repository(triton.repository / model, tmp_path)
    repository.put(1, factor=1)
    triton.load(model)
    load = Load()
    with load.on(triton, model):
        load.wait_for_answer_of_each(1)
        for step in range(1, REPLACEMENTS + 1):
            change(repository, step)
            triton.load(model)
            load.wait_for_answer_of_each(step + 1)
    assert load.failures == []
    assert set(load.answers()) == {float(factor) for factor in range(1, REPLACEMENTS + 2)}


def test_a_load_over_grpc_does_not_hold_up_requests(triton: Triton, tmp_path: Path) -> None:
    """Over HTTP it may: the load then occupies a thread of the HTTP server, and all connections that belong to it."""
    repository = Repository(triton.repository / "flowing", tmp_path)
    repository.put(1, factor=1)
    triton.load("flowing")
    load = Load()
    with load.on(triton, "flowing"):
        for step in range(1, REPLACEMENTS + 1):
            load.wait_for_answer_of_each(step)
            repository.put(step + 1, factor=step + 1)
            before = load.answers()[step]
            triton.load("flowing")
            # The load takes more than a second, each request milliseconds: were they held up, one each would be all.
            assert load.answers()[step] > before + 10 * CLIENTS
    assert load.failures == []


def test_a_failed_load_leaves_the_old_version_serving(triton: Triton, tmp_path: Path) -> None:
    repository = Repository(triton.repository / "surviving", tmp_path)
    repository.put(1, factor=1)
    triton.load("surviving")
    broken = tmp_path / "broken.onnx"
    broken.write_text("not a network")
    load = Load()
    with load.on(triton, "surviving"):
        load.wait_for_answer_of_each(1)
        repository.link(2, broken)
        with pytest.raises(InferenceServerException, match="cannot load"):
            triton.load("surviving")
        assert triton.is_ready("surviving")
        assert triton.is_ready("surviving", 1)
        assert not triton.is_ready("surviving", 2)
        repository.remove(2)
        repository.put(3, factor=3)
        triton.load("surviving")
        load.wait_for_answer_of_each(3)
    assert load.failures == []
    assert triton.is_ready("surviving", 3)


def test_a_load_without_a_change_is_none(triton: Triton, tmp_path: Path) -> None:
    repository = Repository(triton.repository / "unchanged", tmp_path)
    repository.put(1, factor=1)
    triton.load("unchanged")
    load = Load()
    with load.on(triton, "unchanged"):
        load.wait_for_answer_of_each(1)
        executions = sum(triton.executions("unchanged").values())
        triton.load("unchanged")
        # A reload would have begun to count anew.
        assert sum(triton.executions("unchanged").values()) >= executions
    assert load.failures == []
