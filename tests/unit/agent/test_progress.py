"""What is said of a fetch that is under way."""

import pytest

from littoral.agent import progress as progressing
from littoral.agent.progress import NEWS, Progress, Shown

MIB = 1 << 20


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (Shown(), ""),
        (Shown(total=5), ""),
        (Shown(received=900), "900 B"),
        (Shown(received=1023 * MIB, total=None, speed=512), "1023 MiB, 512 B/s"),
        (
            Shown(received=1229 * MIB, total=3482 * MIB, speed=11.26 * MIB),
            "1.2 GiB of 3.4 GiB, 11 MiB/s, 3m20s left",
        ),
        (Shown(received=10 << 10, total=20 << 10, speed=1 << 10), "10 KiB of 20 KiB, 1.0 KiB/s, 10s left"),
        (Shown(received=1 << 40, total=3 << 40, speed=MIB), "1.0 TiB of 3.0 TiB, 1.0 MiB/s, 582h32m left"),
        (Shown(received=7, total=5, speed=1), "7 B of 5 B, 1 B/s, 0s left"),
    ],
)
def test_in_words(shown: Shown, text: str) -> None:
    assert str(shown) == text


def test_the_speed_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progressing.time, "monotonic", lambda: now)
    progress = Progress(received=100 * MIB, total=400 * MIB)  # of an earlier try: no part of the speed
    assert progress.shown().speed == 0
    for speed, seconds in ((8, 30), (2, 30)):
        for _ in range(seconds * 10):
            progress.add(speed * MIB // 10)
            now += 0.1
        shown = progress.shown()
        assert shown.speed == pytest.approx(speed * MIB, rel=0.05)
        assert shown.received == progress.received
        now += NEWS
    now += 60  # nothing comes
    assert progress.shown().speed < MIB / 2


def test_it_is_no_news_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progressing.time, "monotonic", lambda: now)
    progress = Progress()
    progress.add(1000)
    first = progress.shown()
    assert first.received == 1000
    progress.add(1000)
    now = NEWS - 0.1
    assert progress.shown() == first
    now = NEWS
    assert progress.shown().received == 2000
