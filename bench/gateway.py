"""What the gateway adds to a request, and what it leaves of a server's throughput: `python -m bench.gateway`.

A real Triton serves a network that does next to nothing, so that what is measured is the way to it, and one that works
for some milliseconds, as networks do. Requests go straight to it and through the gateway in turns, so that both meet
the same machine; clients, gateway and Triton share its cores.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import grpc  # type: ignore[import-untyped]
import onnx
from onnx import TensorProto, helper
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bench.report import print_table
from lab.state import cache_directory
from lab.triton import TritonServer, ensure_triton, serve
from littoral.api.routing import GatewayConfig, ModelRoute, Upstream
from littoral.render.gateway_haproxy import HAPROXY_ENVIRONMENT

_NETWORKS = {"idle": 1, "busy": 80}
"""Name of the network -> its layers."""
_SIDE = 64
_TENSOR = (1, 3, _SIDE, _SIDE)
_BYTES = 4 * math.prod(_TENSOR)
_CLIENTS = 8
_WARM_UP = 100
_CONFIG = (
    'backend: "onnxruntime"\nmax_batch_size: 8\ninstance_group [{ kind: KIND_CPU count: 1 }]\ndynamic_batching { }\n'
)

Ask = Callable[[], None]


@click.command()
@click.option("--requests", default=2000, show_default=True, help="Of each kind, one after the other.")
@click.option("--seconds", default=3.0, show_default=True, help="Of each turn under load.")
@click.option("--turns", default=5, show_default=True, help="Under load, straight and through the gateway each.")
def main(requests: int, seconds: float, turns: int) -> None:
    """Measure the gateway against a real Triton on this machine."""
    with tempfile.TemporaryDirectory(prefix="littoral-bench-") as scratch:
        folder = Path(scratch)
        for name, layers in _NETWORKS.items():
            _write_model(folder / "models", name, layers=layers)
        installation = ensure_triton(cache_directory())
        with (
            serve(installation, repository=folder / "models", log=folder / "triton.log") as triton,
            _loaded(triton),
            running_gateway(folder, _config(triton)) as gateway,
        ):
            rows: list[tuple[str, str]] = []
            for name, connect, straight in (
                ("HTTP", _http, triton.http_port),
                ("gRPC", _grpc, triton.grpc_port),
            ):
                before = gateway.processor_seconds()
                rows += _latency(name, connect, straight, gateway.port, requests=requests)
                spent = (gateway.processor_seconds() - before) / (requests + _WARM_UP)
                rows.append((f"{name}, processor time of HAProxy", f"{1e6 * spent:.0f} us for each request"))
                for network in _NETWORKS:
                    asking = partial(connect, network=network)
                    title = f"{name}, {network} network"
                    rows += _throughput(title, asking, straight, gateway.port, seconds=seconds, turns=turns)
            rows += [
                ("memory of the agent (PSS)", f"{_resident(gateway.agent):.0f} MiB"),
                ("memory of HAProxy, master and worker (PSS)", f"{_resident(*gateway.haproxy):.0f} MiB"),
            ]
    print_table(f"The gateway before a real Triton: {_BYTES // 1024} KiB in, {_BYTES // 1024} KiB out", rows)


def _latency(
    name: str, connect: Callable[[int], Ask], straight: int, through: int, *, requests: int
) -> Iterator[tuple[str, str]]:
    asks = (connect(straight), connect(through))
    for ask in asks:
        for _ in range(_WARM_UP):
            ask()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(requests):
        for ask, times in zip(asks, taken, strict=True):
            start = time.perf_counter()
            ask()
            times.append(time.perf_counter() - start)
    for share in (0.5, 0.99):
        alone, proxied = (_quantile(times, share) for times in taken)
        yield (
            f"{name}, one request at a time, p{100 * share:g}",
            f"{1e3 * alone:.2f} ms straight, {1e3 * proxied:.2f} ms through the gateway"
            f" ({1e3 * (proxied - alone):+.2f} ms)",
        )


def _throughput(
    name: str, connect: Callable[[int], Ask], straight: int, through: int, *, seconds: float, turns: int
) -> Iterator[tuple[str, str]]:
    rates: tuple[list[float], list[float]] = ([], [])
    p99: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for port, found, tail in zip((straight, through), rates, p99, strict=True):
            times = _closed_loop(connect, port, seconds=seconds)
            found.append(len(times) / seconds)
            tail.append(_quantile(times, 0.99))
    alone, proxied = (sorted(found)[turns // 2] for found in rates)
    yield (
        f"{name}, {_CLIENTS} clients",
        f"{alone:.0f}/s straight, {proxied:.0f}/s through the gateway ({proxied / alone:.0%})",
    )
    alone, proxied = (sorted(tail)[turns // 2] for tail in p99)
    yield (
        f"{name}, {_CLIENTS} clients, p99",
        f"{1e3 * alone:.1f} ms straight, {1e3 * proxied:.1f} ms through the gateway",
    )


def _closed_loop(connect: Callable[[int], Ask], port: int, *, seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds

    def one() -> None:
        ask = connect(port)
        mine = []
        while (start := time.perf_counter()) < end:
            ask()
            mine.append(time.perf_counter() - start)
        times.extend(mine)

    threads = [threading.Thread(target=one) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def _http(port: int, *, network: str = "idle") -> Ask:
    """A client on one connection, with as little of its own as can be."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    described = {"name": "x", "datatype": "FP32", "shape": _TENSOR, "parameters": {"binary_data_size": _BYTES}}
    header = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    request = (
        f"POST /v2/models/{network}/infer HTTP/1.1\r\nHost: {network}.bench\r\n"
        "Content-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {len(header)}\r\nContent-Length: {len(header) + _BYTES}\r\n\r\n"
    ).encode()
    request += header + bytes(_BYTES)

    def ask() -> None:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1 << 18)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0], answer[:300]
        length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
        missing = int(length.split(b":")[1]) - len(body)
        while missing > 0:
            missing -= len(connection.recv(1 << 18))

    return ask


