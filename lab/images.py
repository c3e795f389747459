"""The lab's images: built from ``images/`` where they are not what their sources say, and kept as OCI archives.

``python -m lab.images [NAME...]`` builds them by hand. An image is called ``localhost/<name>:<key>``, the key being
made of all that goes into it, and also ``localhost/<name>:lab``, the newest. See docs/images.md.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from lab import ingredients
from lab.archive import read_archive
from lab.buildah import PROGRAMS, Buildah
from lab.debian import require
from lab.errors import LabError
from lab.progress import step
from lab.state import cache_directory, exclusive

CHECKOUT = Path(__file__).resolve().parent.parent

_KEPT = 2  # archives of each image: the one in use, and the one before


@dataclass(frozen=True, kw_only=True)
class ImageArchive:
    """A built image: its name by content, the OCI archive that holds it, and its manifest's digest."""

    reference: str
    path: Path
    digest: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an image is made. Paths are relative to the checkout.

    Attributes:
        name: of the image, below ``localhost/``.
        containerfile: what buildah follows; a file ``<containerfile>.dockerignore`` beside it is heeded.
        context: the folder that COPY copies from.
        inputs: files and folders that the image depends on: a change of any makes it stale.
        requirements: files of pins whose wheels pip finds while building, and nothing else.
        prepare: adds to a copy of the context what is not in the checkout. With it, ``context`` is never written to.
        standalone: has no base, but a tree of this machine's Debian packages; left out where a base is named, since
            there may be none.
    """

    name: str
    containerfile: str
    context: str
    inputs: tuple[str, ...]
    requirements: tuple[str, ...] = ()
    prepare: Callable[[Path], None] | None = None
    standalone: bool = False


def _copy_networks(context: Path) -> None:
    command = [sys.executable, "-m", "examples.quickstart.networks", str(context / "networks")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"The quickstart's networks cannot be had:\n{done.stderr.strip()[-1500:]}")


def _make_tree(context: Path) -> None:
    packages = (context / "packages.txt").read_text().split()
    ingredients.debian_tree(context / "rootfs.tar", packages=packages)


RECIPES = (
    Recipe(
        name="littoral",
        containerfile="images/littoral/Containerfile",
        context=".",
        inputs=("LICENSE", "README.md", "images/littoral", "operator", "pyproject.toml", "requirements/runtime.txt"),
        requirements=("requirements/runtime.txt", "images/littoral/build.txt"),
    ),
    Recipe(
        name="triton",
        containerfile="images/triton-lab/Containerfile",
        context="images/triton-lab",
        inputs=("images/triton-lab",),
        requirements=("images/triton-lab/requirements.txt",),
    ),
    Recipe(
        name="quickstart-models",
        containerfile="images/quickstart-models/Containerfile",
        context="images/quickstart-models",
        inputs=("images/quickstart-models", "examples/quickstart/networks.py", "examples/quickstart/weights"),
        prepare=_copy_networks,
    ),
    Recipe(
        name="gateway",
        containerfile="images/gateway/Containerfile",
        context="images/gateway",
        inputs=("images/gateway",),
        prepare=_make_tree,
        standalone=True,
    ),
)
"""The images that the lab's nodes get, besides the pods' sandbox."""


def build(
    *, cache: Path, names: Sequence[str] | None = None, base: str | None = None, recipes: Sequence[Recipe] | None = None
) -> list[ImageArchive]:
    """Build the images ``names`` (without it, all that can be) that are stale, and find the others.

    ``recipes`` are others than the lab's own to choose from.
    ``base`` is a reference of an image with Python 3.11 to use in place of the lab's own, which is made of this
    machine's Debian packages. Raises ``LabError`` for an unknown name, or when a build fails.
    """
    offered = RECIPES if recipes is None else recipes
    known = {recipe.name: recipe for recipe in offered}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise LabError(f"{', '.join(unknown)}: no such image; there are {', '.join(known)}")
    every = [recipe for recipe in offered if base is None or not recipe.standalone]
    wanted = [known[name] for name in names] if names else every
    with exclusive(cache / "images" / ".lock", purpose="the images"):
        return [_ensure(recipe, cache=cache, base=base) for recipe in wanted]


def reference(recipe: Recipe, *, base: str | None = None) -> str:
    """The name of the image by its content, as a pod should call it: ``localhost/<name>:<key>``."""
    inputs = recipe.inputs if base is not None or recipe.standalone else ("images/base", *recipe.inputs)
    rule = f"{recipe.name} {recipe.containerfile} {recipe.context} {recipe.requirements} {base}"
    return f"localhost/{recipe.name}:{_key(rule, inputs)}"


def _ensure(recipe: Recipe, *, cache: Path, base: str | None) -> ImageArchive:
    name = reference(recipe, base=base)
    path = cache / "images" / f"{recipe.name}-{name.rpartition(':')[2]}.tar"
    if path.exists():
        os.utime(path)
        return ImageArchive(reference=name, path=path, digest=read_archive(path)[name])
    require(PROGRAMS)
    buildah = Buildah.below(cache / "images" / "storage")
    buildah.clean_up()
    parent = base or ("" if recipe.standalone else _ensure_base(buildah, cache=cache))
    with step(f"image {recipe.name}"):
        _build(recipe, buildah=buildah, image=name, base=parent, pull=base is not None, cache=cache)
        digest = buildah.save(name, archive=path, references=(name, f"localhost/{recipe.name}:lab"))
    _prune(recipe, buildah=buildah, folder=path.parent)
    return ImageArchive(reference=name, path=path, digest=digest)


def _build(recipe: Recipe, *, buildah: Buildah, image: str, base: str, pull: bool, cache: Path) -> None:
    containerfile = CHECKOUT / recipe.containerfile
    ignorefile = containerfile.with_name(f"{containerfile.name}.dockerignore")
    with tempfile.TemporaryDirectory(prefix="littoral-image-") as scratch:
        context = CHECKOUT / recipe.context
        if recipe.prepare is not None:
            context = shutil.copytree(context, Path(scratch, "context"))
            recipe.prepare(context)
        volumes: dict[Path, str] = {}
        if recipe.requirements:
            pins = [CHECKOUT / path for path in recipe.requirements]
            settings = Path(scratch, "pip.conf")
            settings.write_text("[global]\nno-index = true\nfind-links = /mnt/wheels\n")
            volumes = {ingredients.wheels(cache=cache, requirements=pins): "/mnt/wheels", settings: "/etc/pip.conf"}
        buildah.build(
            image,
            context=context,
            containerfile=containerfile,
            ignorefile=ignorefile if ignorefile.exists() else None,
            arguments={} if recipe.standalone else {"BASE": base},
            volumes=volumes,
            pull=pull,
        )


def _ensure_base(buildah: Buildah, *, cache: Path) -> str:
    """The lab's own base image, which stays in the storage: the others contain its layer."""
    folder = CHECKOUT / "images/base"
    name = f"localhost/base:{_key('base', ('images/base',))}"
    if not buildah.has(name):
        with step("image base"), tempfile.TemporaryDirectory(dir=cache / "images", prefix=".base-") as scratch:
            packages = (folder / "packages.txt").read_text().split()
            ingredients.debian_tree(Path(scratch, "rootfs.tar"), packages=packages)
            buildah.build(name, context=Path(scratch), containerfile=folder / "Containerfile")
    return name


