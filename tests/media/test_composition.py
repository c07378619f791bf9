"""How far an MP4 shows its frames after decoding them is read from its headers, whatever stands in them."""

from __future__ import annotations

import av
import numpy as np
import pytest

from tests.media.made_files import write_grey
from visil.media.composition import offset_spread

B_FRAMES = {"codec": "libx264", "codec_options": {"preset": "medium", "threads": "1"}}


@pytest.mark.parametrize("options", [{"codec": "libx264"}, B_FRAMES], ids=["in order", "out of order"])
def test_it_is_the_spread_of_what_the_packets_say(tmp_path, options):
    path = write_grey(tmp_path / "a.mp4", 60, **options)
    with av.open(str(path)) as container:
        track = container.streams.video[0].id
        offsets = [packet.pts - packet.dts for packet in container.demux(video=0) if packet.size]
    assert offset_spread(path, track) == max(offsets) - min(offsets)
    assert offset_spread(path, track + 1) is None


def test_of_fragments_it_is_not_known(tmp_path):
    path = write_grey(
        tmp_path / "a.mp4", 60, codec="libx264", container_options={"movflags": "frag_keyframe+empty_moov"}
    )
    assert offset_spread(path, 1) is None


def test_damaged_headers_are_no_error(tmp_path):
    content = write_grey(tmp_path / "a.mp4", 60, **B_FRAMES).read_bytes()
    start = content.index(b"moov") - 4
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(start, len(content), 4):
            damaged[place] = rng.integers(256)
        path = tmp_path / "damaged.mp4"
        path.write_bytes(damaged[: rng.integers(start, len(content) + 1)] if rng.random() < 0.5 else damaged)
        spread = offset_spread(path, 1)
        assert spread is None or spread >= 0
