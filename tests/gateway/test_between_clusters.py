"""The gateway of a site sends what does not fit to the gateway of another cluster, each known by what the hub signs."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import grpc
import pytest
import pytest_asyncio
from tritonclient.grpc import service_pb2

from littoral.api.routes import GatewayCertificate, gateway_tls_name
from littoral.api.routing import HOP_HEADER, NextPool, Upstream
from littoral.hub.authority_signing import Authorities, Names, create, sign
from littoral.site import gateway_keys
from littoral.site.gateway_keys import Credentials
from tests.gateway.harness import Gateway, Load, Processes, until
from tests.gateway.upstream import LOOPBACK, FakeUpstream

Servers = tuple[FakeUpstream, FakeUpstream, FakeUpstream]

INFER = service_pb2.ModelInferRequest(model_name="digits")
EDGE, CLOUD = Names(pool="edge", member="store-12"), Names(pool="cloud")


def signed(credentials: Credentials, names: Names, authorities: Authorities, *, by: int = 0) -> Credentials:
    """What a site holds once the hub has signed its request."""
    certificate = sign(credentials.request, names=names, by=authorities.members[by], now=datetime.now(UTC))
    return gateway_keys.renewed(
        credentials, GatewayCertificate(certificate=certificate, authorities=authorities.bundle)
    )


def mount(credentials: Credentials, folder: Path) -> Path:
    """As the kubelet mounts the Secret: all files at once, by a link."""
    folder.mkdir(exist_ok=True)
    version = folder / f"..{len(list(folder.iterdir()))}"
    version.mkdir()
    for name, text in (
        ("tls.key", credentials.key),
        ("tls.crt", credentials.certificate),
        ("ca.crt", credentials.authorities),
    ):
        (version / name).write_text(text)
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(Path("..data") / name)
    staged = folder / "..next"
    staged.symlink_to(version.name)
    staged.replace(folder / "..data")
    return folder


@dataclass
class Pair:
    """A site and a cloud, of two clusters."""

    near: Processes
    far: Processes
    site: Gateway
    cloud: Gateway

    def way(self, *, address: str = LOOPBACK, tls_name: str = gateway_tls_name("cloud")) -> NextPool:
        """The cloud, as the site's routes name it."""
        port = self.far.secure_port
        gateway = Upstream(name="gateway-cloud", address=address, http_port=port, grpc_port=port, tls_name=tls_name)
        return NextPool(name="cloud", servers=(gateway,))

    async def up(self) -> None:
        """Wait until the site's gateway has found the cloud's."""
        await self.site.until_demand(lambda it: [s.state for s in it.servers if s.pool] == ["Up"])