def _prune(recipe: Recipe, *, buildah: Buildah, folder: Path) -> None:
    """Remove archives that are neither new nor the last before; another checkout may have use for that one."""
    names = [path for path in folder.glob(f"{recipe.name}-*.tar") if path.stem.rpartition("-")[0] == recipe.name]
    for path in sorted(names, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        path.unlink()
        buildah.remove(f"localhost/{recipe.name}:{path.stem.rpartition('-')[2]}")


def _key(rule: str, inputs: Iterable[str]) -> str:
    """Twelve hexadecimal digits that stand for the rule and for the files' names, modes and contents."""
    digest = hashlib.sha256(rule.encode())
    for name in inputs:
        for path in _files(CHECKOUT / name):
            mode = "x" if os.access(path, os.X_OK) else "-"
            digest.update(f"\0{path.relative_to(CHECKOUT)}\0{mode}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _files(path: Path) -> list[Path]:
    """The files at or below ``path``, less what Python leaves behind; none if there is nothing."""
    if path.is_file():
        return [path]
    ignored = {"__pycache__", ".mypy_cache", ".ruff_cache"}
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part in ignored or part.endswith(".egg-info") for part in file.parts)
    )


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--base", metavar="IMAGE", help="An image with Python 3.11, in place of the lab's own.")
def main(names: tuple[str, ...], base: str | None) -> None:
    """Build the lab's images that are stale, and name them."""
    try:
        for archive in build(cache=cache_directory(), names=names, base=base):
            click.echo(f"{archive.reference}  {archive.digest}  {archive.path}")
    except LabError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
