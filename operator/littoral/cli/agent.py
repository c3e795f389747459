"""`littoral agent`: the program beside Triton."""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from littoral.cli.service import SERVICE

if TYPE_CHECKING:
    from littoral.agent.store import Quota

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """A duration as Kubernetes writes it, `5s` or `1m30s`; the value is in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, or a usage error."""
        if isinstance(value, float):
            return value
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", str(value))
        if not parts or "".join(number + unit for number, unit in parts) != value:
            self.fail(f"{value!r} is not a duration such as 5s or 1m30s", param, ctx)
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)


class Bandwidth(click.ParamType[float]):
    """Bytes per second as a Kubernetes quantity, `10Mi`."""

    name = "bytes per second"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Bytes per second, or a usage error."""
        from littoral.api.quantity import parse_quantity

        try:
            rate = float(parse_quantity(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if rate < 1024:
            self.fail("it would take forever: give 1Ki or more, in bytes per second", param, ctx)
        return rate


class CacheQuota(click.ParamType["Quota"]):
    """How large the cache may become, `40Gi` or `50%` of its disk."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> "Quota":
        """The quota, or a usage error."""
        from littoral.agent.store import Quota

        try:
            return Quota.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings=SERVICE | {"auto_envvar_prefix": "LITTORAL_AGENT"})
@click.option("--config", type=_FILE, default="/etc/littoral/server.json", help="Desired state (server.json).")
@click.option("--peers", type=_FILE, help="Other agents of the site, which are asked first (peers.json).")
@click.option(
    "--cache", type=_FOLDER, default="/var/lib/littoral", help="Artifacts by digest; shared by a node's agents."
)
@click.option(
    "--cache-quota",
    type=CacheQuota(),
    default="",
    help="How large the cache may become, such as 40Gi or 50% of its disk.  [default: until 10% of the disk are free]",
)
@click.option("--state", type=_FOLDER, help="Where the last good desired state is kept.  [default: <cache>/state]")
@click.option("--repository", type=_FOLDER, default="/models", help="Triton's model repository.")
@click.option(
    "--triton", default="127.0.0.1:8000", metavar="HOST:PORT", help="Triton's HTTP endpoint: whether it answers."
)
@click.option(
    "--triton-grpc", default="127.0.0.1:8001", metavar="HOST:PORT", help="Triton's gRPC endpoint: load, unload."
)
@click.option("--listen", default="0.0.0.0:9400", metavar="HOST:PORT", help="Where status and metrics are served.")
@click.option("--files-root", type=_FOLDER, help="What file:// artifacts may reach; they are refused without it.")
@click.option(
    "--claims-root", type=_FOLDER, default="/artifacts", help="Where the claims of pvc:// artifacts are mounted."
)
@click.option(
    "--credentials-root", type=_FOLDER, help="Where the Secrets that artifacts name are mounted, one folder each."
)
@click.option("--ca-file", type=_FILE, help="Certificate authorities to trust besides the system's (PEM).")
@click.option(
    "--signature-policy",
    type=click.Choice(["Off", "Warn", "Require"]),
    default="Off",
    show_default=True,
    help="What becomes of a Model that asks for no signature.",
)
@click.option("--keys-root", type=_FOLDER, help="Where the Secrets with public keys are mounted, one folder each.")
@click.option(
    "--sigstore-trusted-root",
    type=_FILE,
    help="Whose certificates and logs are believed (trusted_root.json).  [default: the public Sigstore's]",
)
@click.option(
    "--decrypted-root",
    type=_FOLDER,
    help="Folder in memory (tmpfs) for encrypted artifacts; they are refused without it.",
)
@click.option(
    "--identities-root", type=_FOLDER, help="Where the Secrets with age identities are mounted, one folder each."
)
@click.option("--max-bytes", type=click.IntRange(min=1), default=64 << 30, help="The largest artifact that is fetched.")
@click.option(
    "--bandwidth",
    type=Bandwidth(),
    help="What all fetches together may take, in bytes per second, such as 10Mi.  [default: no cap]",
)
@click.option(
    "--drain", type=Duration(), default="5s", help="Time between the report that a model is going and its unloading."
)
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", help="Form of the log lines.")
def agent(log_format: str, cache: Path, state: Path | None, signature_policy: str, **options: object) -> None:
    """Keep the Triton beside this process at its desired state.

    Each option can be given as an environment variable LITTORAL_AGENT_<OPTION>.
    """
    from littoral.agent import logs
    from littoral.agent.main import Options, run
    from littoral.agent.verify import Policy

    logs.configure(log_format)
    policy = Policy(signature_policy)
    state = state or cache / "state"
    asyncio.run(run(Options(cache=cache, state=state, signature_policy=policy, **options)))  # type: ignore[arg-type]