def _grpc(port: int, *, network: str = "idle") -> Ask:
    options = [("grpc.default_authority", f"{network}.bench"), ("grpc.use_local_subchannel_pool", 1)]
    client = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}", options=options))
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=_TENSOR)
    request = service_pb2.ModelInferRequest(model_name=network, inputs=[tensor], raw_input_contents=[bytes(_BYTES)])

    def ask() -> None:
        client.ModelInfer(request, wait_for_ready=True)

    return ask


class Gateway:
    """HAProxy and its agent.

    Attributes:
        port: where requests are taken.
        agent, haproxy: process ids.
    """

    def __init__(self, *, port: int, agent: int, haproxy: Sequence[int]) -> None:
        self.port, self.agent, self.haproxy = port, agent, haproxy

    def processor_seconds(self) -> float:
        """Time that HAProxy's processes have spent."""
        ticks = 0
        for pid in self.haproxy:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def _config(triton: TritonServer) -> GatewayConfig:
    server = Upstream(name="triton", address="127.0.0.1", http_port=triton.http_port, grpc_port=triton.grpc_port)
    routes = tuple(ModelRoute(namespace="bench", name=name, servers=(server,), limit=1000) for name in _NETWORKS)
    return GatewayConfig(revision="bench", models=routes)


@contextmanager
def running_gateway(folder: Path, config: GatewayConfig) -> Iterator[Gateway]:
    """Run a gateway in `folder` until the block ends."""
    port, report = _free_port(), _free_port()
    (folder / "gateway.json").write_text(json.dumps(config.dump()))
    run = folder / "run"
    with ExitStack() as stack:
        options = (f"--config={folder / 'gateway.json'}", f"--run={run}", f"--state={folder / 'state'}")
        listening = (f"--bind=127.0.0.1:{port}", f"--listen=127.0.0.1:{report}")
        agent = _start(stack, [sys.executable, "-m", "littoral.cli.main", "gateway", *options, *listening])
        _wait((run / "haproxy.cfg").exists)
        master = f"{run}/master.sock,level,admin"
        haproxy = _start(
            stack, ["haproxy", "-W", "-db", "-S", master, "-f", f"{run}/haproxy.cfg"], **HAPROXY_ENVIRONMENT
        )
        _wait(lambda: _connects(port))
        children = Path(f"/proc/{haproxy}/task/{haproxy}/children").read_text().split()
        yield Gateway(port=port, agent=agent, haproxy=[haproxy, *map(int, children)])


def _start(stack: ExitStack, command: list[str], **env: str) -> int:
    process = subprocess.Popen(command, env=os.environ | env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process.pid


@contextmanager
def _loaded(triton: TritonServer) -> Iterator[None]:
    with grpc.insecure_channel(f"127.0.0.1:{triton.grpc_port}") as channel:
        client: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for name in _NETWORKS:
            client.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name=name))
        yield


def _write_model(repository: Path, name: str, *, layers: int) -> None:
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_CONFIG)
    shape = ["batch", *_TENSOR[1:]]
    tensors = ["x", *(f"t{layer}" for layer in range(1, layers)), "y"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [one, "weights"], [other]) for one, other in pairwise(tensors)],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [helper.make_tensor("weights", TensorProto.FLOAT, [_SIDE, _SIDE], [1 / _SIDE] * _SIDE**2)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "1" / "model.onnx"))


def _resident(*pids: int) -> float:
    """Proportional set size of these processes, in MiB."""
    kibibytes = 0
    for pid in pids:
        match = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        kibibytes += int(match[1]) if match else 0
    return kibibytes / 1024


def _quantile(times: Sequence[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(math.ceil(share * len(ordered)), len(ordered)) - 1]


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def _connects(port: int) -> bool:
    with socket.socket() as each:
        return each.connect_ex(("127.0.0.1", port)) == 0


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the gateway did not start")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