@pytest.fixture
def authorities() -> Authorities:
    return Authorities((create(datetime.now(UTC)),))


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Without certificates yet."""
    for name in ("edge", "cloud", "edge-secret", "cloud-secret"):
        (tmp_path / name).mkdir()
    with (
        Processes(tmp_path / "edge", certificates=tmp_path / "edge-secret", site="store-12") as near,
        Processes(tmp_path / "cloud", certificates=tmp_path / "cloud-secret", site="cloud") as far,
    ):
        async with Gateway(near) as site, Gateway(far) as cloud:
            cloud.namespace, cloud.host = site.namespace, site.host
            yield Pair(near, far, site, cloud)


async def test_what_does_not_fit_is_answered_by_the_other_cluster_and_counted_once(
    pair: Pair, servers: Servers, authorities: Authorities, tmp_path: Path
) -> None:
    here, there, elsewhere = servers
    mount(signed(gateway_keys.create("edge"), EDGE, authorities), tmp_path / "edge-secret")
    mount(signed(gateway_keys.create("cloud"), CLOUD, authorities), tmp_path / "cloud-secret")
    await pair.cloud.apply(pair.cloud.route(there, next_to=elsewhere, limit=1, queue=2))
    # By name, as of a load balancer.
    await pair.site.apply(pair.site.route(here, next=(pair.way(address="localhost"),), limit=1))
    await pair.up()
    here.close()
    async with pair.site.grpc() as client:
        held = client.ModelInfer(INFER)
        await until(lambda: here.waiting == 1)
        assert (await pair.site.infer()).server == "b"
        assert there.headers[HOP_HEADER] == "store-12"
        assert (await client.ModelInfer(INFER)).id == "b"

        # There, it waits or is refused, and goes on to nobody; a client of that pool does.
        there.close()
        waiting = [asyncio.create_task(pair.site.infer()) for _ in range(2)]
        await until(lambda: there.waiting == 2)
        assert (await pair.site.infer()).status == 503
        assert not elsewhere.seen
        assert (await pair.cloud.infer()).server == "c"
        # Outstanding counts whoever sent it.
        await pair.cloud.until_demand(lambda it: it.outstanding == 2)
        there.open()
        assert {(await it).server for it in waiting} == {"b"}
        here.open()
        assert (await held).id == "a"

    near = (await pair.site.until_demand(lambda it: it.demand.arrived == 6)).demand
    assert (near.local, near.spilled, near.failed, near.received) == (1, 5, 1, 0)
    # The one that was refused there was tried again, as often as what fails on the way is.
    far = (await pair.cloud.until_demand(lambda it: it.demand.received >= 5 and it.demand.arrived == 1)).demand
    assert (far.local, far.spilled, far.refused, far.failed, far.latency.count) == (0, 1, 0, 0, 1)


async def test_only_gateways_that_the_hub_has_signed_for_are_let_in(
    pair: Pair, servers: Servers, authorities: Authorities, tmp_path: Path
) -> None:
    at_site = signed(gateway_keys.create("edge"), EDGE, authorities)
    mount(at_site, tmp_path / "edge-secret")
    mount(signed(gateway_keys.create("cloud"), CLOUD, authorities), tmp_path / "cloud-secret")
    await pair.cloud.apply(pair.cloud.route(servers[1]))
    await pair.site.apply(pair.site.route(next=(pair.way(),)))
    await pair.up()

    foreign = Authorities((create(datetime.now(UTC)),))
    stranger = mount(signed(gateway_keys.create("edge"), EDGE, foreign), tmp_path / "stranger")
    for folder, let_in in ((tmp_path / "edge-secret", True), (stranger, False), (None, False)):
        assert await _let_in(pair, authorities, folder) is let_in, folder
    # Nor does a site send anything to whoever shows another name, though the hub has signed for it.
    await pair.site.apply(pair.site.route(next=(pair.way(tls_name=gateway_tls_name("other")),)))
    assert (await pair.site.infer()).status in (502, 503)
    assert not servers[1].seen[1:]


async def _let_in(pair: Pair, authorities: Authorities, folder: Path | None) -> bool:
    context = ssl.create_default_context(cadata=authorities.bundle)
    if folder is not None:
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    url = f"https://{LOOPBACK}:{pair.far.secure_port}/v2/models/digits/infer"
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                url,
                ssl=context,
                server_hostname=gateway_tls_name("cloud"),
                headers={"Host": pair.cloud.host},
                data=b"x",
            ) as answer,
        ):
            assert answer.status == 200
    except (aiohttp.ClientError, ConnectionError):
        return False
    return True


async def test_a_site_serves_before_it_has_a_certificate_and_reaches_others_once_it_has(
    pair: Pair, servers: Servers, authorities: Authorities, tmp_path: Path
) -> None:
    here, there, _ = servers
    await pair.cloud.apply(pair.cloud.route(there))
    await pair.site.apply(pair.site.route(here, next=(pair.way(),), limit=1, queue=100))
    async with Load(pair.site) as load:
        await load.more(50)
        assert not there.seen
        mount(signed(gateway_keys.create("cloud"), CLOUD, authorities), tmp_path / "cloud-secret")
        mount(signed(gateway_keys.create("edge"), EDGE, authorities), tmp_path / "edge-secret")
        await pair.up()
        await until(lambda: there.seen)
        await load.more(50)
    assert not load.failures


async def test_keys_and_authorities_change_without_a_failed_request(
    pair: Pair, servers: Servers, authorities: Authorities, tmp_path: Path
) -> None:
    old = authorities
    both = Authorities((*old.members, create(datetime.now(UTC))))
    new = Authorities(both.members[1:])
    near, far = gateway_keys.create("edge"), gateway_keys.create("cloud")
    mount(signed(near, EDGE, old), tmp_path / "edge-secret")
    mount(signed(far, CLOUD, old), tmp_path / "cloud-secret")
    await pair.cloud.apply(pair.cloud.route(servers[1]))
    await pair.site.apply(pair.site.route(next=(pair.way(),)))
    await pair.up()
    async with Load(pair.site) as load:
        for trusted, by in ((old, 0), (both, 0), (both, 1), (new, 0)):
            # A new key each time, first at one side and then at the other.
            for folder, name, names, processes in (
                ("edge-secret", "edge", EDGE, pair.near),
                ("cloud-secret", "cloud", CLOUD, pair.far),
            ):
                credentials = signed(gateway_keys.create(name), names, trusted, by=by)
                mount(credentials, tmp_path / folder)
                await until(lambda p=processes, c=credentials: _uses(p, c), what="the new certificate")
                await load.more(30)
    assert not load.failures


def _uses(processes: Processes, credentials: Credentials) -> bool:
    with contextlib.suppress(OSError):
        shown = ssl.get_server_certificate((LOOPBACK, processes.secure_port))
        return ssl.PEM_cert_to_DER_cert(shown) == ssl.PEM_cert_to_DER_cert(credentials.certificate)
    return False


async def test_a_model_is_known_there_by_whatever_name_it_is_asked_for_here(
    pair: Pair, servers: Servers, authorities: Authorities, tmp_path: Path
) -> None:
    mount(signed(gateway_keys.create("edge"), EDGE, authorities), tmp_path / "edge-secret")
    mount(signed(gateway_keys.create("cloud"), CLOUD, authorities), tmp_path / "cloud-secret")
    await pair.cloud.apply(pair.cloud.route(servers[1]))
    # As clients ask that use the Service's address.
    here = "198.51.100.7"
    await pair.site.apply(pair.site.route(next=(pair.way(),), hosts=(here,)))
    await pair.up()
    assert (await pair.site.infer(host=here)).server == "b"
    assert (await pair.site.infer(host=f"{pair.site.host}.svc.cluster.local:8000")).server == "b"
    assert (await pair.cloud.infer(host=here)).status == 404
    async with pair.site.grpc(host=here) as client:
        assert (await client.ModelInfer(INFER)).id == "b"


async def test_what_streams_is_answered_by_the_other_cluster(
    pair: Pair, servers: Servers, authorities: Authorities, tmp_path: Path
) -> None:
    mount(signed(gateway_keys.create("edge"), EDGE, authorities), tmp_path / "edge-secret")
    mount(signed(gateway_keys.create("cloud"), CLOUD, authorities), tmp_path / "cloud-secret")
    await pair.cloud.apply(pair.cloud.route(servers[1]))
    await pair.site.apply(pair.site.route(next=(pair.way(),)))
    await pair.up()
    async with pair.site.grpc() as client:
        answers = [it.infer_response.id async for it in client.ModelStreamInfer(iter([INFER, INFER]))]
        assert answers == ["b", "b"]
        servers[1].code = grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await client.ModelInfer(INFER)
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
