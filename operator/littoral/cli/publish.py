"""`littoral publish`: artifacts into an OCI registry, and what a Model's manifest says of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from littoral.cli.failures import Failure
from littoral.cli.options import EndsWithOne, document

if TYPE_CHECKING:
    from littoral.agent.sources.oci import Reference
    from littoral.optimize.push import Pushed

ARCHIVE: Final = "tar.zst"
"""How an archive's name ends."""

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(cls=EndsWithOne)
@click.argument("what", nargs=-1, required=True, metavar="[FILE|DIRECTORY]... oci://HOST/REPOSITORY:TAG")
@click.option("-f", "--filename", "manifest", type=_FILE, metavar="FILE",
              help="Manifest to rewrite: artifacts whose digest was pushed get the new URI.")  # fmt: skip
@click.option("--sign", "key", type=_FILE, metavar="KEY.pem",
              help="Sign the files with this private key; the signature becomes one of them.")  # fmt: skip
@click.option("--archive", type=click.Choice((ARCHIVE,)),
              help="Push one packed file instead of the files; the tag gets this ending.")  # fmt: skip
@click.option("--registry-config", type=_FILE, metavar="FILE",
              help="Credentials, as docker login writes them.  [default: $DOCKER_CONFIG/config.json, else "
                   "~/.docker/config.json]")  # fmt: skip
@click.option("--ca-file", type=_FILE, metavar="FILE",
              help="Certificate authorities that are trusted besides the system's (PEM).")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Do not say what is being done.")
@click.option("-o", "output", type=click.Choice(("yaml", "json")), default="yaml", show_default=True,
              help="Form of the output.")  # fmt: skip
def publish(
    what: tuple[str, ...],
    manifest: Path | None,
    key: Path | None,
    archive: str | None,
    registry_config: Path | None,
    ca_file: Path | None,
    quiet: bool,
    output: str,
) -> None:
    """Push artifacts to an OCI registry.

    All paths together become one artifact, a layer for each file, as ORAS pushes them: a file stays a file for the
    agent that pulls it, and several become a directory. Prints the artifact of a Model's variant. The same files always
    get the same digest, and what the registry has already is not sent again.

    A signature (--sign) is one more file, model.sig, in the form of model_signing: what is signed is a directory. A
    Model whose spec.verification names the public key loads nothing else. LITTORAL_KEY_PASSWORD opens an encrypted key.

    With -f and no path, everything in the directory artifacts/ beside the manifest that the manifest names is pushed,
    as littoral optimize has written it, each under the tag with its name added: v1-onnx-int8.

    \b
    Examples:
      littoral publish digits.onnx oci://registry.example/shop/digits:v1
      littoral publish openvino-int8/ oci://registry.example/shop/detect:int8 --archive tar.zst
      littoral publish digits.onnx oci://registry.example/shop/digits:v1 --sign release.pem
      littoral publish -f digits-optimized/model.yaml oci://registry.example/shop/digits:v1
    """
    from littoral.optimize.errors import OptimizeError
    from littoral.optimize.push import artifact_of, destination
    from littoral.optimize.rewrite import Location, relocated

    *paths, last = what
    if not last.startswith("oci://"):
        raise click.UsageError(f"the last argument says where to push: oci://HOST/REPOSITORY:TAG, not {last}")
    if not paths and manifest is None:
        raise click.UsageError("there is nothing to push: name files or directories, or a manifest with -f")
    try:
        reference = destination(last)
        jobs = [(tuple(Path(path) for path in paths), reference)] if paths else _named_by(manifest, reference)
        before = [artifact_of(paths).digest for paths, _ in jobs]
        pushed = asyncio.run(
            _push_all(jobs, key=key, archive=archive, config=_config(registry_config), ca_file=ca_file, quiet=quiet)
        )
        blocks = [artifact_block(one) for one in pushed]
        if manifest is not None:
            # What a signature or an archive has changed stands in the manifest as it was before.
            places = {block["digest"]: Location(**block) for block in blocks}
            places |= {digest: Location(**block) for digest, block in zip(before, blocks, strict=True)}
            text, count = relocated(manifest.read_text("utf-8"), places)
            if not count:
                raise OptimizeError(f"{manifest}: none of its artifacts has the digest {before[0]}")
            manifest.write_text(text, "utf-8")
    except (OptimizeError, OSError, UnicodeDecodeError) as error:
        raise Failure(str(error)) from error
    body: dict[str, Any] = {"artifact": blocks[0]} if len(blocks) == 1 else {"artifacts": blocks}
    click.echo(document(body, output=output))


def artifact_block(pushed: Pushed) -> dict[str, str]:
    """What a variant's `artifact` is: the manifest's digest in its URI, so that nobody can move the tag away from it,
    and the digest of the content. An agent knows an archive by the end of its URI, which is then that of the tag."""
    packed = pushed.reference.tag.endswith(f".{ARCHIVE}")
    return {"uri": pushed.uri if packed else pushed.pinned, "digest": pushed.digest}


def _named_by(manifest: Path | None, reference: Reference) -> list[tuple[tuple[Path, ...], Reference]]:
    """The artifacts beside a manifest that it names by their digests, each with a tag of its own."""
    from littoral.optimize.errors import OptimizeError
    from littoral.optimize.push import artifact_of, tagged
    from littoral.optimize.rewrite import digests

    assert manifest is not None
    wanted = digests(manifest.read_text("utf-8"))
    folder = manifest.parent / "artifacts"
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found = [((path,), tagged(reference, f"{reference.tag}-{path.name}")) for path in folders]
    named: list[tuple[tuple[Path, ...], Reference]] = [
        (paths, place) for paths, place in found if artifact_of(paths).digest in wanted
    ]
    if not named:
        raise OptimizeError(f"{folder} holds nothing that {manifest.name} names by its digest")
    return named


async def _push_all(
    jobs: Sequence[tuple[Sequence[Path], Reference]],
    *,
    key: Path | None,
    archive: str | None,
    config: Path,
    ca_file: Path | None,
    quiet: bool,
) -> list[Pushed]:
    from littoral.optimize.push import artifact_of, login_from, prepared, push, tagged

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    pushed = []
    for paths, wanted in jobs:
        packed = archive is not None and not wanted.tag.endswith(f".{archive}")
        reference = tagged(wanted, f"{wanted.tag}.{archive}") if packed else wanted
        with prepared(paths, archive=archive, key=key, name=paths[0].resolve().stem) as files:
            artifact = artifact_of(files)
            login = login_from(config, reference)
            pushed.append(await push(artifact, reference, login=login, ca_file=ca_file, say=say))
            say(f"{pushed[-1].pinned}: {pushed[-1].sent} of {pushed[-1].size} bytes sent")
    return pushed


def _config(given: Path | None) -> Path:
    return given or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
