from fractions import Fraction

import av
import numpy as np
import pytest

from visil.errors import MediaError
from visil.synth.video_file import pictures_at, read_pictures, read_still, resized, video_facts, write_video


def shades(count: int, *, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Plain pictures whose grey level tells their number: 8 levels apart."""
    return [np.full((height, width, 3), 8 * i, dtype=np.uint8) for i in range(count)]


def number(picture: np.ndarray) -> int:
    return round(float(picture.mean()) / 8)


def test_what_is_written_is_read_with_its_times(tmp_path):
    count = write_video(tmp_path / "a.mp4", shades(20), 10)
    times_s, pictures = zip(*read_pictures(tmp_path / "a.mp4"), strict=True)
    assert count == 20
    assert times_s == pytest.approx(np.arange(20) / 10)
    assert [number(picture) for picture in pictures] == list(range(20))


def test_the_same_pictures_give_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    noise = [resized(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8), 200, 112) for _ in range(60)]
    for bitrate_bps in (None, 60_000):
        files = [tmp_path / f"{i}.mp4" for i in range(6)]
        for file in files:
            write_video(file, noise, 12, bitrate_bps=bitrate_bps)
        assert len({file.read_bytes() for file in files}) == 1


def test_odd_sizes_lose_a_row_and_a_column(tmp_path):
    write_video(tmp_path / "a.mp4", shades(3, height=49, width=65), 10)
    assert read_still(tmp_path / "a.mp4").shape == (48, 64, 3)


def test_a_rate_that_is_no_whole_number_is_kept(tmp_path):
    write_video(tmp_path / "a.mp4", shades(30), Fraction(30000, 1001))
    facts = video_facts(tmp_path / "a.mp4")
    assert facts.fps == Fraction(30000, 1001)
    assert facts.duration_s == pytest.approx(1.001, abs=1e-4)


def test_a_broken_off_video_does_not_appear(tmp_path):
    def breaks():
        yield from shades(3)
        raise RuntimeError("camera lost")

    with pytest.raises(RuntimeError, match="camera lost"):
        write_video(tmp_path / "a.mp4", breaks(), 10)
    assert list(tmp_path.iterdir()) == []


def test_no_pictures_are_no_video(tmp_path):
    with pytest.raises(ValueError, match="no pictures to write"):
        write_video(tmp_path / "a.mp4", [], 10)
    assert list(tmp_path.iterdir()) == []


def test_pictures_at_gives_what_is_shown_then_and_holds_the_last_one(tmp_path):
    write_video(tmp_path / "a.mp4", shades(10), 10)
    shown = pictures_at(tmp_path / "a.mp4", [0.0, 0.05, 0.1, 0.1, 0.55, 0.9, 3.0])
    assert [number(picture) for picture in shown] == [0, 0, 1, 1, 5, 9, 9]


def test_large_pictures_are_reduced_and_small_ones_stay(tmp_path):
    write_video(tmp_path / "a.mp4", shades(2, height=90, width=160), 10)
    assert next(read_pictures(tmp_path / "a.mp4", max_short_side_px=45))[1].shape == (45, 80, 3)
    assert next(read_pictures(tmp_path / "a.mp4", max_short_side_px=360))[1].shape == (90, 160, 3)


def test_pixels_that_are_wider_than_high_are_shown_so(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for picture in shades(2, height=64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert read_still(tmp_path / "a.mp4").shape == (64, 128, 3)


def test_a_file_without_pictures_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(MediaError, match=r"a\.mp4: cannot be opened"):
        next(read_pictures(tmp_path / "a.mp4"))
