"""Perceptual hashes and their votes, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.benchmarks.colour_histogram import intersection, mean_histogram
from visil.benchmarks.frame_descriptors import KINDS, colour_histograms, describe_files, missing_package
from visil.benchmarks.hash_voting import HashVoting
from visil.errors import MediaError, VisilError
from visil.synth.textures import procedural_pictures
from visil.synth.video_file import write_video


def hashes(*first_bytes: int) -> np.ndarray:
    """64-bit hashes whose first byte is given."""
    found = np.zeros((len(first_bytes), 8), dtype=np.uint8)
    found[:, 0] = first_bytes
    return found


class TestVoting:
    LIBRARY = HashVoting([hashes(0b00000000, 0b00001111), hashes(0b11110000), hashes()])

    def test_every_sample_votes_for_the_video_with_the_closest_hash(self):
        assert self.LIBRARY.scores(hashes(0b00000001, 0b00000111, 0b11110000)).tolist() == [2 / 3, 1 / 3, 0]

    def test_videos_at_the_same_distance_share_a_vote(self):
        assert self.LIBRARY.scores(hashes(0b00110000)).tolist() == [0.5, 0.5, 0]

    def test_a_video_that_holds_the_closest_hash_twice_gets_one_vote(self):
        library = HashVoting([hashes(1, 1, 1), hashes(1)])
        assert library.scores(hashes(1)).tolist() == [0.5, 0.5]

    def test_nobody_votes_for_videos_that_are_left_out(self):
        left_out = np.array([False, True, False])
        assert self.LIBRARY.scores(hashes(0b11110000), left_out).tolist() == [1, 0, 0]
        assert self.LIBRARY.scores(hashes(1), np.array([True, True, True])).tolist() == [0, 0, 0]

    def test_without_samples_there_are_no_votes(self):
        assert self.LIBRARY.scores(hashes()).tolist() == [0, 0, 0]
        assert HashVoting([hashes(), hashes()]).scores(hashes(1)).tolist() == [0, 0]

    @given(st.integers(0, 2**32 - 1), st.integers(1, 6))
    @settings(deadline=None, max_examples=30)
    def test_agrees_with_counting_bits_one_by_one(self, seed, num_videos):
        rng = np.random.default_rng(seed)
        library = [rng.integers(0, 4, (rng.integers(0, 4), 2), dtype=np.uint8) for _ in range(num_videos)]
        query = rng.integers(0, 4, (3, 2), dtype=np.uint8)
        expected = np.zeros(num_videos)
        for sample in query:
            nearest = [
                min((sum(int(b).bit_count() for b in sample ^ other) for other in video), default=99)
                for video in library
            ]
            if min(nearest) < 99:
                winners = [i for i, distance in enumerate(nearest) if distance == min(nearest)]
                expected[winners] += 1 / len(winners) / len(query)
        assert HashVoting(library).scores(query) == pytest.approx(expected)


class TestColourHistogram:
    def test_counts_the_shares_of_boxes_of_colours(self):
        picture = np.zeros((2, 2, 3), dtype=np.uint8)
        picture[0, 0] = (255, 0, 0)
        (histogram,) = colour_histograms(picture[None])
        assert histogram[7 * 64] == 0.25
        assert histogram[0] == 0.75
        assert histogram.sum() == 1

    def test_of_a_video_is_the_mean_of_its_samples(self):
        assert mean_histogram(np.array([[1, 0], [0.5, 0.5]])).tolist() == [0.75, 0.25]
        assert mean_histogram(np.zeros((0, 2))).tolist() == [0, 0]

    def test_intersects_with_every_video(self):
        library = np.array([[0.5, 0.5, 0], [0, 0.2, 0.8]])
        assert intersection(np.array([0.5, 0.5, 0]), library) == pytest.approx([1, 0.2])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_knows_a_picture_after_small_changes_from_another_one(kind):
    if missing_package(kind):
        pytest.skip(f"{missing_package(kind)} is not installed")
    pictures = np.stack(procedural_pictures(np.random.default_rng(0), count=6, size_px=(224, 224)))
    changed = np.clip(pictures.astype(int) + np.random.default_rng(1).normal(0, 3, pictures.shape), 0, 255)
    originals, copies = KINDS[kind](pictures), KINDS[kind](changed.astype(np.uint8))
    assert len(originals) == 6
    if kind == "colour histogram":
        found = [int(intersection(copy, originals).argmax()) for copy in copies]
    else:
        library = HashVoting([original[None] for original in originals])
        found = [int(library.scores(copy[None]).argmax()) for copy in copies]
    assert found == list(range(6))
    assert len(KINDS[kind](pictures[:0])) == 0


def test_files_are_described_by_their_samples_with_content_and_broken_ones_say_why(tmp_path):
    pictures = procedural_pictures(np.random.default_rng(0), count=4, size_px=(64, 48))
    black = [np.zeros((48, 64, 3), dtype=np.uint8)] * 4
    write_video(tmp_path / "good.mp4", [*pictures, *black], 1)
    (tmp_path / "bad.mp4").write_text("no video")
    paths = [tmp_path / "good.mp4", tmp_path / "bad.mp4"]
    found = dict(describe_files(paths, ["colour histogram"], workers=1))
    assert found[paths[0]]["colour histogram"].shape == (4, 512)
    assert isinstance(found[paths[1]], MediaError)


def test_unknown_kinds_and_missing_packages_say_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(VisilError, match="no kind of frame descriptor 'md5'; there are pHash, PDQ"):
        list(describe_files([tmp_path / "a.mp4"], ["md5"], workers=1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing_package("PDQ") == "pdqhash"
    assert missing_package("colour histogram") is None
    with pytest.raises(VisilError, match=r'PDQ: pdqhash is not installed: pip install "visil\[bench\]"'):
        list(describe_files([tmp_path / "a.mp4"], ["PDQ"], workers=1))
