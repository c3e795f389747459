"""What the agent promises, seen from outside: its report and Triton's answers."""

import asyncio
import json
import os
import signal

import pytest

from littoral.agent.digest import of_directory
from tests.agent.harness import Agent, load_on, model_of, network


async def test_two_models_become_ready(agent: Agent) -> None:
    agent.start()
    agent.want("one", agent.artifact(network(1)))
    agent.want("two", agent.artifact(network(2)))
    status = await agent.until_ready(agent.apply())
    assert [(it["name"], it["ready"], it["version"]) for it in status["models"]] == [("one", True, 1), ("two", True, 1)]
    assert status["triton"]["ready"]
    assert await agent.infer("one") == 1
    assert await agent.infer("two") == 2


async def test_an_artifact_is_replaced_without_a_failed_request(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(0)))
    await agent.until_ready(agent.apply())
    async with load_on(agent, "digits") as load:
        for constant in range(1, 21):
            agent.want("digits", agent.artifact(network(constant)))
            status = await agent.until_ready(agent.apply())
            await load.answered_by(constant)
    assert load.errors == []
    assert len(load.answers) > 20
    assert model_of(status, "digits")["version"] == 21
    kept = {path.name for path in (agent.triton.repository / "digits").iterdir()}
    assert kept == {"21", "config.pbtxt", ".littoral.json"}


async def test_models_come_back_after_triton_was_killed(agent: Agent) -> None:
    agent.start()
    agent.want("one", agent.artifact(network(1)))
    agent.want("two", agent.artifact(network(2)))
    revision = agent.apply()
    await agent.until_ready(revision)
    agent.triton.kill()
    status = await agent.until(lambda it: not it["triton"]["ready"])
    assert [model["ready"] for model in status["models"]] == [False, False]
    assert (await agent.get("/readyz"))[0] == 503
    agent.triton.start()
    await agent.until_ready(revision)
    assert (await agent.get("/readyz"))[0] == 200
    assert await agent.infer("one") == 1
    assert await agent.infer("two") == 2


async def test_triton_killed_while_it_loads(agent: Agent) -> None:
    """What served comes back at once; what was being loaded, after a pause: it may be what Triton died of."""
    agent.start()
    agent.want("old", agent.artifact(network(1)))
    await agent.until_ready(agent.apply())
    agent.want("old", agent.artifact(network(2)))
    agent.want("new", agent.artifact(network(3)))
    revision = agent.apply()
    await agent.until(lambda it: model_of(it, "old").get("state") == "Loading")
    agent.triton.kill()
    agent.triton.start()
    await agent.until_ready(revision)
    assert await agent.infer("old") == 2
    assert await agent.infer("new") == 3


