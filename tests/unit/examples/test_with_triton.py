"""Both applications with a real Triton on this machine, which the stub of the other tests stands in for."""

import json
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from examples.image_recognition.service import Service, Settings
from examples.video_analytics.analysis import analyse
from examples.video_analytics.ring import Ring
from examples.video_analytics.running import Analytics
from examples.video_analytics.sampling import Sampler
from examples.video_analytics.sources import open_source
from examples.vision.kserve import Model, ModelUnavailable
from lab.triton import TritonServer
from tests.support.networks import quickstart_server
from tests.unit.examples.kserve_stub import listening


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with quickstart_server(tmp_path_factory.mktemp("triton")) as running:
        yield running


async def test_the_samples_of_the_page_are_read(server: TritonServer) -> None:
    settings = Settings(text_detect=server.url, text_recognize=server.url, digits=server.url, timeout=60)
    async with listening(Service(settings).application()) as url, aiohttp.ClientSession() as session:

        async def ask(sample: str, read: str) -> dict[str, object]:
            async with session.get(f"{url}/samples/{sample}.png") as response:
                picture = await response.read()
            async with session.post(f"{url}/v1/recognize?read={read}", data=picture) as response:
                assert response.status == 200, await response.text()
                answer: dict[str, object] = await response.json()
                return answer

        sign, seven = await ask("sign", "text"), await ask("seven", "digit")
    assert [line["text"] for line in sign["text"]] == [  # type: ignore[attr-defined]
        "Harbour Bakery",
        "Fresh bread from 6:30",
        "Closed on Mondays",
    ]
    assert sign["models"] == {"text-detect": "1", "text-recognize": "1"}
    assert seven["digit"]["digit"] == 7  # type: ignore[index]


async def test_a_video_is_looked_through(server: TritonServer, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        running = Analytics(
            source=open_source("sample", folder_rate=1),
            source_name="sample",
            model=Model(session=session, url=server.url, name="text-detect", timeout=60),
            ring=Ring(tmp_path, max_bytes=2**24),
            sampler=Sampler(rate=1),
            keep_up=False,
        )
        await running.run()
    assert running.frames == {"kept": 10}
    lines = [json.loads(line) for file in (tmp_path / "results").iterdir() for line in file.open()]
    assert [len(line["boxes"]) for line in lines[:8]] == [3] * 8


async def test_a_model_that_triton_does_not_have_is_not_there(server: TritonServer) -> None:
    async with aiohttp.ClientSession() as session:
        model = Model(session=session, url=server.url, name="absent", timeout=60)
        source = open_source("sample", folder_rate=1)
        frame = source.frame_at(0)
        assert frame is not None
        with pytest.raises(ModelUnavailable, match="unknown model"):
            await analyse(frame, model=model)
