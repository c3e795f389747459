"""The applications' manifests and image: restricted Pods, and the versions that everything else here has."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.image import RECIPE

ROOT = Path(__file__).parents[3]
APPLICATIONS = sorted(path.parent.name for path in (ROOT / "examples").glob("*/manifests"))


def objects(application: str, kind: str) -> list[Any]:
    files = sorted((ROOT / "examples" / application / "manifests").glob("*.yaml"))
    documents = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    return [document for document in documents if document["kind"] == kind]


@pytest.mark.parametrize("application", APPLICATIONS)
def test_pods_keep_to_the_restricted_standard(application: str) -> None:
    (deployment,) = objects(application, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"]["cpu"]
    assert {"readinessProbe", "livenessProbe"} <= set(container)
    assert container["args"][0] == f"examples.{application}"


@pytest.mark.parametrize("application", APPLICATIONS)
def test_the_service_leads_to_the_pods(application: str) -> None:
    (deployment,), (service,) = objects(application, "Deployment"), objects(application, "Service")
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    names = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def pins(path: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / path).read_text(), re.MULTILINE))


def test_the_image_has_the_versions_that_are_tested() -> None:
    image, tested = pins("images/examples/requirements.txt"), pins("requirements/dev.txt")
    tested["opencv-python-headless"] = tested["opencv-python"]
    assert image
    assert image == {name: tested[name] for name in image}
    assert {"aiohttp", "pillow", "scipy", "opencv-python-headless"} <= set(image)
    asked = (ROOT / "images/examples/requirements.in").read_text().split()
    assert set(asked) <= set(image)


def test_whatever_the_image_copies_renews_it() -> None:
    ignore = (ROOT / "images/examples/Containerfile.dockerignore").read_text()
    copied = re.findall(r"^!(\S+)", ignore, re.MULTILINE)
    assert all(any(path == each or path.startswith(f"{each}/") for each in RECIPE.inputs) for path in copied)
    assert {f"examples/{name}" for name in APPLICATIONS} <= set(copied)
