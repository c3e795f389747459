"""Gateways know each other by certificates, which are renewed while they run."""

from __future__ import annotations

import gzip
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from tritonclient.grpc import service_pb2

from lab.certificates import Authority
from littoral.api.routing import NextPool, Upstream
from tests.gateway.harness import Gateway, Processes, until
from tests.gateway.upstream import LOOPBACK, FakeUpstream

Servers = tuple[FakeUpstream, FakeUpstream, FakeUpstream]

INFER = service_pb2.ModelInferRequest(model_name="digits")


def _issue(authority: Authority, folder: Path, *, name: str) -> Path:
    """A folder as cert-manager's Secret is mounted."""
    folder.mkdir(exist_ok=True)
    certificate, key = authority.issue(folder.name, common_name=name, names=[name])
    for source, target in ((certificate, "tls.crt"), (key, "tls.key"), (authority.certificate, "ca.crt")):
        staged = folder / f".{target}"
        shutil.copy(source, staged)
        staged.replace(folder / target)
    return folder


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(directory=tmp_path / "authority")
    authority.create()
    return authority


async def test_a_cloud_gateway_serves_sites_only(tmp_path: Path, authority: Authority, servers: Servers) -> None:
    here, cloud, _ = servers
    at_site = _issue(authority, tmp_path / "site-certificates", name="store-12.sites.littoral.dev")
    in_cloud = _issue(authority, tmp_path / "cloud-certificates", name="cloud.littoral.dev")
    (tmp_path / "site").mkdir()
    (tmp_path / "cloud").mkdir()
    with (
        Processes(tmp_path / "site", certificates=at_site, site="store-12") as near,
        Processes(tmp_path / "cloud", certificates=in_cloud, site="cloud") as far,
    ):
        async with Gateway(near) as site, Gateway(far) as clouds:
            clouds.namespace, clouds.host = site.namespace, site.host
            await clouds.apply(clouds.route(cloud))

            def routed(name: str) -> NextPool:
                port = {"http_port": far.secure_port, "grpc_port": far.secure_port}
                gateway = Upstream(name="gateway", address=LOOPBACK, tls_name=name, **port)
                return NextPool(name="cloud", servers=(gateway,))

            await site.apply(site.route(here, next=(routed("cloud.littoral.dev"),), limit=1))
            here.close()
            async with site.grpc() as client:
                held = client.ModelInfer(INFER)
                await until(lambda: here.waiting == 1)
                assert (await site.infer()).server == "b"
                assert cloud.headers["littoral-spilled-from"] == "store-12"
                assert (await client.ModelInfer(INFER)).id == "b"

                # Renewed by the same authority: without a reload.
                before = (await clouds.status()).haproxy.pid
                for _ in range(3):
                    _issue(authority, in_cloud, name="cloud.littoral.dev")
                    await until(lambda: _serial(far.secure_port) == _serial_of(in_cloud))
                    assert (await site.infer()).server == "b"
                assert (await clouds.status()).haproxy.pid == before

                # Renewed on both sides, by an authority that nobody knew before.
                other = Authority(directory=tmp_path / "another")
                other.create()
                _issue(other, at_site, name="store-12.sites.littoral.dev")
                _issue(other, in_cloud, name="cloud.littoral.dev")
                for gateway in (near, far):
                    port = gateway.secure_port
                    await until(lambda port=port: _served(port, other, tmp_path, name="site-certificates"))
                    assert not await _served(port, authority, tmp_path, name="site-certificates")
                await site.until_demand(lambda it: [s.state for s in it.servers if s.pool] == ["Up"])
                assert (await site.infer()).server == "b"
                here.open()
                assert (await held).id == "a"
            # Whoever shows another name is not trusted with a request.
            here.close()
            await site.apply(site.route(next=(routed("else.littoral.dev"),)))
            assert (await site.infer()).status in (502, 503)
            # Nor is a client without a certificate.
            with pytest.raises(aiohttp.ClientError):
                await _ask(far.secure_port, _trusting(other))


async def _served(port: int, authority: Authority, folder: Path, *, name: str) -> bool:
    context = _trusting(authority)
    context.load_cert_chain(folder / name / "tls.crt", folder / name / "tls.key")
    try:
        await _ask(port, context)
    except aiohttp.ClientError:
        return False
    return True


def _trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.certificate))


async def _ask(port: int, context: ssl.SSLContext) -> None:
    # Only whether it is trusted is asked here, not by which name.
    context.check_hostname = False
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://{LOOPBACK}:{port}/", ssl=context, server_hostname="gateway") as answer,
    ):
        assert answer.status == 404


def _serial(port: int) -> int:
    # The certificate comes before the gateway asks for one, and is read here without an own.
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((LOOPBACK, port)).encode()).serial_number


def _serial_of(folder: Path) -> int:
    return x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes()).serial_number


def _haproxy_compresses() -> bool:
    """Whether the HAProxy here is of 2.8 or later, which compresses requests."""
    version = subprocess.run(["haproxy", "-v"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= (2, 8)


async def test_bodies_are_compressed_on_their_way_to_another_cluster(
    tmp_path: Path, authority: Authority, servers: Servers
) -> None:
    """Debian's HAProxy cannot; with a later one first on PATH this runs."""
    if not _haproxy_compresses():
        pytest.skip("HAProxy compresses requests from 2.8 on")
    _, cloud, _ = servers
    at_site = _issue(authority, tmp_path / "site-certificates", name="store-12.sites.littoral.dev")
    in_cloud = _issue(authority, tmp_path / "cloud-certificates", name="cloud.littoral.dev")
    for name in ("site", "cloud"):
        (tmp_path / name).mkdir()
    with (
        Processes(tmp_path / "site", certificates=at_site, options=("--compress-uplink",)) as near,
        Processes(tmp_path / "cloud", certificates=in_cloud) as far,
    ):
        async with Gateway(near) as site, Gateway(far) as clouds:
            clouds.namespace, clouds.host = site.namespace, site.host
            await clouds.apply(clouds.route(cloud))
            port = {"http_port": far.secure_port, "grpc_port": far.secure_port}
            gateway = Upstream(name="gateway", address=LOOPBACK, tls_name="cloud.littoral.dev", **port)
            await site.apply(site.route(next=(NextPool(name="cloud", servers=(gateway,)),)))
            body = b'{"inputs": [' + b"0.5, " * 20_000 + b"0.5]}"
            sent = {"Content_Type": "application/json"}
            assert (await site.infer(body=body, **sent)).server == "b"
            assert cloud.headers["content-encoding"] == "gzip"
            assert cloud.last == body  # as the server's own decoder reads it
            # What is compressed already stays as it is.
            packed = gzip.compress(body)
            assert (await site.infer(body=packed, Content_Encoding="gzip", **sent)).server == "b"
            assert cloud.last == body
            async with site.grpc() as client:
                assert (await client.ModelInfer(INFER)).id == "b"
