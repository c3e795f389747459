"""From an artifact to a version directory and a config.pbtxt."""

from pathlib import Path

import pytest

from littoral.agent import pbtxt
from littoral.agent.errors import ArtifactError
from littoral.agent.layout import fingerprint, install
from littoral.api.serving import Artifact, ServedModel


def model(
    *, backend: str = "onnxruntime", uri: str = "https://models.example/net.bin", digit: str = "0", **parameters: str
) -> ServedModel:
    return ServedModel(
        name="digits",
        variant="cpu",
        backend=backend,
        artifact=Artifact(uri=uri, digest="sha256:" + digit * 64),
        parameters=parameters,
    )


def make(root: Path, *paths: str, **texts: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    for name, text in texts.items():
        (root / name.replace("_", ".")).write_text(text)
    return root


@pytest.mark.parametrize(
    ("backend", "uri", "name"),
    [
        ("onnxruntime", "https://models.example/net.bin", "model.onnx"),
        ("onnxruntime", "https://models.example/net.onnx?signature=x.y", "model.onnx"),
        ("tensorrt", "file:///files/net.engine", "model.plan"),
        ("openvino", "https://models.example/net.xml", "model.xml"),
        ("openvino", "https://models.example/net.onnx", "model.onnx"),
        ("pytorch", "pvc://claim/net.torchscript", "model.pt"),
        ("python", "pvc://claim/adder.py", "model.py"),
        ("custom", "https://models.example/a/net.weights?x=1", "net.weights"),
    ],
)
def test_a_file_gets_the_name_its_backend_looks_for(tmp_path: Path, backend: str, uri: str, name: str) -> None:
    artifact = tmp_path / "artifact"
    artifact.touch()
    installed = install(model(backend=backend, uri=uri), artifact, 3)
    assert installed.links == {f"3/{name}": str(artifact)}
    default = {"onnxruntime": "model.onnx", "tensorrt": "model.plan", "openvino": "model.xml"}.get(backend, name)
    stated = f'default_model_filename: "{name}"' in installed.config
    assert stated == (name != default or backend == "custom")


def test_the_configuration_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "artifact").touch()
    installed = install(model(threads='"4"'), tmp_path / "artifact", 1)
    assert installed.config == (
        'name: "digits"\n'
        'backend: "onnxruntime"\n'
        "instance_group [{ count: 1 }]\n"
        'parameters { key: "threads" value { string_value: "\\"4\\"" } }\n'
    )


def test_a_directory_of_files_is_one_version(tmp_path: Path) -> None:
    artifact = make(tmp_path, "model.onnx", "weights.bin")
    installed = install(model(), artifact, 2)
    assert installed.links == {"2": str(artifact)}
    assert "default_model_filename" not in installed.config


@pytest.mark.parametrize(
    ("files", "backend", "name"),
    [
        (("digits.onnx", "weights.bin"), "onnxruntime", "digits.onnx"),
        (("digits.onnx",), "openvino", "digits.onnx"),
        (("one.onnx", "two.onnx"), "onnxruntime", None),
        (("model.xml", "model.bin"), "openvino", None),
        (("digits.onnx",), "custom", None),
    ],
)
def test_the_one_network_of_a_directory_is_found(
    tmp_path: Path, files: tuple[str, ...], backend: str, name: str | None
) -> None:
    config = install(model(backend=backend), make(tmp_path, *files), 1).config
    assert ("default_model_filename" in config) == (name is not None)
    assert name is None or f'default_model_filename: "{name}"' in config


def test_the_newest_version_of_a_model_directory_is_served(tmp_path: Path) -> None:
    artifact = make(tmp_path, "2/model.onnx", "10/model.onnx", "notes/readme")
    assert install(model(), artifact, 5).links == {"5": str(artifact / "10")}


def test_the_owners_configuration_is_kept_but_for_what_littoral_decides(tmp_path: Path) -> None:
    given = """name: "theirs" platform: "onnxruntime_onnx" max_batch_size: 16
        version_policy { specific { versions: [7] } }
        instance_group [{ count: 3 }]
        parameters { key: "threads" value { string_value: "1" } }
        output { name: "y" label_filename: "labels.txt" }"""
    artifact = make(tmp_path, "1/model.onnx", "labels.txt", config_pbtxt=given)
    installed = install(model(threads="4"), artifact, 9)
    assert installed.links == {"9": str(artifact / "1"), "labels.txt": str(artifact / "labels.txt")}
    names = [field.name for field in pbtxt.fields(installed.config)]
    assert names == ["name", "backend", "max_batch_size", "instance_group", "parameters", "output", "parameters"]
    assert installed.config.startswith('name: "digits"\nbackend: "onnxruntime"\n')
    assert installed.config.rstrip().endswith('string_value: "4" } }')


def test_a_configuration_beside_the_files_is_read(tmp_path: Path) -> None:
    artifact = make(tmp_path, "model.onnx", config_pbtxt="max_batch_size: 4")
    installed = install(model(), artifact, 1)
    assert "max_batch_size: 4" in installed.config
    assert installed.links["1"] == str(artifact)


def test_an_ensemble_has_a_platform_and_no_instances(tmp_path: Path) -> None:
    artifact = make(tmp_path, "1/.keep", config_pbtxt='platform: "ensemble" ensemble_scheduling { step [] }')
    config = install(model(backend="ensemble"), artifact, 1).config
    assert 'platform: "ensemble"' in config
    assert "instance_group" not in config


def test_a_configuration_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"config\.pbtxt, line 1"):
        install(model(), make(tmp_path, "1/model.onnx", config_pbtxt="{"), 1)


def test_a_fingerprint_is_of_what_is_served_and_not_of_where_it_came_from() -> None:
    assert fingerprint(model()) == fingerprint(model(uri="pvc://claim/elsewhere"))
    different = [model(), model(digit="1"), model(backend="openvino"), model(threads="1"), model(threads="2")]
    assert len({fingerprint(it) for it in different}) == len(different)
