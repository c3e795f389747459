from typing import Any, cast

import pytest

from littoral.cluster.client import Client, Object
from littoral.cluster.events import EventRecorder

MODEL: Object = {
    "apiVersion": "littoral.dev/v1alpha1",
    "kind": "Model",
    "metadata": {"namespace": "shop", "name": "digits", "uid": "u"},
}


class _Client:
    def __init__(self) -> None:
        self.notes: list[str] = []

    async def create(self, _: Any, body: Object, *, namespace: str) -> Object:
        assert namespace == "shop"
        self.notes.append(body["note"])
        return body


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        ("a" * 1024, "a" * 1024),
        ("a" * 1025, "a" * 1021 + "..."),
        ("a" * 1023 + "\N{HORIZONTAL ELLIPSIS}", "a" * 1021 + "..."),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}" * 600, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 510 + "..."),
    ],
)
async def test_a_note_is_cut_by_its_bytes_as_the_api_server_counts_them(note: str, kept: str) -> None:
    client = _Client()
    recorder = EventRecorder(cast(Client, client), component="littoral-hub", instance="a")
    await recorder.record(MODEL, kind="Normal", reason="Serving", action="Place", note=note)
    assert client.notes == [kept]
    assert len(kept.encode()) <= 1024
