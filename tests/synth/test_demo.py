import subprocess
import sys

import pytest

from visil.synth.demo import make_demo
from visil.synth.truth import read_truths
from visil.synth.video_file import video_facts


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, make_demo(folder, 0)


def test_a_dozen_short_videos_are_the_library_and_their_edits_the_queries(demo):
    folder, queries = demo
    assert len(list((folder / "library").iterdir())) == 12
    assert sorted(query.path for query in queries) == sorted((folder / "queries").iterdir())
    assert all(video_facts(path).duration_s < 10 for path in (folder / "library").iterdir())
    assert sum(path.stat().st_size for path in folder.rglob("*.mp4")) < 5e6


def test_every_kind_of_edit_is_shown(demo):
    families = {truth.family for query in demo[1] for truth in query.related}
    assert families == {"crop", "mirror", "letterbox", "logo", "speed", "low_144p", "cut"}


def test_the_truth_of_a_query_names_every_video_once(demo):
    folder, queries = demo
    names = sorted(path.name for path in (folder / "library").iterdir())
    for query in queries:
        related = [truth.source for truth in query.related]
        assert sorted([*related, *query.look_alikes, *query.unrelated]) == names
        assert {query.relation(name) for name in related} == {"related"}
        assert {query.relation(name) for name in query.unrelated} == {"unrelated"}
        assert {query.relation(name) for name in query.look_alikes} <= {"look-alike"}
    assert sum(len(query.look_alikes) for query in queries) == 3


def test_the_truth_lies_beside_the_videos(demo):
    folder, queries = demo
    assert read_truths(folder / "truth.json") == [truth for query in queries for truth in query.related]


def test_the_clip_is_in_its_scene_and_inside_the_montage(demo):
    (clip,) = [query for query in demo[1] if query.path.name == "clip_of_scene_7.mp4"]
    assert [truth.source for truth in clip.related] == ["scene_7.mp4", "montage_of_7_and_8.mp4"]
    assert [truth.end_s - truth.start_s for truth in clip.related] == pytest.approx([4.0, 4.0])


def test_the_same_seed_makes_the_same_files_in_another_process(demo, tmp_path):
    folder, _ = demo
    code = f"from pathlib import Path; from visil.synth.demo import make_demo; make_demo(Path({str(tmp_path)!r}), 0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    for path in folder.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path.name


def test_synth_needs_no_torch():
    code = "import sys, visil.synth.demo; assert not {'torch', 'cv2', 'PIL'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
