"""Odd clocks and streams: seeded, of the kind they say, and the pictures are those of the source."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media.made_files import write_grey
from visil.synth.remuxing import CONTAINERS, REMUXES, odd_streams, restamped


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Thirty frames, ten a second, some of which are shown in another order than they are decoded in."""
    path: Path = tmp_path_factory.mktemp("source") / "a.mp4"
    return write_grey(path, 30, fps=10, codec="libx264", codec_options={"bf": "2", "preset": "veryfast"}).read_bytes()


@pytest.mark.parametrize("kind", REMUXES)
class TestEveryKind:
    def test_depends_on_the_seed_alone(self, kind, content):
        first, again, other = (REMUXES[kind](content, [content], np.random.default_rng(seed)) for seed in (1, 1, 3))
        assert first == again != other

    @pytest.mark.parametrize("no_video", [b"", b"no video", bytes(1000)])
    def test_leaves_what_is_no_video_as_it_is(self, kind, no_video):
        assert REMUXES[kind](no_video, [no_video], np.random.default_rng(0)) == no_video


class TestRestamped:
    @pytest.mark.parametrize("container", CONTAINERS)
    def test_every_frame_has_the_time_that_was_asked_for(self, content, container):
        asked_s = [*range(0, 50, 5), 9_000, 3, *range(18)]
        remuxed = restamped(content, container, lambda times_s: asked_s)
        with av.open(BytesIO(remuxed)) as source:
            stream = source.streams.video[0]
            times_s = [float(frame.pts * stream.time_base) for frame in source.decode(stream)]
        assert [time_s - times_s[0] for time_s in times_s] == pytest.approx(asked_s, abs=0.002)

    def test_the_times_that_are_to_be_changed_begin_at_0(self, content):
        seen: list[Fraction] = []
        restamped(content, "mp4", lambda times_s: seen.extend(times_s) or times_s)
        assert seen == [Fraction(k, 10) for k in range(30)]


class TestOddStreams:
    def test_streams_of_two_files_come_in_any_order_and_marked_as_anything(self, content):
        orders, marks = set(), set()
        for seed in range(30):
            with av.open(BytesIO(odd_streams(content, [content], np.random.default_rng(seed)))) as source:
                orders.add(len(source.streams.video))
                marks |= {int(stream.disposition) for stream in source.streams}
        assert orders == {1, 2}
        assert len(marks) > 3
