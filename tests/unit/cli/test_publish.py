"""`littoral publish` into a real registry, and back by the agent's own client."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from littoral.agent import archive, digest
from littoral.agent.errors import FetchError, SignatureError
from littoral.agent.fetch import Fetcher
from littoral.agent.progress import Progress
from littoral.agent.store import Entry
from littoral.agent.verify import Policy, Verifier
from littoral.api.model import VariantArtifact
from littoral.api.serving import Artifact, ServedModel
from littoral.cli.main import main
from littoral.optimize.errors import OptimizeError
from littoral.optimize.push import artifact_of, destination, manifest_of
from tests.support.tls import Authority, make_authority
from tests.unit.cli.registry import PASSWORD, USER, serve_registry


@dataclass(frozen=True)
class Registry:
    """A registry, and a client's view of it."""

    host: str
    authority: Authority

    def publish(self, *arguments: str, config: Path | None = None) -> Result:
        extra = [
            "--ca-file",
            str(self.authority.file),
            "--registry-config",
            str(config or self.authority.file.parent / "none"),
        ]
        (self.authority.file.parent / "none").write_text('{"auths": {}}')
        return CliRunner().invoke(main, ["publish", *arguments, *extra])

    def pull(self, block: dict[str, str], target: Path) -> str:
        """By the agent; the digest of what came."""
        fetcher = Fetcher(files_root=None, claims_root=target.parent, ca_file=self.authority.file)
        return f"sha256:{asyncio.run(fetcher.fetch(Artifact.parse(block), target, Progress()))}"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    root = tmp_path_factory.mktemp("registry")
    authority = make_authority(root / "tls")
    with serve_registry(root / "open", authority) as host:
        yield Registry(host, authority)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "digits.onnx"
    path.write_bytes(b"a network" * 1000)
    return path


@pytest.fixture
def intermediate(tmp_path: Path) -> Path:
    folder = tmp_path / "openvino-int8"
    (folder / "labels").mkdir(parents=True)
    for name in ("model.xml", "model.bin", "labels/classes.txt"):
        (folder / name).write_text(f"the file {name}")
    return folder


def printed(ran: Result) -> dict[str, Any]:
    assert ran.exit_code == 0, ran.stderr
    body: dict[str, Any] = yaml.safe_load(ran.stdout)
    return body


def test_a_file_comes_back_as_it_was(registry: Registry, network: Path, tmp_path: Path) -> None:
    block = printed(registry.publish(str(network), f"oci://{registry.host}/shop/digits:v1"))["artifact"]
    assert block["digest"] == f"sha256:{digest.of_file(network)}"
    assert re.match(rf"oci://{registry.host}/shop/digits:v1@sha256:[a-f0-9]{{64}}$", block["uri"])
    VariantArtifact.parse(block)
    assert registry.pull(block, tmp_path / "pulled") == block["digest"]
    assert (tmp_path / "pulled").read_bytes() == network.read_bytes()


def test_a_directory_comes_back_as_it_was(registry: Registry, intermediate: Path, tmp_path: Path) -> None:
    block = printed(registry.publish(str(intermediate), f"oci://{registry.host}/shop/detect:v1"))["artifact"]
    assert block["digest"] == f"sha256:{digest.of_directory(intermediate)}"
    assert registry.pull(block, tmp_path / "pulled") == block["digest"]
    assert (tmp_path / "pulled/labels/classes.txt").read_text() == "the file labels/classes.txt"


