"""What Triton dies of makes way for what served before; batches and devices come out as they were asked for."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.agent.harness import PATIENCE, Agent, Triton, load_on, model_of, network

POISON = """
import os, signal
import numpy as np
import triton_python_backend_utils as pb

# {salt}
def kill():
    pid = os.getppid()
    while not open(f"/proc/{{pid}}/comm").read().startswith("tritonserver"):
        pid = int(open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[1])
    os.kill(pid, signal.SIGKILL)


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 1]}})
        config.add_output({{"name": "y", "data_type": "TYPE_FP32", "dims": [-1, 1]}})
        return config

    def initialize(self, args):
        if "{when}" == "load":
            kill()

    def execute(self, requests):
        if "{when}" == "serve":
            kill()
        return [
            pb.InferenceResponse([pb.Tensor("y", pb.get_input_tensor_by_name(it, "x").as_numpy() + np.float32(7))])
            for it in requests
        ]
"""


def poison(when: str, salt: str = "") -> bytes:
    """A model that kills its Triton when it is loaded or asked; otherwise it adds 7."""
    return POISON.format(when=when, salt=salt).encode()


@asynccontextmanager
async def restarting(triton: Triton) -> AsyncIterator[list[int]]:
    """The kubelet's part, without its pauses: a Triton that died is started again. Yields how each of them died."""
    deaths: list[int] = []

    async def watch() -> None:
        while True:
            process = triton.process
            assert process is not None
            deaths.append(await asyncio.to_thread(process.wait))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the processes of its models
            triton.start()

    watching = asyncio.create_task(watch())
    try:
        yield deaths
    finally:
        watching.cancel()
        if triton.process is not None:
            triton.process.kill()  # ends the thread that waits for it
        with suppress(asyncio.CancelledError):
            await watching


async def ask(agent: Agent, model: str) -> float:
    """The answer, as soon as there is one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(AssertionError, aiohttp.ClientError):
                return await agent.infer(model)
            await asyncio.sleep(0.02)


def failed(status: dict[str, Any], name: str) -> bool:
    it = model_of(status, name)
    return it.get("state") == "Failed" and it.get("reason") == "LoadFailed"


async def test_an_artifact_that_kills_triton_while_it_loads_makes_way_for_the_previous_one(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    agent.want("other", agent.artifact(network(2)))
    await agent.until_ready(agent.apply())
    async with restarting(agent.triton) as deaths:
        agent.want("digits", agent.artifact(poison("load"), "model.py"), backend="python")
        agent.apply()
        status = await agent.until(lambda it: failed(it, "digits"))
        assert model_of(status, "digits")["attempts"] == 3
        assert "Triton died 3 times" in model_of(status, "digits")["message"]
        status = await agent.until(lambda it: all(model_of(it, name)["ready"] for name in ("digits", "other")))
        assert failed(status, "digits"), "the hub learns it while what was there before serves"
        assert await agent.infer("digits") == 1
        assert await agent.infer("other") == 2
        assert deaths == [-signal.SIGKILL] * 3, "and it is left alone for a while"
        # What is wanted instead is not held responsible.
        agent.want("digits", agent.artifact(network(3)))
        await agent.until_ready(agent.apply())
        assert await agent.infer("digits") == 3


async def test_without_a_previous_artifact_it_fails_and_leaves_the_others(agent: Agent) -> None:
    """State Failed, reason LoadFailed, not ready: for the hub to try the next variant."""
    agent.start()
    agent.want("digits", agent.artifact(poison("load"), "model.py"), backend="python")
    agent.want("other", agent.artifact(network(2)))
    agent.apply()
    async with restarting(agent.triton):
        status = await agent.until(lambda it: failed(it, "digits") and bool(model_of(it, "other").get("ready")))
        assert not model_of(status, "digits")["ready"]
        assert await agent.infer("other") == 2


async def test_an_artifact_that_kills_triton_when_asked_makes_way_for_the_last_good_one(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    agent.want("other", agent.artifact(network(2)))
    await agent.until_ready(agent.apply())
    async with restarting(agent.triton) as deaths:
        agent.want("digits", agent.artifact(poison("serve"), "model.py"), backend="python")
        await agent.until_ready(agent.apply())  # it loads, and is taken for good until somebody asks
        async with load_on(agent, "digits", clients=1):
            status = await agent.until(lambda it: failed(it, "digits") and model_of(it, "digits")["ready"])
            assert await ask(agent, "digits") == 1
        assert model_of(status, "digits")["attempts"] == 3
        assert len(deaths) == 3
        assert await ask(agent, "other") == 2
        assert "other: Triton died" not in (agent.root / "agent.log").read_text(), "it was there before"

        # It is the artifact that is remembered, not what is wanted: asked for again, it is not tried at once.
        bad = agent.models["digits"]
        agent.want("digits", agent.artifact(network(3)))
        await agent.until_ready(agent.apply())
        agent.models["digits"] = bad
        revision = agent.apply()
        status = await agent.until(lambda it: it["revision"] == revision)
        assert failed(status, "digits")
        assert await agent.infer("digits") == 3
        assert len(deaths) == 3


async def test_batches_are_as_wanted_where_the_network_allows_them(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    agent.models["digits"]["batching"] = {"maxBatchSize": 16, "maxQueueDelay": "500us"}
    await agent.until_ready(agent.apply())
    config = await triton_config(agent, "digits")
    assert config["max_batch_size"] == 16
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 500

    async with load_on(agent, "digits") as load:
        agent.models["digits"]["batching"] = {"maxBatchSize": 32}
        status = await agent.until_ready(agent.apply())
        await load.answered_by(1)
    assert load.errors == []
    assert model_of(status, "digits")["version"] == 2
    config = await triton_config(agent, "digits")
    assert config["max_batch_size"] == 32
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0


async def test_openvino_on_an_npu_loads_with_the_device_named(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)), backend="openvino")
    agent.accelerator = "intel-npu"
    await agent.until_ready(agent.apply())
    config = await triton_config(agent, "digits")
    assert config["parameters"]["TARGET_DEVICE"]["string_value"] == "NPU"
    assert config["instance_group"][0]["kind"] == "KIND_CPU"
    assert await agent.infer("digits") == 1


async def test_a_gpu_that_triton_does_not_see_is_told_and_not_replaced_by_the_cpu(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    agent.accelerator = "nvidia-gpu"
    agent.apply()
    status = await agent.until(lambda it: failed(it, "digits"))
    assert "GPU" in model_of(status, "digits")["message"]


async def test_a_network_that_is_refused_with_the_proposed_batches_is_served_without(agent: Agent) -> None:
    """Its file says that the first dimension of the output is free; that it is not shows when it is opened."""
    agent.start()
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["s"], keepdims=1), helper.make_node("Add", ["s", "c"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.array([[4]], dtype=np.float32), "c")],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    agent.want("digits", agent.artifact(content))
    agent.models["digits"]["batching"] = {"maxBatchSize": 8}
    await agent.until_ready(agent.apply())
    assert (await triton_config(agent, "digits"))["max_batch_size"] == 0
    assert await agent.infer("digits") == 4


async def triton_config(agent: Agent, model: str) -> dict[str, Any]:
    async with agent.session.get(f"{agent.triton.url}/v2/models/{model}/config") as response:
        return dict(json.loads(await response.text()))