async def test_a_triton_that_is_told_to_stop_is_not_ready_though_it_still_serves(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    await agent.until_ready(agent.apply())
    async with load_on(agent, "digits") as load:  # their connections are open, and keep Triton from stopping
        await load.answered_by(1)
        assert agent.triton.process is not None
        agent.triton.process.terminate()
        status = await agent.until(lambda it: not it["triton"]["ready"])
        assert agent.triton.process.poll() is None
    assert not model_of(status, "digits")["ready"]


async def test_a_model_directory_is_served_with_its_configuration(agent: Agent) -> None:
    folder = agent.root / "files" / "model"
    (folder / "3").mkdir(parents=True)
    (folder / "3" / "adder.onnx").write_bytes(network(1))
    (folder / "labels.txt").write_text("one\n")
    (folder / "config.pbtxt").write_text("""
        name: "theirs"  # the Model has another name
        platform: "onnxruntime_onnx"
        default_model_filename: "adder.onnx"
        version_policy { specific { versions: [3] } }
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: 1 }
        output { name: "y" data_type: TYPE_FP32 dims: 1 label_filename: "labels.txt" }
        dynamic_batching { }
    """)
    agent.start()
    agent.want("digits", {"uri": f"file://{folder}", "digest": f"sha256:{of_directory(folder)}"})
    status = await agent.until_ready(agent.apply())
    assert model_of(status, "digits")["version"] == 1
    assert await agent.infer("digits") == 1
    async with agent.session.get(f"{agent.triton.url}/v2/models/digits/config") as response:
        config = json.loads(await response.text())
    assert (config["max_batch_size"], config["name"]) == (8, "digits")
    assert "dynamic_batching" in config


async def test_a_restart_of_the_agent_disturbs_nothing(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    revision = agent.apply()
    await agent.until_ready(revision)
    async with load_on(agent, "digits") as load:
        agent.kill()
        agent.start()
        status = await agent.until_ready(revision)
    assert model_of(status, "digits")["version"] == 1, "nothing was loaded again"
    assert load.errors == []


async def test_an_agent_that_died_during_a_replacement_finishes_it(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    await agent.until_ready(agent.apply())
    for constant in (2, 3, 4):
        agent.want("digits", agent.artifact(network(constant)))
        revision = agent.apply()
        # Killed wherever it happens to be, from before it has read the file to after the load.
        await agent.until(lambda it, n=constant: it["models"][0]["state"] != "Ready" or it["revision"] == f"r{n + 1}")
        agent.kill()
        agent.start()
        await agent.until_ready(revision)
        assert await agent.infer("digits") == constant


async def test_an_empty_repository_is_filled_from_the_cache(agent: Agent) -> None:
    """The pod was replaced on the same node, and the source is gone."""
    agent.start()
    artifact = agent.artifact(network(1))
    agent.want("digits", artifact)
    revision = agent.apply()
    await agent.until_ready(revision)
    agent.kill()
    agent.triton.replace()
    os.unlink(artifact["uri"].removeprefix("file://"))
    agent.start()
    await agent.until_ready(revision)
    assert await agent.infer("digits") == 1


async def test_what_served_before_serves_after_a_restart_of_the_node(agent: Agent) -> None:
    """The wanted artifact cannot be had, and the pod's repository is gone."""
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    await agent.until_ready(agent.apply())
    agent.want("digits", {"uri": f"file://{agent.root}/files/missing", "digest": "sha256:" + "0" * 64})
    agent.apply()
    await agent.until(lambda it: model_of(it, "digits").get("state") == "Failed")
    agent.kill()
    agent.triton.replace()
    agent.start()
    status = await agent.until(lambda it: bool(model_of(it, "digits").get("ready")))
    assert await agent.infer("digits") == 1
    status = await agent.until(lambda it: model_of(it, "digits")["state"] == "Failed")
    assert "missing" in model_of(status, "digits")["message"]
    agent.want("digits", agent.artifact(network(2)))
    await agent.until_ready(agent.apply())
    assert await agent.infer("digits") == 2


async def test_without_the_mounted_file_the_last_good_one_counts(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    revision = agent.apply()
    await agent.until_ready(revision)
    agent.kill()
    agent.triton.replace()
    agent.config.unlink()
    agent.start()
    status = await agent.until_ready(revision)
    assert "No such file" in status["message"]
    assert await agent.infer("digits") == 1


async def test_a_malformed_file_keeps_the_last_good_one(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    revision = agent.apply()
    await agent.until_ready(revision)
    agent.write('{"revision": "broken", "models": [{"name": "digits"}]}')
    status = await agent.until(lambda it: bool(it["message"]))
    assert "models[0].variant" in status["message"]
    assert status["revision"] == revision
    assert model_of(status, "digits")["state"] == "Ready"
    revision = agent.apply()
    assert (await agent.until(lambda it: it["revision"] == revision))["message"] == ""


async def test_a_wrong_digest_is_never_loaded(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    await agent.until_ready(agent.apply())
    wrong = agent.artifact(network(2))
    expected = "sha256:" + "0" * 64
    agent.want("digits", {"uri": wrong["uri"], "digest": expected})
    async with load_on(agent, "digits") as load:
        agent.apply()
        status = await agent.until(lambda it: model_of(it, "digits").get("state") == "Failed")
        await load.answered_by(1)
    digits = model_of(status, "digits")
    for part in (expected, wrong["digest"], wrong["uri"]):
        assert part in digits["message"]
    assert (digits["reason"], digits["attempts"]) == ("DigestMismatch", 1)
    assert digits["ready"]
    assert load.errors == []
    assert set(load.answers) == {1.0}

    # The previous artifact is what comes back with Triton, too.
    agent.triton.kill()
    await agent.until(lambda it: not it["triton"]["ready"])
    agent.triton.start()
    status = await agent.until(lambda it: model_of(it, "digits")["ready"])
    assert model_of(status, "digits")["state"] == "Failed"
    assert await agent.infer("digits") == 1

    # And the right one is taken as soon as it is asked for.
    agent.want("digits", wrong)
    await agent.until_ready(agent.apply())
    assert await agent.infer("digits") == 2


async def test_what_may_come_yet_is_fetched_again_and_failed_when_it_does_not(agent: Agent) -> None:
    agent.start()
    missing = agent.root / "files/late.onnx"
    artifact = agent.artifact(network(1))
    agent.want("digits", {"uri": f"file://{missing}", "digest": artifact["digest"]})
    agent.apply()
    status = await agent.until(lambda it: model_of(it, "digits").get("attempts", 0) >= 1)
    digits = model_of(status, "digits")
    assert (digits["state"], digits["reason"]) == ("Fetching", "FetchFailed")
    assert f"attempt {digits['attempts']} failed; tried again within" in digits["message"]
    status = await agent.until(lambda it: model_of(it, "digits")["state"] == "Failed")
    digits = model_of(status, "digits")
    assert (digits["attempts"] >= 3, digits["reason"]) == (True, "FetchFailed")
    missing.write_bytes(network(1))
    status = await agent.until(lambda it: model_of(it, "digits")["state"] == "Ready")
    assert "reason" not in model_of(status, "digits")
    assert model_of(status, "digits")["attempts"] == 0


async def test_what_triton_does_not_load_leaves_what_serves(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    await agent.until_ready(agent.apply())
    async with load_on(agent, "digits") as load:
        agent.want("digits", agent.artifact(b"not a network"))
        agent.apply()
        status = await agent.until(lambda it: model_of(it, "digits").get("state") == "Failed")
        assert model_of(status, "digits")["ready"]
        assert "digits" in model_of(status, "digits")["message"]
        assert model_of(status, "digits")["reason"] == "LoadFailed"
        agent.want("digits", agent.artifact(network(2)))
        await agent.until_ready(agent.apply())
        await load.answered_by(2)
    assert load.errors == []


async def test_a_model_that_fails_leaves_the_others(agent: Agent) -> None:
    agent.start()
    agent.want("bad", agent.artifact(b"not a network"))
    agent.want("remote", {"uri": "ftp://files.example/network.onnx", "digest": "sha256:" + "0" * 64})
    agent.want("good", agent.artifact(network(1)))
    agent.apply()
    status = await agent.until(
        lambda it: (
            [model_of(it, name).get("state") for name in ("bad", "good", "remote")] == ["Failed", "Ready", "Failed"]
        )
    )
    assert "supported: file, gs, https, oci, pvc, s3" in model_of(status, "remote")["message"]
    assert model_of(status, "remote")["reason"] == "Unsupported"
    assert status["triton"]["ready"]
    assert await agent.infer("good") == 1


async def test_a_removed_model_is_unloaded_after_its_drain(agent: Agent) -> None:
    agent.start()
    agent.want("stays", agent.artifact(network(1)))
    agent.want("goes", agent.artifact(network(2)))
    await agent.until_ready(agent.apply())
    del agent.models["goes"]
    agent.apply()
    status = await agent.until(lambda it: model_of(it, "goes").get("state") == "Unloading")
    assert model_of(status, "goes")["ready"], "it answers while its Service still sends requests here"
    assert await agent.infer("goes") == 2
    await agent.until(lambda it: model_of(it, "goes") == {})
    with pytest.raises(AssertionError):
        await agent.infer("goes")
    assert not (agent.triton.repository / "goes").exists()
    assert await agent.infer("stays") == 1


async def test_a_model_that_is_wanted_again_during_its_drain_stays(agent: Agent) -> None:
    agent.start("--drain", "60s")
    agent.want("digits", agent.artifact(network(1)))
    await agent.until_ready(agent.apply())
    async with load_on(agent, "digits") as load:
        digits = agent.models.pop("digits")
        agent.apply()
        await agent.until(lambda it: model_of(it, "digits").get("state") == "Unloading")
        agent.models["digits"] = digits
        status = await agent.until_ready(agent.apply())
    assert model_of(status, "digits")["version"] == 1
    assert load.errors == []
    assert set(load.answers) == {1.0}


async def test_sigterm_is_obeyed_when_triton_is_gone(agent: Agent) -> None:
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    await agent.until_ready(agent.apply())
    assert agent.process is not None
    agent.process.send_signal(signal.SIGTERM)
    del agent.models["digits"]
    agent.apply()
    status = await agent.until(lambda it: it["revision"] == f"r{agent.revision}")
    assert model_of(status, "digits")["ready"], "it still reports, and begins nothing new"
    agent.triton.stop()
    assert await asyncio.to_thread(agent.process.wait, 30) == 0