def test_a_directory_of_one_file_is_that_file(registry: Registry, network: Path, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    network.rename(folder / "model.onnx")
    block = printed(registry.publish(str(folder), f"oci://{registry.host}/shop/alone:v1"))["artifact"]
    assert registry.pull(block, tmp_path / "pulled") == block["digest"]


def test_an_archive_is_unpacked_by_the_agent(registry: Registry, intermediate: Path, tmp_path: Path) -> None:
    place = f"oci://{registry.host}/shop/packed:v1"
    block = printed(registry.publish(str(intermediate), place, "--archive", "tar.zst"))["artifact"]
    assert block["uri"] == f"{place}.tar.zst"
    assert block == printed(registry.publish(str(intermediate), place, "--archive", "tar.zst"))["artifact"]
    assert registry.pull(block, tmp_path / "pulled") == block["digest"]
    packing = archive.compression(Artifact.parse(block).path)
    assert packing == "zstd"
    files = archive.unpack(tmp_path / "pulled", tmp_path / "unpacked", threading.Event(), packing=packing)
    assert digest.of_manifest(files) == digest.of_directory(intermediate)


@dataclass(frozen=True)
class Release:
    """A key to sign with, and an agent that has the public one."""

    folder: Path
    key: ec.EllipticCurvePrivateKey

    def file(self, password: str = "") -> str:
        """The private key."""
        hidden = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        path = self.folder / "release.pem"
        path.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
        return str(path)

    def check(self, pulled: Path) -> None:
        """By the agent, which knows the key; raises SignatureError."""
        public = self.folder / "keys/release/cosign.pub"
        public.parent.mkdir(parents=True, exist_ok=True)
        public.write_bytes(self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        model = ServedModel.parse({
            "name": "digits", "variant": "onnx-cpu", "backend": "onnxruntime",
            "artifact": {"uri": "oci://registry.example/x", "digest": f"sha256:{digest.of_path(pulled)}"},
            "verification": {"publicKeySecretRef": {"name": "release"}},
        })  # fmt: skip

        async def nothing(artifact: Artifact, target: Path) -> None:
            raise FetchError("no signature is fetched")

        verifier = Verifier(policy=Policy.OFF, fetch=nothing, kept=self.folder / "kept", keys_root=self.folder / "keys")
        asyncio.run(verifier.check(model, Entry(name=digest.of_path(pulled), path=pulled, bytes=0)))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path, ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
@pytest.mark.parametrize("what", ["digits.onnx", "openvino-int8"])
def test_the_agent_accepts_what_is_signed(
    registry: Registry, network: Path, intermediate: Path, tmp_path: Path, what: str, curve: ec.EllipticCurve
) -> None:
    release = Release(tmp_path, ec.generate_private_key(curve))
    place = f"oci://{registry.host}/signed/{what}:v1"
    block = printed(registry.publish(str(tmp_path / what), place, "--sign", release.file()))["artifact"]
    assert registry.pull(block, tmp_path / "pulled") == block["digest"]
    release.check(tmp_path / "pulled")
    with pytest.raises(SignatureError, match="not made with this key"):
        Release(tmp_path, ec.generate_private_key(curve)).check(tmp_path / "pulled")
    (tmp_path / "pulled" / ("model.bin" if what == "openvino-int8" else what)).write_bytes(b"another")
    with pytest.raises(SignatureError, match="is another file"):
        release.check(tmp_path / "pulled")


def test_the_same_key_gives_the_same_digest(registry: Registry, network: Path, release: Release) -> None:
    arguments = (str(network), f"oci://{registry.host}/signed/same:v1", "--sign", release.file())
    first, second = (printed(registry.publish(*arguments))["artifact"] for _ in range(2))
    assert first == second


def test_a_signature_is_part_of_the_archive(
    registry: Registry, intermediate: Path, release: Release, tmp_path: Path
) -> None:
    place = f"oci://{registry.host}/signed/packed:v1"
    arguments = ("--archive", "tar.zst", "--sign", release.file())
    block = printed(registry.publish(str(intermediate), place, *arguments))["artifact"]
    registry.pull(block, tmp_path / "pulled")
    archive.unpack(tmp_path / "pulled", tmp_path / "unpacked", threading.Event(), packing="zstd")
    release.check(tmp_path / "unpacked")


def test_a_manifest_gets_the_digest_of_what_is_signed(
    registry: Registry, network: Path, release: Release, tmp_path: Path
) -> None:
    manifest = tmp_path / "model.yaml"
    before = {"uri": "file:///models/digits.onnx", "digest": f"sha256:{digest.of_file(network)}"}
    manifest.write_text(yaml.safe_dump({"artifact": before}))
    arguments = ("--sign", release.file(), "-f", str(manifest))
    block = printed(registry.publish(str(network), f"oci://{registry.host}/signed/m:v1", *arguments))["artifact"]
    assert yaml.safe_load(manifest.read_text()) == {"artifact": block}
    assert block["digest"] != before["digest"]


def test_an_encrypted_key(registry: Registry, network: Path, release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (str(network), f"oci://{registry.host}/signed/secret:v1", "--sign", release.file("open sesame"))
    monkeypatch.delenv("LITTORAL_KEY_PASSWORD", raising=False)
    assert "is encrypted: set LITTORAL_KEY_PASSWORD" in registry.publish(*arguments).stderr
    monkeypatch.setenv("LITTORAL_KEY_PASSWORD", "wrong")
    assert "LITTORAL_KEY_PASSWORD is wrong" in registry.publish(*arguments).stderr
    monkeypatch.setenv("LITTORAL_KEY_PASSWORD", "open sesame")
    assert registry.publish(*arguments).exit_code == 0


def test_what_is_no_key_is_said(registry: Registry, network: Path, release: Release, tmp_path: Path) -> None:
    place = f"oci://{registry.host}/signed/none:v1"
    assert "is not a private key in PEM" in registry.publish(str(network), place, "--sign", str(network)).stderr
    other = Release(tmp_path, ec.generate_private_key(ec.SECP256K1()))
    assert "not a key on a curve" in registry.publish(str(network), place, "--sign", other.file()).stderr


def test_what_is_there_is_not_sent_again(registry: Registry, network: Path) -> None:
    network.write_bytes(b"another network" * 1000)
    place = f"oci://{registry.host}/shop/again:v1"
    assert f"{network.stat().st_size} bytes sent" in registry.publish(str(network), place).stderr
    second = registry.publish(str(network), place.replace("v1", "v2"))
    assert "digits.onnx: already there" in second.stderr
    assert f" 0 of {network.stat().st_size} bytes sent" in second.stderr


def test_a_manifest_is_rewritten(registry: Registry, network: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "model.yaml"
    text = f"""\
apiVersion: littoral.dev/v1alpha1
kind: Model
metadata: {{name: digits, namespace: shop}}
spec:
  variants:
  - name: onnx-cpu  # stays
    accelerator: cpu
    backend: onnxruntime
    artifact: {{uri: file:///models/digits.onnx, digest: "sha256:{digest.of_file(network)}"}}
"""
    manifest.write_text(text)
    block = printed(registry.publish(str(network), f"oci://{registry.host}/s/d:v1", "-f", str(manifest)))["artifact"]
    assert manifest.read_text() == text.replace("file:///models/digits.onnx", block["uri"])
    assert CliRunner().invoke(main, ["validate", "--strict", str(manifest)]).exit_code == 0


def test_a_manifest_that_names_something_else_is_left_alone(registry: Registry, network: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "model.yaml"
    manifest.write_text("kind: Model\n")
    ran = registry.publish(str(network), f"oci://{registry.host}/s/d:v1", "-f", str(manifest))
    assert ran.exit_code == 1
    assert "none of its artifacts has the digest sha256:" in ran.stderr
    assert manifest.read_text() == "kind: Model\n"


def test_all_that_optimize_has_written(registry: Registry, network: Path, intermediate: Path, tmp_path: Path) -> None:
    artifacts = tmp_path / "out/artifacts"
    (artifacts / "onnx-int8").mkdir(parents=True)
    network.rename(artifacts / "onnx-int8/model.onnx")
    intermediate.rename(artifacts / "openvino-int8")
    (artifacts / "unnamed").mkdir()
    (artifacts / "unnamed/model.onnx").write_text("of another time")
    known = {
        "onnx-int8": f"sha256:{digest.of_file(artifacts / 'onnx-int8/model.onnx')}",
        "openvino-int8": f"sha256:{digest.of_directory(artifacts / 'openvino-int8')}",
    }
    manifest = tmp_path / "out/model.yaml"
    # Two variants of one artifact, as those for different devices are.
    blocks = [{"artifact": {"uri": "file:///x", "digest": it}} for it in (*known.values(), known["openvino-int8"])]
    manifest.write_text(yaml.safe_dump({"kind": "Model", "spec": {"variants": blocks}}))
    body = printed(registry.publish("-f", str(manifest), f"oci://{registry.host}/shop/all:v1"))
    found = {block["digest"]: block["uri"] for block in body["artifacts"]}
    assert set(found) == set(known.values())
    assert "/shop/all:v1-openvino-int8" in found[known["openvino-int8"]]
    written = [it["artifact"] for it in yaml.safe_load(manifest.read_text())["spec"]["variants"]]
    assert [it["uri"] for it in written] == [found[it["digest"]] for it in written]
    assert registry.pull(written[2], tmp_path / "pulled") == known["openvino-int8"]


def test_a_closed_registry_wants_to_know_who_asks(network: Path, tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "tls")
    config = tmp_path / "config.json"
    with serve_registry(tmp_path / "closed", authority, closed=True) as host:
        registry = Registry(host, authority)
        place = f"oci://{host}/shop/digits:v1"
        refused = registry.publish(str(network), place)
        assert refused.exit_code == 1
        assert f"{host}: the registry answered 401 Unauthorized" in refused.stderr
        assert "log in with docker login" in refused.stderr
        for password, code in (("wrong", 1), (PASSWORD, 0)):
            auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
            config.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
            ran = registry.publish(str(network), place, config=config)
            assert ran.exit_code == code, ran.stderr
            assert password not in ran.stderr + ran.stdout


def test_a_registry_that_cannot_be_trusted(registry: Registry, network: Path) -> None:
    ran = CliRunner().invoke(main, ["publish", str(network), f"oci://{registry.host}/shop/digits:v1"])
    assert ran.exit_code == 1
    assert "certificate" in ran.stderr


def test_a_registry_that_is_not_there(network: Path) -> None:
    ran = CliRunner().invoke(main, ["publish", str(network), "oci://127.0.0.1:1/shop/digits:v1"])
    assert ran.exit_code == 1
    assert ran.stderr.startswith("Error: 127.0.0.1:1: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.onnx", "registry.example/x:v1"], "the last argument says where to push"),
        (["oci://registry.example/x:v1"], "there is nothing to push"),
        (["nowhere.onnx", "oci://registry.example/x:v1"], "No such file"),
        (["nowhere.onnx", "oci://registry.example"], "an OCI artifact is oci://<host>/<repository>"),
        (["nowhere.onnx", f"oci://registry.example/x@sha256:{'a' * 64}"], "name a tag"),
    ],
)
def test_wrong_arguments_are_said(arguments: list[str], message: str) -> None:
    ran = CliRunner().invoke(main, ["publish", *arguments])
    assert ran.exit_code == 1
    assert message in ran.stderr


def test_the_same_files_have_the_same_manifest(intermediate: Path, tmp_path: Path) -> None:
    one = manifest_of(artifact_of([intermediate]))
    other = intermediate.rename(tmp_path / "elsewhere")
    (other / "model.xml").touch()
    assert manifest_of(artifact_of([other])) == one


def test_two_files_of_one_name_are_refused(intermediate: Path, tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("another")
    with pytest.raises(OptimizeError, match=r"there is another model\.xml"):
        artifact_of([intermediate, tmp_path / "model.xml"])


def test_links_are_refused(intermediate: Path) -> None:
    (intermediate / "link").symlink_to("/etc/hostname")
    with pytest.raises(OptimizeError, match="link"):
        artifact_of([intermediate])


def test_no_tag_is_the_latest() -> None:
    assert destination("oci://registry.example/shop/digits").tag == "latest"
