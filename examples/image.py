"""Build the image of the example applications and load it into a lab: `python -m examples.image --lab NAME`.

It is no part of what a lab starts with, since a lab has no use for it.
"""

from __future__ import annotations

import subprocess
import sys

import click

from lab.errors import LabError
from lab.images import CHECKOUT, Recipe, build
from lab.state import cache_directory

RECIPE = Recipe(
    name="examples",
    containerfile="images/examples/Containerfile",
    context=".",
    inputs=("images/examples", "examples/image_recognition", "examples/video_analytics", "examples/vision"),
    requirements=("images/examples/requirements.txt",),
)


@click.command()
@click.option("--lab", help="Load it into the nodes of this lab, which is up.")
@click.option("--base", metavar="IMAGE", help="An image with Python 3.11, in place of the lab's own.")
def main(*, lab: str | None, base: str | None) -> None:
    """Build the image `localhost/examples:lab` unless it is there already, and name it."""
    try:
        (archive,) = build(cache=cache_directory(), base=base, recipes=[RECIPE])
    except LabError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{archive.reference}  {archive.digest}  {archive.path}")
    if lab is not None:
        command = [sys.executable, "-m", "lab", "load-images", "--name", lab, str(archive.path)]
        sys.exit(subprocess.run(command, cwd=CHECKOUT, check=False).returncode)


if __name__ == "__main__":
    main()
