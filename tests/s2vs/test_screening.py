"""Clips that may show the same are found by a search of all, once, and are then neither positive nor negative."""

import shutil

import numpy as np
import pytest

from tests.s2vs.conftest import write_clip
from visil.errors import DataError
from visil.s2vs import screening
from visil.s2vs.clips import find_clips
from visil.s2vs.screening import LIBRARY, LOCK, PARTIAL, SCORES, VECTORS, screen_clips, screened


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
    assert {file.name for file in folder.iterdir()} - {LOCK} == {SCORES}


def test_what_was_found_is_taken_over(tmp_path, copied, folder):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    screen_clips(copied, None, tmp_path)  # would need a model
    assert screened(tmp_path, len(copied), 0.999).sum() == len(copied) + 2


def test_stopped_anywhere_it_goes_on_where_it_was(tmp_path, copied, folder, quick_model, monkeypatch):
    monkeypatch.setattr(screening, "AT_ONCE", 3)
    runs = 0
    while screened(tmp_path, len(copied), 0.5) is None:
        runs += 1
        assert runs < 30
        answers = iter([False])  # a clip, or a pass over the library, a time
        screen_clips(copied, quick_model, tmp_path, lambda answers=answers: next(answers, True))
    assert runs > 10
    assert (screened(tmp_path, len(copied), 0.999) == screened(folder, len(copied), 0.999)).all()
    assert not any((tmp_path / name).exists() for name in (VECTORS, LIBRARY, PARTIAL))


def test_a_kill_leaves_files_that_are_begun_anew_or_gone_on_with(tmp_path, copied, folder, quick_model):
    (tmp_path / f".{VECTORS}.partial").write_bytes(b"half an HDF5 file")
    (tmp_path / PARTIAL).write_text("0 1 0.9\n0 0 1\n1 0 0.9\n1 2 0.")
    screen_clips(copied, quick_model, tmp_path)
    text = (tmp_path / SCORES).read_text()
    assert text.startswith("0 1 0.9\n0 0 1\n")  # believed
    assert all(line.count(" ") == 2 for line in text.splitlines())
    assert sum(line.split()[0] == line.split()[1] for line in text.splitlines()) == 9


def test_an_excerpt_of_a_long_clip_is_related_too(tmp_path, quick_model):
    """By its moments: the mean over the long one hides what it shares."""
    for name, seed in (("long", 100), ("other", 101)):
        write_clip(tmp_path / "frames" / name, 24, seed=seed)
    for number in range(6):  # of `other` are those of `long`
        source = tmp_path / "frames" / "long" / f"{number + 9:05d}.jpg"
        shutil.copy(source, tmp_path / "frames" / "other" / f"{number + 3:05d}.jpg")
    clips = find_clips([tmp_path / "frames"])
    screen_clips(clips, quick_model, tmp_path / "screening")
    assert screened(tmp_path / "screening", 2, 0.95).all()


def test_damaged_scores_are_named(tmp_path):
    (tmp_path / SCORES).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"scores\.txt: no readable scores of clips"):
        screened(tmp_path, 3, 0.5)


def test_a_folder_that_cannot_be_written(tmp_path, copied, quick_model):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="clips cannot be screened there"):
        screen_clips(copied, quick_model, tmp_path / "taken")
