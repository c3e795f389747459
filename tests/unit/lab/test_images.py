"""Images are built when, and only when, something that goes into them has changed."""

import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from lab import images
from lab.archive import read_archive, write_archive
from lab.buildah import Buildah
from lab.errors import LabError
from lab.images import RECIPES, ImageArchive, Recipe, build, reference
from lab.ingredients import SUITE, debian_tree

RECIPE = Recipe(name="shop", containerfile="images/shop/Containerfile", context="images/shop", inputs=("images/shop",))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one image of one file."""
    folder = tmp_path / "checkout"
    (folder / "images/shop").mkdir(parents=True)
    (folder / "images/base").mkdir()
    (folder / "images/base/packages.txt").write_text("python3\n")
    (folder / "images/shop/Containerfile").write_text("FROM scratch\nCOPY program /\n")
    (folder / "images/shop/program").write_text("one")
    monkeypatch.setattr(images, "CHECKOUT", folder)
    monkeypatch.setattr(images, "RECIPES", (RECIPE,))
    return folder


def archive_for(cache: Path, name: str) -> ImageArchive:
    """Put an archive into the cache as if the image of that reference had been built."""
    program = cache / "program"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_bytes(b"\x7fELF")
    path = cache / "images" / f"{name.removeprefix('localhost/').replace(':', '-')}.tar"
    digest = write_archive(path, reference=name, program=program, name="program")
    return ImageArchive(reference=name, path=path, digest=digest)


def test_the_name_is_that_of_the_content(checkout: Path) -> None:
    before = reference(RECIPE)
    assert before.startswith("localhost/shop:")
    (checkout / "images/shop/program").write_text("two")
    after = reference(RECIPE)
    assert after != before
    (checkout / "images/shop/program").write_text("one")
    assert reference(RECIPE) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "images/shop/program").chmod(0o755),
        lambda folder: (folder / "images/shop/program").rename(folder / "images/shop/renamed"),
        lambda folder: (folder / "images/shop/another").write_text(""),
        lambda folder: (folder / "images/base/packages.txt").write_text("python3\nbusybox\n"),
    ],
    ids=["mode", "name", "new file", "base"],
)
def test_whatever_goes_in_changes_the_name(checkout: Path, change: object) -> None:
    before = reference(RECIPE)
    assert callable(change)
    change(checkout)
    assert reference(RECIPE) != before


def test_what_python_leaves_behind_does_not_change_the_name(checkout: Path) -> None:
    before = reference(RECIPE)
    (checkout / "images/shop/__pycache__").mkdir()
    (checkout / "images/shop/__pycache__/program.pyc").write_text("")
    (checkout / "images/shop/shop.egg-info").mkdir()
    (checkout / "images/shop/shop.egg-info/PKG-INFO").write_text("")
    assert reference(RECIPE) == before


def test_another_base_is_another_image_and_the_lab_s_own_base_no_matter(checkout: Path) -> None:
    ours, public = reference(RECIPE), reference(RECIPE, base="python:3.11")
    assert ours != public
    (checkout / "images/base/packages.txt").write_text("python3\nbusybox\n")
    assert reference(RECIPE, base="python:3.11") == public


def test_an_image_without_a_base_has_nothing_to_do_with_any(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = replace(RECIPE, standalone=True)
    before = reference(alone)
    (checkout / "images/base/packages.txt").write_text("python3\nbusybox\n")
    assert reference(alone) == before
    # Where a base is named, there may be no Debian to make it of.
    monkeypatch.setattr(images, "RECIPES", (alone,))
    assert build(cache=tmp_path / "cache", base="python:3.11") == []


def test_an_image_that_is_there_is_not_built_again(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = archive_for(tmp_path / "cache", reference(RECIPE))
    monkeypatch.setenv("PATH", "")  # No buildah: a build would fail.
    assert build(cache=tmp_path / "cache") == [built]
    assert build(cache=tmp_path / "cache", names=["shop"]) == [built]


def test_an_unknown_image_is_an_error_that_names_the_known(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="shoe: no such image; there are shop"):
        build(cache=tmp_path, names=["shoe"])


@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed")
def test_buildah_builds_from_nothing_and_the_archive_has_both_names(checkout: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the lab's storage belongs to root")
    cache = tmp_path / "cache"
    old = [archive_for(cache, f"localhost/shop:{number:012x}") for number in range(3)]
    for age, archive in enumerate(reversed(old), start=1):
        os.utime(archive.path, (1e9 - age, 1e9 - age))
    (built,) = build(cache=cache, base="scratch")
    assert read_archive(built.path) == dict.fromkeys(
        [reference(RECIPE, base="scratch"), "localhost/shop:lab"], built.digest
    )
    with tarfile.open(built.path) as tar:
        manifest = json.load(tar.extractfile(f"blobs/{built.digest.replace(':', '/')}") or pytest.fail("no manifest"))
    assert len(manifest["layers"]) == 1
    assert sorted(cache.glob("images/shop-*.tar")) == sorted([old[-1].path, built.path])


@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed")
def test_a_failed_build_shows_what_buildah_said(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY absent /\n")
    buildah = Buildah.below(tmp_path / "storage")
    with pytest.raises(LabError, match=r"buildah build failed(.|\n)*absent"):
        buildah.build("localhost/x:y", context=tmp_path, containerfile=tmp_path / "Containerfile")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_what_is_copied_from_the_context_makes_the_name(recipe: Recipe) -> None:
    """Else a change of it would go unnoticed."""
    known = [Path(images.CHECKOUT, name) for name in (*recipe.inputs, recipe.containerfile)]
    prepared = {"networks"} if recipe.prepare else set()
    for line in (images.CHECKOUT / recipe.containerfile).read_text().splitlines():
        words = line.split()
        if words[:1] != ["COPY"] or words[1].startswith("--from"):
            continue
        for source in set(words[1:-1]) - prepared:
            path = images.CHECKOUT / recipe.context / source.rstrip("*")
            assert any(path.is_relative_to(name) for name in known), f"{source} is none of the inputs"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        (
            "x.sources",
            f"Types: deb\nURIs: http://mirror.invalid/debian\nSuites: {SUITE} other\nComponents: main\n",
            True,
        ),
        ("x.sources", f"Types: deb\nURIs: http://mirror.invalid/tool\nSuites: {SUITE}\nComponents: stable\n", False),
        ("x.sources", f"Suites: {SUITE}-security\nComponents: main\n\nSuites: other\nComponents: main\n", False),
        ("x.list", f"deb [arch=amd64] http://mirror.invalid/debian {SUITE} main contrib\n", True),
        ("x.list", f"# deb http://mirror.invalid/debian {SUITE} main\n", False),
    ],
)
def test_apt_sources_are_told_from_those_of_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, found: bool
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / name).write_text(text)
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr("lab.ingredients._APT", tmp_path)
    monkeypatch.setattr("lab.ingredients._run", lambda *command: commands.append(command))
    if found:
        debian_tree(tmp_path / "tree.tar", packages=["python3"])
        assert commands[0][-2:] == (str(tmp_path / "tree.tar"), str(tmp_path / "sources.list.d" / name))
    else:
        with pytest.raises(LabError, match="No apt source"):
            debian_tree(tmp_path / "tree.tar", packages=["python3"])
