"""Host names lead to Models, over HTTP and gRPC on one port."""

from __future__ import annotations

import grpc
import pytest
from tritonclient.grpc import service_pb2

from littoral.api.routing import ModelRoute
from tests.gateway.harness import Gateway
from tests.gateway.upstream import FakeUpstream

Servers = tuple[FakeUpstream, FakeUpstream, FakeUpstream]

INFER = service_pb2.ModelInferRequest(model_name="digits")


@pytest.mark.parametrize(
    "host",
    [
        "digits.{namespace}",
        "digits.{namespace}:8000",
        "DIGITS.{namespace}",
        "digits.{namespace}.",
        "digits.{namespace}.svc",
        "digits.{namespace}.svc.cluster.local:80",
        "digits.example.com",
    ],
)
async def test_a_host_name_leads_to_its_model(gateway: Gateway, servers: Servers, host: str) -> None:
    host = host.format(namespace=gateway.namespace)
    other = ModelRoute(namespace="else", name="digits", servers=())
    await gateway.apply(gateway.route(servers[0], hosts=("digits.example.com",)), other)
    assert (await gateway.infer(host=host)).server == "a"
    async with gateway.grpc(host=host) as client:
        assert (await client.ModelInfer(INFER)).id == "a"


async def test_an_unknown_host_is_told_what_is_known(gateway: Gateway, servers: Servers) -> None:
    await gateway.apply(gateway.route(servers[0]))
    for host in ("digits", "digits.other", 'dig"its', "127.0.0.1"):
        answer = await gateway.infer(host=host)
        assert answer.status == 404
        assert host in answer.body["error"]
        assert answer.body["models"] == [gateway.host]
    async with gateway.grpc(host="digits.other") as client:
        with pytest.raises(grpc.aio.AioRpcError, match=r"digits\.other") as failure:
            await client.ModelInfer(INFER)
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_model_without_servers_is_refused_and_counted(gateway: Gateway) -> None:
    await gateway.apply(gateway.route())
    answer = await gateway.infer()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert f"no server is ready for {gateway.host}" in answer.body["error"]
    async with gateway.grpc() as client:
        with pytest.raises(grpc.aio.AioRpcError, match="no server is ready") as failure:
            await client.ModelInfer(INFER)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    demand = (await gateway.until_demand(lambda it: it.demand.arrived == 2)).demand
    assert (demand.refused, demand.local, demand.spilled, demand.failed) == (2, 0, 0, 0)


async def test_models_are_added_and_removed(gateway: Gateway, servers: Servers) -> None:
    one = gateway.route(servers[0])
    two = gateway.route(servers[1], name="letters")
    await gateway.apply(one)
    await gateway.apply(one, two)
    assert (await gateway.infer(host=f"letters.{gateway.namespace}", path="/v2/models/letters/infer")).server == "b"
    await gateway.apply(two)
    assert (await gateway.infer()).status == 404
    await gateway.apply(one, two)
    assert (await gateway.infer()).server == "a"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/letters/infer", 404),
        ("/v2/repository/models/digits/unload", 403),
        ("/v2/repository/models/digits/load", 403),
        ("/v2/trace/setting", 403),
        ("/v2/models/digits/trace/setting", 403),
        ("/v2/logging", 403),
        ("/v2/systemsharedmemory/region/x/register", 403),
        ("/v2/cudasharedmemory/unregister", 403),
    ],
)
async def test_a_client_reaches_its_model_and_controls_no_server(
    gateway: Gateway, servers: Servers, path: str, status: int
) -> None:
    await gateway.apply(gateway.route(servers[0]))
    assert (await gateway.infer(path=path)).status == status
    assert not servers[0].seen


async def test_grpc_does_not_control_servers(gateway: Gateway, servers: Servers) -> None:
    await gateway.apply(gateway.route(servers[0]))
    async with gateway.grpc() as client:
        for call, request in (
            (client.RepositoryModelUnload, service_pb2.RepositoryModelUnloadRequest(model_name="digits")),
            (client.TraceSetting, service_pb2.TraceSettingRequest()),
            (client.LogSettings, service_pb2.LogSettingsRequest()),
            (client.SystemSharedMemoryUnregister, service_pb2.SystemSharedMemoryUnregisterRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call(request)
            assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_streams_pass_as_they_come(gateway: Gateway, servers: Servers) -> None:
    await gateway.apply(gateway.route(servers[0]))
    async with gateway.grpc() as client:
        call = client.ModelStreamInfer()
        for _ in range(3):
            # Each answer comes before the next question: nothing waits for the stream's end.
            await call.write(INFER)
            assert (await call.read()).infer_response.id == "a"
        await call.done_writing()


async def test_questions_are_no_demand(gateway: Gateway, servers: Servers) -> None:
    await gateway.apply(gateway.route(servers[0]))
    async with gateway.session.get(f"{gateway.url}/v2/models/digits", headers={"Host": gateway.host}) as answer:
        assert (await answer.json())["server"] == "a"
    await gateway.infer()
    demand = (await gateway.until_demand(lambda it: it.demand.arrived)).demand
    assert (demand.arrived, demand.local, demand.latency.count) == (1, 1, 1)
