import numpy as np
import pytest

from visil.evaluation.phash_voting import HASH_BITS, hash_videos, vote


def hashes(*set_bits: int) -> np.ndarray:
    """One hash for each number: its first so many bits are set."""
    return np.array([[bit < count for bit in range(HASH_BITS)] for count in set_bits])


def test_each_sample_votes_for_the_video_of_its_closest_hash():
    library = {"a": hashes(0, 20), "b": hashes(40)}
    assert vote(hashes(1, 19, 41, 2), library) == {"a": 0.75, "b": 0.25}


def test_videos_at_the_same_distance_share_a_vote():
    library = {"a": hashes(10, 10), "b": hashes(14), "c": hashes(60)}
    assert vote(hashes(12), library) == {"a": 0.5, "b": 0.5, "c": 0.0}


def test_a_video_left_out_takes_no_votes():
    assert vote(hashes(1), {"a": hashes(0), "b": hashes(40)}, left_out={"a"}) == {"b": 1.0}


def test_a_query_or_video_without_samples_has_no_score():
    assert vote(hashes(1)[:0], {"a": hashes(0)}) == {}
    assert vote(hashes(1), {"a": hashes(0), "b": hashes(1)[:0]}) == {"a": 1.0}


def test_a_video_votes_for_itself(tmp_path):
    pytest.importorskip("imagehash")
    from visil.synth.scenes import distinct_scenes, scene_pictures
    from visil.synth.video_file import write_video

    for i, scene in enumerate(distinct_scenes(np.random.default_rng(0), 2)):
        write_video(tmp_path / f"{i}.mp4", scene_pictures(scene, duration_s=3, fps=6, size_px=(96, 54)), 6)
    found = hash_videos(sorted(tmp_path.iterdir()), workers=1)
    assert found["0.mp4"].shape == (8, HASH_BITS)  # the fewest samples a video
    assert vote(found["0.mp4"], found) == {"0.mp4": 1.0, "1.mp4": 0.0}
