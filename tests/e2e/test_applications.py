"""The example applications beside the quickstart's Models, asked as their users ask them."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from examples.image import RECIPE
from examples.quickstart.lab import run_module
from examples.vision.samples import receipt
from lab.images import reference
from tests.e2e.littoral import ROOT, Littoral

pytestmark = pytest.mark.timeout(600)

WHERE = "--namespace=shop"


@pytest.fixture(scope="module")
def applications(littoral: Littoral) -> Iterator[dict[str, str]]:
    """Both applications, Ready; the addresses of their Services by name."""
    run_module("examples.image", "--lab", littoral.lab)
    objects = []
    for name in ("image_recognition", "video_analytics"):
        for path in sorted((ROOT / "examples" / name / "manifests").glob("*.yaml")):
            objects += list(yaml.safe_load_all(path.read_text()))
    for item in objects:
        if item["kind"] == "Deployment":
            item["spec"]["template"]["spec"]["containers"][0]["image"] = reference(RECIPE)
    for model in ("digits", "text-detect", "text-recognize"):
        littoral.wait_ready(model)
    littoral.cluster.apply(objects)
    names = [item["metadata"]["name"] for item in objects if item["kind"] == "Deployment"]
    try:
        for name in names:
            littoral.cluster.run("rollout", "status", f"deployment/{name}", WHERE, "--timeout=120s")
        yield {name: f"http://{littoral.address(name)}" for name in names}
    finally:
        littoral.cluster.run("delete", "deployment,service", *names, WHERE, "--wait=false")


def get(url: str, data: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=60) as response:
        content: bytes = response.read()
        return content


def test_a_picture_is_read_by_the_models(applications: dict[str, str]) -> None:
    buffer = io.BytesIO()
    receipt().image.save(buffer, format="PNG")
    answer: dict[str, Any] = json.loads(get(f"{applications['image-recognition']}/v1/recognize", buffer.getvalue()))
    assert tuple(line["text"] for line in answer["text"]) == receipt().lines
    assert set(answer["models"]) == {"text-detect", "text-recognize"}
    seven = get(f"{applications['image-recognition']}/samples/seven.png")
    answer = json.loads(get(f"{applications['image-recognition']}/v1/recognize?read=digit", seven))
    assert answer["digit"]["digit"] == 7


def test_a_video_is_looked_at_and_kept(littoral: Littoral, applications: dict[str, str]) -> None:
    url = applications["video-analytics"]

    def kept() -> float:
        lines = get(f"{url}/metrics").decode().splitlines()
        return next(
            float(line.split()[-1]) for line in lines if line.startswith('video_analytics_frames_total{outcome="kept"}')
        )

    before = kept()
    littoral.wait(lambda: kept() >= before + 3, what="frames are looked at")
    assert get(f"{url}/healthz") == b"ok\n"
    assert get(f"{url}/latest.jpg").startswith(b"\xff\xd8")
