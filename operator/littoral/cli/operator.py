"""`littoral operator`: the hub and the site role."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

import click

from littoral.cli.service import SERVICE
from littoral.render.settings import CacheType


@click.command(context_settings=SERVICE | {"auto_envvar_prefix": "LITTORAL_OPERATOR"})
@click.option("--role", "roles", type=click.Choice(["hub", "site"]), multiple=True, default=("hub", "site"),
              help="Plan for all pools, run what is assigned to this cluster, or both.")  # fmt: skip
@click.option("--namespace", default="littoral-system", help="Namespace of the Lease and of gateways.")
@click.option("--lease", default="littoral-operator", help="Name of the Lease that elects the replica that writes.")
@click.option(
    "--identity", help="Name of this replica, such as its Pod's: the same after a restart, unique among replicas."
)
@click.option("--member", help="Name under which this cluster dials in to its hub; absent in the hub's own cluster.")
@click.option("--triton-image", required=True, help="Image of the Triton Inference Server.")
@click.option("--triton-command", default="tritonserver", help="Its command; empty for the image's own entrypoint.")
@click.option("--agent-image", required=True, help="Image with `littoral agent`.")
@click.option("--image-pull-policy", type=click.Choice(["Always", "IfNotPresent", "Never"]), help="For both images.")
@click.option("--image-pull-secret", "image_pull_secrets", multiple=True, help="Secret of each server's namespace.")
@click.option("--cache", type=click.Choice([kind.value for kind in CacheType]), default=CacheType.HOST_PATH.value,
              help="Where a node's artifacts are kept.")  # fmt: skip
@click.option("--cache-path", default="/var/lib/littoral/cache", help="The node's directory, for HostPath.")
@click.option("--cache-quota", default="",
              help="How large it may become, as 40Gi or 50% of the disk; empty: 10% stay free.")  # fmt: skip
@click.option("--signature-policy", type=click.Choice(["Off", "Warn", "Require"]), default="Off",
              help="What becomes of a Model that asks for no signature.")  # fmt: skip
@click.option("--files-root", default="/var/lib/littoral/files",
              help="The node's directory with file:// artifacts; empty to refuse them.")  # fmt: skip
@click.option("--ca-bundle", type=click.Path(path_type=Path, dir_okay=False),
              help="CA certificates (PEM) that https:// sources may have, beside the system's.")  # fmt: skip
@click.option("--sigstore-trusted-root", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Whose certificates and logs are believed (trusted_root.json); absent: the public Sigstore's.",
              )  # fmt: skip
@click.option("--drain", type=click.IntRange(min=0), default=5,
              help="Seconds between taking a server from its clients and stopping it.")  # fmt: skip
@click.option("--device-table", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Table of device classes (YAML) instead of the built-in one.")  # fmt: skip
@click.option("--forecast-quantile", type=click.FloatRange(0.75, 1, max_open=True), default=0.95,
              help="Be ready for demand that stays below its forecast with this probability.")  # fmt: skip
@click.option("--scale-down-after", type=click.FloatRange(min=0), default=120,
              help="Seconds after its last change before a server gets fewer replicas.")  # fmt: skip
@click.option("--scale-to-zero-after", type=click.FloatRange(min=0), default=0,
              help="Seconds without a request before a Model with minReplicas 0 is let go; 0: never.")  # fmt: skip
@click.option("--standby/--no-standby", default=True,
              help="Keep a replica in the cloud of each Model whose LatencySLO allows overflow.")  # fmt: skip
@click.option("--gateway/--no-gateway", default=False,
              help="Lead clients to a gateway in each pool that has routes, not straight to servers.")  # fmt: skip
@click.option("--gateway-image", default="", help="Image of HAProxy, 2.6 or later; with --gateway.")
@click.option("--gateway-replicas", type=click.IntRange(1, 16), default=1, help="Pods of each gateway.")
@click.option("--gateway-cpu", default="100m", help="CPU that each requests.")
@click.option("--gateway-memory", default="512Mi", help="Memory that each may take at most.")
@click.option("--gateway-api-parent", "gateway_api_parents", multiple=True, metavar="NS/NAME[/LISTENER]",
              help="A Gateway (Gateway API) that is to lead to the Models of this cluster.")  # fmt: skip
@click.option("--gateway-api-hostname", default="", metavar="TEMPLATE",
              help="Host name of each Model there, such as {model}.{namespace}.example.com.")  # fmt: skip
@click.option("--gateway-api-grpc-hostname", default="", metavar="TEMPLATE",
              help="The same for gRPC, never the same host name; empty: no GRPCRoutes.")  # fmt: skip
@click.option("--gateway-compress-uplink/--no-gateway-compress-uplink", default=False,
              help="Compress bodies over HTTP on their way to other clusters; HAProxy 2.8 or later.")  # fmt: skip
@click.option("--gateway-members-service-type", type=click.Choice(["LoadBalancer", "NodePort", "ClusterIP"]),
              default="LoadBalancer", help="Of the Service by which gateways of member clusters reach one here.",
              )  # fmt: skip
@click.option("--gateway-members-node-port", type=click.IntRange(1, 65535), help="Port of every node, of that Service.")
@click.option("--health-port", type=int, default=8080, help="Where the liveness probe is answered; 0: nowhere.")
@click.option("--metrics-port", type=int, default=9090, help="Where Prometheus finds metrics; 0: nowhere.")
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", help="Form of the log lines.")
@click.option("--verbose", is_flag=True, help="Log what is looked at, too, and not only what is done.")
def operator(
    roles: tuple[str, ...],
    namespace: str,
    lease: str,
    identity: str | None,
    member: str | None,
    triton_image: str,
    triton_command: str,
    agent_image: str,
    image_pull_policy: str | None,
    image_pull_secrets: tuple[str, ...],
    cache: str,
    cache_path: str,
    cache_quota: str,
    signature_policy: str,
    files_root: str,
    ca_bundle: Path | None,
    sigstore_trusted_root: Path | None,
    drain: int,
    device_table: Path | None,
    forecast_quantile: float,
    scale_down_after: float,
    scale_to_zero_after: float,
    standby: bool,
    gateway: bool,
    gateway_image: str,
    gateway_replicas: int,
    gateway_cpu: str,
    gateway_memory: str,
    gateway_compress_uplink: bool,
    gateway_members_service_type: str,
    gateway_members_node_port: int | None,
    gateway_api_parents: tuple[str, ...],
    gateway_api_hostname: str,
    gateway_api_grpc_hostname: str,
    health_port: int,
    metrics_port: int,
    log_format: str,
    verbose: bool,
) -> None:
    """Run the operator in this cluster, or against the current kubectl context.

    Each option can be given as an environment variable LITTORAL_OPERATOR_<OPTION>.

    \b
    Example:
      littoral operator --triton-image nvcr.io/nvidia/tritonserver:25.10-py3 --agent-image littoral:0.1.0
    """
    import kopf

    from littoral import manager
    from littoral.cluster.client import NoCluster
    from littoral.cluster.lease import LeadershipLost
    from littoral.core.hardware import InvalidDeviceTable
    from littoral.core.learning import LearnerTuning
    from littoral.core.planner import Tuning
    from littoral.render.gateway import GatewaySettings
    from littoral.render.gateway_api import GatewayApiSettings
    from littoral.render.settings import ServerSettings

    if gateway and not gateway_image:
        raise click.UsageError("--gateway needs --gateway-image, an image of HAProxy")
    if member and "hub" in roles:
        raise click.UsageError("--member is for a site whose hub is another cluster: give --role site and no other")
    try:
        gateway_api = (
            GatewayApiSettings.parse(
                parents=gateway_api_parents, http=gateway_api_hostname, grpc=gateway_api_grpc_hostname
            )
            if gateway_api_parents
            else None
        )
    except ValueError as error:
        raise click.UsageError(f"--gateway-api-...: {error}") from error
    kopf.configure(
        verbose=verbose,
        log_format=kopf.LogFormat.JSON if log_format == "json" else kopf.LogFormat.FULL,
    )
    # kopf tells of every event that it hands over and of every probe; what comes of them is told by the passes.
    for name in ("kopf.objects", "kopf.activities", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.WARNING)
    options = manager.Options(
        roles=frozenset(roles),
        namespace=namespace,
        lease=lease,
        identity=identity or f"{socket.gethostname()}_{os.getpid()}",
        member=member,
        health_port=health_port,
        metrics_port=metrics_port,
        device_table=device_table,
        learning=LearnerTuning(quantile=forecast_quantile, scale_to_zero_after=scale_to_zero_after or None),
        planning=Tuning(
            scale_down_after=scale_down_after, standby=standby, gateways=gateway or gateway_api is not None
        ),
        gateways=GatewaySettings(
            haproxy_image=gateway_image,
            agent_image=agent_image,
            pull_policy=image_pull_policy,
            image_pull_secrets=image_pull_secrets,
            replicas=gateway_replicas,
            cpu=gateway_cpu,
            memory=gateway_memory,
            compress_uplink=gateway_compress_uplink,
            members_service_type=gateway_members_service_type,
            members_node_port=gateway_members_node_port,
        )
        if gateway
        else None,
        gateway_api=gateway_api,
        servers=ServerSettings(
            triton_image=triton_image,
            triton_command=tuple(triton_command.split()) or None,
            agent_image=agent_image,
            pull_policy=image_pull_policy,
            image_pull_secrets=image_pull_secrets,
            cache=CacheType(cache),
            cache_path=cache_path,
            cache_quota=cache_quota,
            signature_policy=signature_policy,
            files_root=files_root or None,
            ca_bundle=ca_bundle.read_text() if ca_bundle and ca_bundle.exists() else "",
            sigstore_trusted_root=sigstore_trusted_root.read_text() if sigstore_trusted_root else "",
            drain=drain,
        ),
    )
    try:
        asyncio.run(manager.run(options))
    except (NoCluster, InvalidDeviceTable) as error:
        raise click.ClickException(str(error)) from error
    except LeadershipLost as error:
        click.echo(f"littoral operator: {error}; ending, so that a restart begins afresh", err=True)
        sys.exit(1)
