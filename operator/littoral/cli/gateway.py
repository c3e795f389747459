"""`littoral gateway`: the program beside HAProxy."""

import asyncio
from pathlib import Path

import click

from littoral.cli.service import SERVICE

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings=SERVICE | {"auto_envvar_prefix": "LITTORAL_GATEWAY"})
@click.option("--config", type=_FILE, default="/etc/littoral/gateway.json", help="Desired state (gateway.json).")
@click.option(
    "--run",
    type=_FOLDER,
    default="/run/littoral",
    help="Shared with HAProxy: its configuration, maps, sockets and certificates.",
)
@click.option(
    "--state",
    type=_FOLDER,
    default="/var/lib/littoral",
    help="Where the last good desired state and the counters are kept.",
)
@click.option(
    "--bind",
    multiple=True,
    default=(":8000", ":8001"),
    metavar="[HOST]:PORT",
    help="Where clients are served, HTTP and gRPC alike.",
)
@click.option(
    "--secure-bind",
    multiple=True,
    default=(":8443",),
    metavar="[HOST]:PORT",
    help="Where other gateways are served, by their certificates; with --certificates.",
)
@click.option(
    "--certificates",
    type=_FOLDER,
    help="Folder with tls.crt, tls.key and ca.crt, for what goes to other gateways and comes from them.",
)
@click.option("--threads", type=click.IntRange(1, 64), help="Threads of HAProxy.  [default: one for each core]")
@click.option(
    "--max-connections", type=click.IntRange(min=16), default=8192, help="Clients' connections at the same time."
)
@click.option(
    "--compress-uplink", is_flag=True, help="Compress bodies over HTTP to other clusters; HAProxy 2.8 or later."
)
@click.option("--listen", default="0.0.0.0:9400", metavar="HOST:PORT", help="Where status and metrics are served.")
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", help="Form of the log lines.")
def gateway(log_format: str, **options: object) -> None:
    """Keep the HAProxy beside this process at its routes, and count what is asked.

    Each option can be given as an environment variable LITTORAL_GATEWAY_<OPTION>.
    """
    from littoral.agent import logs
    from littoral.gateway.main import Options, run

    logs.configure(log_format)
    asyncio.run(run(Options(**options)))  # type: ignore[arg-type]
