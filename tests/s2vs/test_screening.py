"""Clips that may show the same are found by a search of all, once, and are then neither positive nor negative."""

import shutil

import numpy as np
import pytest

from visil.errors import DataError
from visil.s2vs.clips import find_clips
from visil.s2vs.screening import LIBRARY, SCORES, VECTORS, screen_clips, screened


@pytest.fixture(scope="module")
def copied(tmp_path_factory, frames_folder):
    """The eight clips, number 3 once more without its first frame, and one that cannot be read."""
    root = tmp_path_factory.mktemp("copied") / "frames"
    shutil.copytree(frames_folder, root)
    shutil.copytree(root / "clip3", root / "copy")
    (root / "copy" / "00000.jpg").unlink()
    (root / "damaged").mkdir()
    (root / "damaged" / "00000.jpg").write_bytes(b"damaged")
    return find_clips([root])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, copied, quick_model):
    place = tmp_path_factory.mktemp("screening")
    screen_clips(copied, quick_model, place)
    return place


def test_a_copy_is_related_to_its_source_in_both_directions(copied, folder):
    is_related = screened(folder, len(copied), 0.999)
    names = [clip.id for clip in copied]
    source, copy = names.index("clip3"), names.index("copy")
    expected = np.eye(len(copied), dtype=bool)
    expected[source, copy] = expected[copy, source] = True
    assert (is_related == expected).all()


def test_the_threshold_decides(copied, folder):
    everyone = screened(folder, len(copied), 0.0)
    readable = [clip.id != "damaged" for clip in copied]
    assert (everyone == np.outer(readable, readable) | np.eye(len(copied), dtype=bool)).all()


def test_nothing_but_the_scores_is_kept(folder):
    assert [file.name for file in folder.iterdir()] == [SCORES]


def test_what_was_found_is_taken_over(tmp_path, copied, folder):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    screen_clips(copied, None, tmp_path)  # would need a model
    assert screened(tmp_path, len(copied), 0.999).sum() == len(copied) + 2


@pytest.mark.parametrize("asked", [1, 5, 12, 16])
def test_stopped_anywhere_it_says_nothing_and_goes_on_another_time(tmp_path, copied, folder, quick_model, asked):
    questions = iter(range(100))
    screen_clips(copied, quick_model, tmp_path, lambda: next(questions) >= asked)
    assert screened(tmp_path, len(copied), 0.5) is None
    screen_clips(copied, quick_model, tmp_path)
    assert np.load(tmp_path / SCORES).tobytes() == np.load(folder / SCORES).tobytes()
    assert not (tmp_path / VECTORS).exists()
    assert not (tmp_path / LIBRARY).exists()


def test_damaged_scores_are_named(tmp_path):
    (tmp_path / SCORES).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"scores\.npy: no readable scores of clips"):
        screened(tmp_path, 3, 0.5)


def test_a_folder_that_cannot_be_written(tmp_path, copied, quick_model):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="clips cannot be screened there"):
        screen_clips(copied, quick_model, tmp_path / "taken")
