"""Models behind a gateway that is not Littoral's: Traefik, which k3s brings along, by the routes that Littoral makes.

Traefik is no part of the lab, whose machine would build it for half an hour: `LITTORAL_TRAEFIK=<path>` names the
program (v3.6 or later), which then runs beside the lab. docs/how-to/gateway-api.md says how to build it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from examples.quickstart import setting_up
from examples.quickstart.digits import INPUT, OUTPUT, load
from examples.quickstart.reading import ask_digit
from lab import programs
from tests.e2e.littoral import Littoral

TRAEFIK = os.environ.get("LITTORAL_TRAEFIK", "")
TEMPLATES = {"http": "{model}.{namespace}.example.com", "grpc": "{model}.{namespace}.grpc.example.com"}
HTTP_HOST, GRPC_HOST = "digits.shop.example.com", "digits.shop.grpc.example.com"

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not TRAEFIK, reason="LITTORAL_TRAEFIK names no Traefik"),
]


@dataclass(frozen=True, kw_only=True)
class Front:
    """Traefik at a port of this machine, before a Littoral that makes routes for it."""

    littoral: Littoral
    port: int
    log: Path

    def ask(self, path: str, body: Any = None, *, host: str = HTTP_HOST) -> tuple[int, Any]:
        """Status and answer of a request over HTTP."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Host": host, "Content-Type": "application/json"}
        try:
            with urlopen(Request(f"http://127.0.0.1:{self.port}{path}", data, headers), timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except HTTPError as error:
            return error.code, error.read()
        except (URLError, OSError) as error:
            return 0, str(error)

    def digit(self, image: NDArray[np.float32]) -> int | None:
        """What a scan shows, as the Model says over HTTP; None without an answer."""
        tensor = {"name": INPUT, "shape": [1, 8, 8], "datatype": "FP32", "data": image.ravel().tolist()}
        status, answer = self.ask("/v2/models/digits/infer", {"inputs": [tensor]})
        return int(np.argmax(answer["outputs"][0]["data"])) if status == 200 else None

    def digit_by_grpc(self, image: NDArray[np.float32]) -> int | None:
        """The same over gRPC."""
        authority = [("grpc.default_authority", GRPC_HOST)]
        with InferenceServerClient(f"127.0.0.1:{self.port}", channel_args=authority) as client:
            tensor = InferInput(INPUT, [1, 8, 8], "FP32")
            tensor.set_data_from_numpy(image[np.newaxis])
            try:
                answer = client.infer("digits", [tensor], client_timeout=10)
            except InferenceServerException:
                return None
        return int(np.argmax(answer.as_numpy(OUTPUT)))

    def eventually(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for a condition; where it does not come, show what Traefik said, too."""
        print(f"Traefik's log: {self.log}")
        self.littoral.wait(holds, what=what)


@pytest.fixture(scope="module")
def front(littoral: Littoral, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    install_crds(littoral)
    littoral.cluster.apply(gateway(port))
    log = tmp_path_factory.mktemp("traefik") / "traefik.log"
    command = [
        TRAEFIK,
        f"--entrypoints.web.address=127.0.0.1:{port}",
        "--providers.kubernetesgateway",
        "--log.level=DEBUG",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]
    environment = os.environ | {"KUBECONFIG": str(littoral.cluster.kubeconfig)}
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as traefik:
        try:
            parents = [{"namespace": "littoral-system", "name": "web"}]
            littoral.install_with({"gatewayApi": {"parentRefs": parents, "hostnames": TEMPLATES}})
            yield Front(littoral=littoral, port=port, log=log)
        finally:
            traefik.terminate()
            traefik.wait(timeout=30)
    littoral.install_with({})
    where = f"--namespace={setting_up.NAMESPACE}"
    littoral.wait(lambda: not littoral.cluster.items("httproutes", where), what="the routes are collected")


def install_crds(littoral: Littoral) -> None:
    """The standard channel, as its release has it."""
    paths = sorted((programs.fetch("gateway-api") / "config/crd/standard").glob("*_*s.yaml"))
    crds = [yaml.safe_load(path.read_text()) for path in paths if "vap_" not in path.name]
    # Too large for the annotation of a client-side apply.
    littoral.cluster.run("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump_all(crds))
    littoral.cluster.run("wait", "--for=condition=Established", *(f"crd/{it['metadata']['name']}" for it in crds))


def gateway(port: int) -> list[dict[str, Any]]:
    """A Gateway that Traefik serves at a port, and that takes the routes of all namespaces."""
    api = {"apiVersion": "gateway.networking.k8s.io/v1"}
    listener = {"name": "web", "protocol": "HTTP", "port": port, "allowedRoutes": {"namespaces": {"from": "All"}}}
    return [
        api
        | {
            "kind": "GatewayClass",
            "metadata": {"name": "traefik"},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        api
        | {
            "kind": "Gateway",
            "metadata": {"name": "web", "namespace": "littoral-system"},
            "spec": {"gatewayClassName": "traefik", "listeners": [listener]},
        },
    ]


def test_a_model_answers_through_traefik(front: Front) -> None:
    _, test = load()
    front.eventually(lambda: front.digit(test.images[0]) is not None, "Traefik leads to the Model over HTTP")
    front.eventually(lambda: front.digit_by_grpc(test.images[0]) is not None, "and over gRPC")
    with front.littoral.connect("digits") as client:
        for image in test.images[:10]:
            straight = int(np.argmax(ask_digit(client, image).values))
            assert front.digit(image) == front.digit_by_grpc(image) == straight


def test_the_gateway_accepts_both_routes(front: Front) -> None:
    """Each has a host name of its own, so that both may be attached to the same listener."""

    def accepted(kind: str) -> bool:
        route = front.littoral.cluster.get(kind, "digits", f"--namespace={setting_up.NAMESPACE}")
        (parent,) = route.get("status", {}).get("parents") or [{"conditions": []}]
        said = {it["type"]: it["status"] for it in parent["conditions"]}
        return said.get("Accepted") == said.get("ResolvedRefs") == "True"

    for kind in ("httproutes", "grpcroutes"):
        front.eventually(lambda kind=kind: accepted(kind), f"Traefik accepts the {kind}")
    assignments = front.littoral.cluster.items("assignments.littoral.dev")
    messages = [it["message"] for body in assignments for it in body["status"]["conditions"]]
    assert not any("routes of" in message for message in messages)


def test_what_changes_a_server_is_not_reached(front: Front) -> None:
    front.eventually(lambda: front.ask("/v2/models/digits/ready")[0] == 200, "Traefik leads to the Model")
    for path in ("/v2/repository/index", "/v2/models/digits/trace/setting", "/v2/models/text-detect", "/v2/logging"):
        assert front.ask(path)[0] == 404, path
    for path in ("infer", "versions", "versions/1/infer"):
        assert front.ask(f"/v2/models/digits/{path}/..%2f..%2f..%2frepository/index")[0] in (400, 404), path
    assert front.ask("/v2/repository/models/digits/unload", {})[0] == 404
    authority = [("grpc.default_authority", GRPC_HOST)]
    with InferenceServerClient(f"127.0.0.1:{front.port}", channel_args=authority) as client:
        with pytest.raises(InferenceServerException):
            client.unload_model("digits", client_timeout=10)
        assert client.is_model_ready("digits", client_timeout=10)


def test_a_server_that_goes_is_followed(front: Front) -> None:
    """Traefik leads to Pods, not to Services: it learns of their end by itself, and the routes of their weights."""
    _, test = load()
    front.eventually(lambda: front.digit(test.images[0]) is not None, "Traefik leads to the Model")
    (before,) = front.littoral.servers(front.littoral.server("digits", pool="edge"))
    answers = []
    front.littoral.cluster.run("delete", "pod", before["metadata"]["name"], "--namespace=shop", "--wait=false")

    def recovered() -> bool:
        answers.append(front.digit(test.images[len(answers) % 100]))
        pods = front.littoral.servers(front.littoral.server("digits", pool="edge"))
        return bool(pods) and len(answers) >= 100 and None not in answers[-50:]

    front.eventually(recovered, "requests are answered, and go on to be")
    print(f"{answers.count(None)} of {len(answers)} requests failed while the Pod was replaced")
