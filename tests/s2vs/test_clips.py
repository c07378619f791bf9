"""Clips: what counts as a frame, and trees of frames made of videos."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.s2vs.conftest import write_clip
from visil.errors import DataError
from visil.media.preprocessing import PRESETS
from visil.s2vs.clips import SHORT_SIDE_PX, extract_frames, find_clips
from visil.synth.video_file import write_video


def write_clip_video(path, num_pictures, seed=0):
    pictures = np.random.default_rng(seed).integers(0, 256, (num_pictures, 6, 8, 3), dtype=np.uint8)
    large = (np.asarray(Image.fromarray(p).resize((320, 240), Image.Resampling.BICUBIC)) for p in pictures)
    write_video(path, large, 2)


class TestFind:
    def test_every_folder_of_frames_is_a_clip(self, frames_folder):
        clips = find_clips([frames_folder])
        assert [clip.id for clip in clips] == [f"clip{number}" for number in range(8)]
        assert [len(clip.frames) for clip in clips] == list(range(3, 11))

    def test_other_files_are_no_frames_and_numbers_may_be_absent(self, tmp_path):
        write_clip(tmp_path / "a", 5, seed=1)
        (tmp_path / "a" / "00002.jpg").unlink()
        (tmp_path / "a" / "notes.txt").write_text("none")
        (tmp_path / "a" / "thumb.jpg").write_bytes(b"none")
        (clip,) = find_clips([tmp_path])
        assert [file.name for file in clip.frames] == ["00000.jpg", "00001.jpg", "00003.jpg", "00004.jpg"]

    def test_frames_are_in_the_order_of_their_numbers(self, tmp_path):
        write_clip(tmp_path / "a", 1, seed=1)
        shutil.copy(tmp_path / "a" / "00000.jpg", tmp_path / "a" / "100000.jpg")
        shutil.copy(tmp_path / "a" / "00000.jpg", tmp_path / "a" / "99999.jpg")
        assert [file.stem for file in find_clips([tmp_path])[0].frames] == ["00000", "99999", "100000"]

    def test_what_is_hidden_is_passed_over(self, tmp_path):
        write_clip(tmp_path / ".3.partial", 2, seed=1)
        with pytest.raises(DataError, match="holds no frames; expected"):
            find_clips([tmp_path])

    def test_a_folder_that_is_none(self, tmp_path):
        with pytest.raises(DataError, match="absent: is no folder of frames"):
            find_clips([tmp_path / "absent"])

    def test_two_clips_of_one_id_are_refused(self, tmp_path):
        for root in ("x", "y"):
            write_clip(tmp_path / root / "a", 1, seed=1)
        with pytest.raises(DataError, match="the same id, a; rename one"):
            find_clips([tmp_path / "x", tmp_path / "y"])


class TestRead:
    def test_a_span_of_frames_at_their_size(self, frames_folder):
        clip = find_clips([frames_folder])[3]
        assert clip.read(2, 5).shape == (3, SHORT_SIDE_PX, 320, 3)
        assert clip.read(0, 100).shape[0] == 6

    def test_frames_of_another_size_are_resized(self, tmp_path):
        write_clip(tmp_path / "a", 2, seed=1, size_px=(640, 480))
        assert find_clips([tmp_path])[0].read(0, 2).shape == (2, SHORT_SIDE_PX, 341, 3)

    @pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"GIF89a"], ids=["empty", "cut off", "no JPEG"])
    def test_a_damaged_frame_is_named(self, tmp_path, content):
        write_clip(tmp_path / "a", 2, seed=1)
        (tmp_path / "a" / "00001.jpg").write_bytes(content)
        with pytest.raises(DataError, match=r"00001\.jpg: no readable frame") as caught:
            find_clips([tmp_path])[0].read(0, 2)
        assert "\n" not in str(caught.value)


class TestExtract:
    def test_videos_become_clips_once(self, tmp_path):
        write_clip_video(tmp_path / "a.mp4", 24)
        videos = {"a.mp4": tmp_path / "a.mp4"}
        first = extract_frames(videos, tmp_path / "frames", PRESETS["whole-frame"])
        (clip,) = find_clips([tmp_path / "frames"])
        assert (first.done, first.kept, first.failed) == (1, 0, {})
        assert clip.id == "a.mp4"
        assert len(clip.frames) == 12  # one a second
        assert clip.read(0, 12).shape == (12, 256, 341, 3)
        again = extract_frames(videos, tmp_path / "frames", PRESETS["whole-frame"])
        assert (again.done, again.kept) == (0, 1)

    def test_short_videos_are_sampled_as_the_product_does(self, tmp_path):
        write_clip_video(tmp_path / "a.mp4", 10)
        extract_frames({"a": tmp_path / "a.mp4"}, tmp_path / "frames", PRESETS["whole-frame"])
        assert len(find_clips([tmp_path / "frames"])[0].frames) == 8

    def test_a_video_that_cannot_be_read_is_counted_and_leaves_nothing(self, tmp_path):
        write_clip_video(tmp_path / "a.mp4", 10)
        (tmp_path / "b.mp4").write_bytes(b"no video")
        done = extract_frames(
            {name: tmp_path / name for name in ("a.mp4", "b.mp4")}, tmp_path / "f", PRESETS["whole-frame"]
        )
        assert done.done == 1
        assert list(done.failed) == ["b.mp4"]
        assert [path.name for path in (tmp_path / "f").iterdir()] == ["a.mp4"]

    def test_what_an_ended_run_left_behind_is_made_anew(self, tmp_path):
        write_clip_video(tmp_path / "a.mp4", 24)
        write_clip(tmp_path / "frames" / ".0.partial", 3, seed=1)
        extract_frames({"a": tmp_path / "a.mp4"}, tmp_path / "frames", PRESETS["whole-frame"])
        assert len(find_clips([tmp_path / "frames"])[0].frames) == 12
