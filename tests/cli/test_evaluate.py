"""`visil evaluate` as a user meets it: what is measured, what stands beside it, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.commands import Run, assert_one_line_error, loaded_by
from visil.cli.evaluate import command
from visil.evaluation import metrics
from visil.evaluation.data_sets import NAMES, load
from visil.evaluation.evaluation_report import CSV_COLUMNS
from visil.library.library import Library

CLIPS = [f"clip_{i}.mp4" for i in range(6)]


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """Six clips: 0 and 1 near-duplicates, 1 and 2 one incident, 3 and 4 ambiguous, 4 and 5 near-duplicates."""
    folder = tmp_path / "my_videos"
    folder.mkdir()
    (folder / "manifest.csv").write_text("file,group\n" + "".join(f"{clip},{clip}\n" for clip in CLIPS))
    pairs = [(0, 1, "ND"), (1, 2, "SI"), (3, 4, "AMBIGUOUS"), (4, 5, "ND")]
    (folder / "pairs.csv").write_text("a,b,label\n" + "".join(f"{CLIPS[a]},{CLIPS[b]},{x}\n" for a, b, x in pairs))
    return folder


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Clip 0 finds its copy first, clip 1 second behind a stranger, clips 4 and 5 find theirs among equals."""
    path = tmp_path / "scores.json"
    found = {
        CLIPS[0]: {CLIPS[1]: 0.9, CLIPS[2]: 0.2, CLIPS[3]: 0.1},
        CLIPS[1]: {CLIPS[3]: 0.8, CLIPS[0]: 0.7, CLIPS[2]: 0.6},
        CLIPS[2]: {CLIPS[1]: 0.5, CLIPS[0]: 0.4},
        CLIPS[4]: {CLIPS[3]: 0.9, CLIPS[0]: 0.3, CLIPS[5]: 0.3},
        CLIPS[5]: {CLIPS[0]: 0.3, CLIPS[4]: 0.3},
    }
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def report(out: str) -> dict[str, Any]:
    """A JSON report, its rows by task."""
    whole = json.loads(out)
    return {**whole, "rows": {row["task"]: row for row in whole["rows"]}}


class TestSimilarities:
    def test_give_the_metrics_that_a_person_works_out(self, run: Run, data_set: Path, scores: Path) -> None:
        ended = run("evaluate", data_set, "--similarities", scores, "--format", "json")
        assert ended.status == 0
        near_duplicates = report(ended.out)["rows"]["ND"]
        # Clip 3 is ambiguous to clip 4 and left out of its ranking; two equal scores count as one group.
        assert near_duplicates["average_precision"] == {CLIPS[0]: 1.0, CLIPS[1]: 0.5, CLIPS[4]: 0.5, CLIPS[5]: 0.5}
        mean = near_duplicates["mAP"]
        assert (mean["value"], mean["best"], mean["worst"]) == (0.625, 0.875, 0.625)
        assert "equal scores matter: by their order" in ended.err

    @pytest.mark.parametrize(("rule", "value"), [("stable", 0.625), ("best", 0.875), ("worst", 0.625)])
    def test_rank_equal_scores_as_asked(self, run: Run, data_set: Path, scores: Path, rule: str, value: float) -> None:
        ended = run("evaluate", data_set, "--similarities", scores, "--ties", rule, "--format", "json")
        assert report(ended.out)["rows"]["ND"]["mAP"]["value"] == value

    def test_have_coverage_and_the_strict_value_beside_every_metric(
        self, run: Run, data_set: Path, scores: Path
    ) -> None:
        found = json.loads(scores.read_text())
        del found[CLIPS[5]]
        scores.write_text(json.dumps(found))
        ended = run("evaluate", data_set, "--similarities", scores, "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(ended.out)))
        (mean,) = (row for row in rows if (row["task"], row["metric"]) == ("ND", "mAP"))
        assert (float(mean["value"]), float(mean["strict"])) == (pytest.approx(2 / 3), 0.5)
        assert (mean["queries"], mean["missing_queries"]) == ("3", "1")
        assert (mean["coverage_queries_found"], mean["coverage_queries_total"]) == ("4", "5")
        assert list(mean) == list(CSV_COLUMNS)

    def test_are_a_table_with_what_the_numbers_rest_on(self, run: Run, data_set: Path, scores: Path) -> None:
        ended = run("evaluate", data_set, "--similarities", scores, "--format", "table", "--per-query")
        lines = [line.split() for line in ended.out.splitlines()]
        # Two components, whose clips are no independent evidence: clips 0 to 2 (mean .75) and 3 to 5 (.5).
        assert ["ND", "mAP", "0.6250", "0.500-0.750", "0.6250", "4", "0", "4/4"] in lines
        assert [CLIPS[1], "0.500", "0.583"] in lines
        titles = {line[0] for line in lines if line}
        assert {"coverage", "ties", "intervals", "scores", "versions", "command"} <= titles
        assert "6 of 6 database videos scored for any query" in ended.out and "available" in titles
        assert max(map(len, ended.out.splitlines()[:12])) <= 80
        assert CLIPS[1] not in run("evaluate", data_set, "--similarities", scores, "--format", "table").out

    def test_of_queries_are_rows_of_a_csv_if_asked_for(self, run: Run, data_set: Path, scores: Path) -> None:
        ended = run("evaluate", data_set, "--similarities", scores, "--format", "csv", "--per-query")
        rows = [row for row in csv.DictReader(io.StringIO(ended.out)) if row["metric"] == "AP" and row["task"] == "ND"]
        assert [(row["query"], row["value"]) for row in rows] == [
            (CLIPS[0], "1.0"), (CLIPS[1], "0.5"), (CLIPS[4], "0.5"), (CLIPS[5], "0.5")
        ]  # fmt: skip

    def test_load_neither_torch_nor_the_store(self, data_set: Path, scores: Path, tmp_path: Path) -> None:
        arguments = ["evaluate", data_set, "--similarities", scores, "--format", "json"]
        loaded = loaded_by(*arguments, home=tmp_path)
        assert loaded.isdisjoint({"torch", "timm", "torchvision", "lance", "av", "faiss", "h5py", "matplotlib"})

    def test_of_unknown_ids_are_an_error_that_shows_ids_of_both_sides(
        self, run: Run, data_set: Path, scores: Path
    ) -> None:
        scores.write_text('{"clip_0": {"clip_1": 1.0}}')
        ended = run("evaluate", data_set, "--similarities", scores)
        assert_one_line_error(ended, "no query of my_videos, such as 'clip_0.mp4', has scores; .* such as 'clip_0'")

    def test_of_published_data_sets_stand_beside_published_results(self, run: Run, tmp_path: Path) -> None:
        truth = load("fivr-5k")
        query, video = truth.queries[0], truth.database[0]
        (tmp_path / "scores.csv").write_text(f"query,video,score\n{query},{video},0.5\n")
        arguments = ["evaluate", "fivr-5k", "--similarities", tmp_path / "scores.csv", "--format"]
        published = report(run(*arguments, "json").out)["published"]
        assert {(row["task"], row["metric"]) for row in published} >= {("DSVR", "mAP"), ("ISVR", "mAP")}
        lines = run(*arguments, "table").out.splitlines()
        (start,) = (
            i for i, line in enumerate(lines) if line.split() == ["published", "mAP", "DSVR", "CSVR", "ISVR", "source"]
        )
        assert lines[start + 1].split()[0] == "here"
        assert any(line.startswith("ViSiL_v ") and line.endswith("[1]") for line in map(str.rstrip, lines[start:]))
        assert any(line.startswith("[1] ") for line in lines[start:])


class TestAgainstAnotherRun:
    @pytest.fixture
    def other(self, run: Run, data_set: Path, scores: Path, tmp_path: Path) -> Path:
        path = tmp_path / "run.json"
        path.write_text(run("evaluate", data_set, "--similarities", scores, "--format", "json").out)
        return path

    def test_the_difference_stands_beside_the_metric(self, run: Run, data_set: Path, scores: Path, other: Path) -> None:
        found = json.loads(scores.read_text())
        found[CLIPS[1]][CLIPS[0]] = 0.95
        scores.write_text(json.dumps(found))
        arguments = ["evaluate", data_set, "--similarities", scores, "--against", other, "--format"]
        rows = {
            (row["task"], row["metric"]): row
            for row in json.loads(run(*arguments, "json").out)["against"]["differences"]
        }
        mean = rows["ND", "mAP"]
        assert (mean["value"], mean["other"], mean["difference"]) == (0.75, 0.625, 0.125)
        assert mean["low"] <= mean["difference"] <= mean["high"]
        lines = [line.split() for line in run(*arguments, "table").out.splitlines()]
        assert ["ND", "mAP", "0.7500", "0.6250", "+0.1250"] in [line[:5] for line in lines]

    def test_jsonl_is_understood_too(self, run: Run, data_set: Path, scores: Path, other: Path) -> None:
        arguments = ["evaluate", data_set, "--similarities", scores]
        other.write_text(run(*arguments).out)
        first = json.loads(run(*arguments, "--against", other).out.splitlines()[0])
        assert {row["difference"] for row in first["against"]["differences"]} == {0.0}

    def test_what_keeps_runs_from_being_compared_is_said(
        self, run: Run, data_set: Path, scores: Path, other: Path
    ) -> None:
        ended = run("evaluate", data_set, "--similarities", scores, "--against", other, "--seed", 1)
        assert (ended.status, "differences have no interval" in ended.err) == (0, True)

    def test_a_corrected_annotation_takes_the_intervals_and_a_new_name_of_the_folder_nothing(
        self, run: Run, data_set: Path, scores: Path, other: Path
    ) -> None:
        moved = data_set.rename(data_set.with_name("renamed"))
        arguments = ["evaluate", moved, "--similarities", scores, "--against", other, "--format", "json"]
        ended = run(*arguments)
        assert json.loads(ended.out)["against"]["notes"] == []
        pairs = (moved / "pairs.csv").read_text()
        (moved / "pairs.csv").write_text(pairs.replace(f"{CLIPS[1]},{CLIPS[2]},SI", f"{CLIPS[1]},{CLIPS[2]},ND"))
        assert_one_line_error(run(*arguments), "the other run is of my_videos, this one of renamed")
        moved.rename(data_set)
        ended = run("evaluate", data_set, *arguments[2:])
        assert "the annotation of my_videos was another one" in ended.err
        assert {row["low"] for row in json.loads(ended.out)["against"]["differences"]} == {None}

    def test_of_another_data_set_is_an_error_before_any_work(self, run: Run, other: Path, scores: Path) -> None:
        ended = run("evaluate", "evve", "--similarities", scores, "--against", other)
        assert_one_line_error(ended, "the other run is of my_videos, this one of EVVE: no comparison")


class TestALibrary:
    def test_is_measured_under_the_ids_of_the_data_set(self, run: Run, data_set: Path, indexed: Path) -> None:
        ended = run("evaluate", data_set, "--library", indexed, "--format", "json", "--quiet")
        assert (ended.status, ended.err) == (0, "")
        whole = report(ended.out)
        assert whole["coverage"]["queries"] == {"found": 5, "total": 5}
        assert whole["coverage"]["database"] == {"found": 6, "total": 6}
        facts = whole["manifest"]["library"]
        assert (facts["bundle_name"], facts["rerank"], facts["num_fine"]) == ("quick", "all", 25)
        assert facts["bytes_per_video"] > 0 and facts["query_s"] > 0
        assert len(whole["rows"]["ND"]["resampled"]["mAP"]) == metrics.NUM_RESAMPLES

    def test_is_re_ranked_as_asked(self, run: Run, data_set: Path, indexed: Path) -> None:
        for rerank, num_fine in (("0", 0), ("2", 10), ("20%", 5)):
            ended = run("evaluate", data_set, "--library", indexed, "--rerank", rerank, "--format", "json")
            assert report(ended.out)["manifest"]["library"]["num_fine"] == num_fine

    def test_tells_what_it_costs_in_a_table(self, run: Run, data_set: Path, indexed: Path) -> None:
        out = run("evaluate", data_set, "--library", indexed, "--format", "table").out
        assert "kB a video" in out and "s a query" in out and "bundle       quick (" in out

    def test_with_other_ids_is_an_error_that_shows_ids_of_both_sides(self, run: Run, indexed: Path) -> None:
        assert_one_line_error(
            run("evaluate", "fivr-5k", "--library", indexed, "-q"), r"clip_0\.mp4.*FIVR-5K|FIVR-5K.*clip_0"
        )


class TestVideos:
    def test_are_indexed_then_measured_and_the_library_is_kept(
        self, run: Run, data_set: Path, clips: Path, bundle_file: Path
    ) -> None:
        (clips / "holiday.mp4").write_bytes((clips / "clip_0.mp4").read_bytes())  # not of the data set
        arguments = ["evaluate", data_set, "--videos", clips, "--model", bundle_file, "--format", "json"]
        first = run(*arguments)
        assert first.status == 0
        assert "6 added" in first.err
        whole = report(first.out)
        kept = Path(whole["manifest"]["library"]["path"])
        assert f"the library is kept in {kept}" in first.err
        assert kept.name.startswith("my_videos-quick-")
        assert whole["manifest"]["encoding"]["samples_per_s"] > 0
        again = run(*arguments)
        assert "0 added, 0 replaced, 0 moved, 6 unchanged" in again.err
        assert report(again.out)["manifest"]["encoding"] is None
        assert report(again.out)["rows"]["ND"] == whole["rows"]["ND"]

    def test_that_cannot_be_read_are_named_counted_and_end_with_1(
        self, run: Run, data_set: Path, clips: Path, bundle_file: Path, tmp_path: Path
    ) -> None:
        (clips / "clip_1.mp4").write_text("no video")
        arguments = ["--videos", clips, "--model", bundle_file, "--library", tmp_path / "here", "--format", "json"]
        ended = run("evaluate", data_set, *arguments)
        assert ended.status == 1
        assert f"visil: {clips / 'clip_1.mp4'}: not a video, or its headers are damaged" in ended.err
        whole = report(ended.out)
        assert whole["coverage"]["queries"] == {"found": 4, "total": 5}
        assert (whole["coverage"]["missing_queries"], whole["coverage"]["missing_videos"]) == ([CLIPS[1]], [CLIPS[1]])
        assert whole["unreadable"] == [{"id": "clip_1.mp4", "reason": "not a video, or its headers are damaged"}]
        assert ended.err.count("headers are damaged") == 1
        again = run("evaluate", data_set, *arguments)
        assert (again.status, again.err.count("headers are damaged")) == (1, 1)
        # Clip 0 has lost its only copy: skipped in the paper's way, a miss in the strict one.
        near_duplicates = whole["rows"]["ND"]
        assert list(near_duplicates["average_precision"]) == ["clip_4.mp4", "clip_5.mp4"]
        assert near_duplicates["mAP"]["strict"] == pytest.approx(near_duplicates["mAP"]["value"] / 2)
        assert (near_duplicates["relevant_pairs"], near_duplicates["strict_relevant_pairs"]) == (2, 4)

    def test_lie_where_the_pattern_says(self, run: Run, clips: Path, bundle_file: Path, tmp_path: Path) -> None:
        for i in range(3):
            (clips / f"q{i}").mkdir()
            shutil.move(clips / f"clip_{i}.mp4", clips / f"q{i}/video.mp4")
        (tmp_path / "truth.json").write_text('{"q0": {"ND": ["q1"]}, "q1": {"ND": ["q0"]}}')
        arguments = ["--videos", clips, "--pattern", "{id}/video.*", "--model", bundle_file, "--format", "json"]
        ended = run("evaluate", tmp_path / "truth.json", *arguments)
        assert ended.status == 0
        assert report(ended.out)["coverage"]["queries"] == {"found": 2, "total": 2}

    def test_with_other_ids_are_an_error_that_leaves_no_library(self, run: Run, clips: Path, tmp_path: Path) -> None:
        ended = run("evaluate", "fivr-5k", "--videos", clips, "--library", tmp_path / "here")
        assert_one_line_error(
            ended, r"no video of FIVR-5K in it: its videos are called 'clip_0\.mp4' and so on.*--pattern"
        )
        assert not (tmp_path / "here").exists()

    def test_that_cannot_be_looked_at_end_with_1_if_they_are_of_the_data_set(
        self, run: Run, data_set: Path, clips: Path, bundle_file: Path
    ) -> None:
        (clips / "stranger.mp4").symlink_to("nowhere")
        arguments = ["evaluate", data_set, "--videos", clips, "--model", bundle_file, "--format", "json"]
        assert run(*arguments).status == 0
        (clips / "clip_5.mp4").unlink()
        (clips / "clip_5.mp4").symlink_to("nowhere")
        ended = run(*arguments)
        assert ended.status == 1
        (failure,) = report(ended.out)["unreadable"]
        assert failure == {"id": str(clips / "clip_5.mp4"), "reason": "cannot be looked at (a link to nothing)"}
        assert ended.err.count("a link to nothing") == 1

    def test_that_are_gone_are_missing_though_the_library_has_them_still(
        self, run: Run, data_set: Path, clips: Path, bundle_file: Path
    ) -> None:
        arguments = ["evaluate", data_set, "--videos", clips, "--model", bundle_file, "--format", "json"]
        run(*arguments)
        (clips / "clip_1.mp4").unlink()
        ended = run(*arguments)
        assert (ended.status, "1 videos in the library, such as 'clip_1.mp4', are not in" in ended.err) == (0, True)
        assert report(ended.out)["coverage"]["missing_videos"] == [CLIPS[1]]

    def test_whose_ids_are_other_videos_in_the_library_are_an_error(
        self, run: Run, data_set: Path, clips: Path, library: Path, tmp_path: Path
    ) -> None:
        other = Path(shutil.copytree(clips, tmp_path / "other"))
        ended = run("evaluate", data_set, "--videos", other, "--library", library, "-q")
        assert_one_line_error(ended, r"clip_0\.mp4: in library .* 'clip_0\.mp4' is /.*; take another --library")
        assert len(Library.open(library, device="cpu").list()) == len(CLIPS)

    def test_that_the_library_has_under_other_ids_are_an_error(
        self, run: Run, clips: Path, library: Path, made_clips: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "truth.json").write_text('{"clip_0": {"ND": ["clip_1"]}}')
        arguments = ["--videos", made_clips, "--pattern", "{id}.mp4", "--library", library, "-q"]
        ended = run("evaluate", tmp_path / "truth.json", *arguments)
        assert_one_line_error(ended, r"clip_0\.mp4: in library .* it is called 'clip_0\.mp4'")

    def test_of_one_id_are_an_error(self, run: Run, clips: Path, bundle_file: Path, tmp_path: Path) -> None:
        (tmp_path / "truth.json").write_text('{"clip_0": {"ND": ["clip_1"]}}')
        shutil.copy(clips / "clip_0.mp4", clips / "clip_0.mov")
        arguments = ["--videos", clips, "--pattern", "{id}.*", "--model", bundle_file, "-q"]
        ended = run("evaluate", tmp_path / "truth.json", *arguments)
        assert_one_line_error(ended, r"clip_0\.mp4: has the id 'clip_0', as .*clip_0\.mov has; --pattern says which")

    def test_that_are_not_there_are_an_error_that_leaves_no_library(
        self, run: Run, data_set: Path, tmp_path: Path
    ) -> None:
        ended = run("evaluate", data_set, "--videos", tmp_path / "nowhere", "--library", tmp_path / "here")
        assert_one_line_error(ended, "nowhere: no such file or folder")
        (tmp_path / "empty").mkdir()
        ended = run("evaluate", data_set, "--videos", tmp_path / "empty", "--library", tmp_path / "here")
        assert_one_line_error(ended, "empty: no video of my_videos in it: it has no videos")
        assert not (tmp_path / "here").exists()


class TestFeatures:
    @pytest.fixture
    def features(self, indexed: Path, tmp_path: Path) -> Path:
        """The vectors of the six clips in the layout of the authors, and those of a video that nobody asks for."""
        h5py = pytest.importorskip("h5py")
        library = Library.open(indexed, device="cpu")
        with h5py.File(tmp_path / "features.hdf5", "w") as file:
            for name in CLIPS:
                file[name] = library.encoded(name).region_vectors.vectors
            file["stranger.mp4"] = library.encoded(CLIPS[0]).region_vectors.vectors
        return tmp_path / "features.hdf5"

    def test_of_another_bundle_leave_no_library_in_the_way(self, run: Run, data_set: Path, tmp_path: Path) -> None:
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "other.hdf5", "w") as file:
            file[CLIPS[0]] = np.ones((4, 3, 7), dtype=np.float32) / np.sqrt(np.float32(7))
        ended = run("evaluate", data_set, "--features", tmp_path / "other.hdf5", "--library", tmp_path / "here")
        assert (ended.status, "use the bundle that they were made with" in ended.err) == (2, True)
        assert not (tmp_path / "here").exists()

    def test_are_measured_as_the_videos_are(
        self, run: Run, data_set: Path, features: Path, indexed: Path, bundle_file: Path, tmp_path: Path
    ) -> None:
        place = ["--model", bundle_file, "--library", tmp_path / "of_features"]
        ended = run("evaluate", data_set, "--features", features, *place, "--format", "json")
        assert (ended.status, "6 added" in ended.err) == (0, True)
        of_videos = run("evaluate", data_set, "--library", indexed, "--format", "json")
        for task, row in report(ended.out)["rows"].items():
            expected = report(of_videos.out)["rows"][task]
            assert row["average_precision"] == pytest.approx(expected["average_precision"], abs=1e-6)
        assert "6 unchanged" in run("evaluate", data_set, "--features", features, *place).err

    def test_that_are_links_end_with_1_if_they_are_of_the_data_set(
        self, run: Run, data_set: Path, features: Path, bundle_file: Path
    ) -> None:
        h5py = pytest.importorskip("h5py")
        with h5py.File(features, "a") as file:
            file["another stranger"] = h5py.SoftLink("/clip_1.mp4")
        arguments = ["evaluate", data_set, "--features", features, "--model", bundle_file, "--format", "json"]
        ended = run(*arguments)
        assert (ended.status, "a link" in ended.err) == (0, False)
        with h5py.File(features, "a") as file:
            del file[CLIPS[5]]
            file[CLIPS[5]] = h5py.SoftLink("/clip_4.mp4")
        ended = run(*arguments)
        assert (ended.status, ended.err.count("a link, which is not followed")) == (1, 1)
        whole = report(ended.out)
        assert whole["unreadable"] == [{"id": CLIPS[5], "reason": "a link, which is not followed"}]
        # What the file held under this id before is not measured in its place.
        assert whole["coverage"]["missing_queries"] == [CLIPS[5]]

    def test_of_another_file_that_lacks_a_video_do_not_count_it_as_read(
        self, run: Run, data_set: Path, features: Path, bundle_file: Path, tmp_path: Path
    ) -> None:
        h5py = pytest.importorskip("h5py")
        arguments = ["--model", bundle_file, "--library", tmp_path / "kept", "--format", "json"]
        run("evaluate", data_set, "--features", features, *arguments)
        fewer = Path(shutil.copy(features, tmp_path / "fewer.hdf5"))
        with h5py.File(fewer, "a") as file:
            del file[CLIPS[1]]
        ended = run("evaluate", data_set, "--features", fewer, *arguments)
        assert (ended.status, "such as 'clip_1.mp4', are not in" in ended.err) == (0, True)
        whole = report(ended.out)
        assert whole["coverage"]["missing_videos"] == whole["coverage"]["missing_queries"] == [CLIPS[1]]
        assert any("count as missing" in warning for warning in whole["warnings"])

    def test_of_ids_that_are_video_files_in_the_library_are_an_error(
        self, run: Run, data_set: Path, features: Path, library: Path
    ) -> None:
        ended = run("evaluate", data_set, "--features", features, "--library", library, "-q")
        assert_one_line_error(ended, r"features\.hdf5: the library has a video 'clip_0\.mp4' already, indexed from /")

    def test_that_are_none_are_an_error_that_leaves_no_library(self, run: Run, data_set: Path, tmp_path: Path) -> None:
        ended = run("evaluate", data_set, "--features", tmp_path / "nobody.hdf5", "--library", tmp_path / "here")
        assert_one_line_error(ended, r"nobody\.hdf5: no such file")
        assert not (tmp_path / "here").exists()


class TestAPicture:
    def test_of_the_curves_is_drawn(self, run: Run, data_set: Path, scores: Path, tmp_path: Path) -> None:
        ended = run("evaluate", data_set, "--similarities", scores, "--plot", tmp_path / "curves.svg")
        assert ended.status == 0
        assert ">my_videos, 5 of 5 queries<" in (tmp_path / "curves.svg").read_text()
        assert ">ND (mAP 0.625)<" in (tmp_path / "curves.svg").read_text()

    def test_that_cannot_be_drawn_is_an_error_before_any_work(self, run: Run, data_set: Path, tmp_path: Path) -> None:
        ended = run("evaluate", data_set, "--similarities", tmp_path / "nobody.json", "--plot", "curves.jpg")
        assert_one_line_error(ended, r"curves\.jpg: a picture ends in")


class TestCalls:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ([], "Say what to measure: one of --videos, --features, --similarities, --segments or --library"),
            (["--videos", "a", "--similarities", "b"], "--videos and --similarities: give one of them"),
            (["--similarities", "a", "--library", "b"], "--library does not go with --similarities"),
            (["--library", "a", "--model", "b"], "--model does not go with --library"),
            (["--features", "a", "--pattern", "{id}"], "--pattern does not go with --features"),
            (["--segments", "a", "--against", "b"], "--against does not go with --segments"),
            (["--segments", "a", "--per-query"], "--per-query does not go with --segments"),
            (["--segments", "a", "--ties", "group"], "--ties does not go with --segments"),
            (["--segments", "a", "--seed", "0"], "--seed does not go with --segments"),
            (["--similarities", "a", "--rerank", "all"], "--rerank does not go with --similarities"),
            (["--similarities", "a", "--device", "cpu"], "--device does not go with --similarities"),
            (["--similarities", "a", "--precision", "fp32"], "--precision does not go with --similarities"),
        ],
    )  # fmt: skip
    def test_need_one_source_and_what_goes_with_it(self, run: Run, options: list[str], message: str) -> None:
        ended = run("evaluate", "evve", *options)
        assert (ended.status, ended.out) == (2, "")
        assert f"Error: {message}." in ended.err

    def test_with_a_share_that_is_none_are_refused_before_any_work(self, run: Run, tmp_path: Path) -> None:
        ended = run("evaluate", "evve", "--videos", tmp_path / "nowhere", "--rerank", "many")
        assert_one_line_error(ended, "rerank must be a number, a share such as 5%, or all")

    def test_of_an_unknown_data_set_name_the_known_ones(self, run: Run) -> None:
        assert_one_line_error(run("evaluate", "fivr", "--library", "x"), "no such data set or file.*FIVR-5K")

    def test_know_every_data_set_and_every_rule_for_ties_in_the_help(self, run: Run) -> None:
        out = " ".join(run("evaluate", "--help").out.split())
        assert [name for name in NAMES if name.lower() not in out] == []
        (ties,) = (option for option in command.params if option.name == "ties")
        assert tuple(ties.type.choices) == metrics.TIES


class TestTheGuide:
    """docs/evaluate.md: its commands and its Python run, on made data under the names that it uses."""

    GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")

    @pytest.fixture
    def prepared(
        self,
        data_set: Path,
        clips: Path,
        indexed: Path,
        bundle_file: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Path:
        h5py = pytest.importorskip("h5py")
        monkeypatch.chdir(tmp_path)
        for clip in CLIPS:
            shutil.copy(clips / clip, data_set / clip)
        split = ["file,component,split", *(f"{clip},{clip},test" for clip in CLIPS)]
        (data_set / "split.csv").write_text("\n".join(split))
        shutil.copy(bundle_file, "visil.safetensors")
        truth = load("fivr-5k")
        (near_duplicates,) = (task.relevant for task in truth.tasks if task.name == "DSVR")
        query = truth.queries[0]
        copy = min(near_duplicates[query] & set(truth.database))
        stored = Library.open(indexed, device="cpu").encoded(CLIPS[0]).region_vectors.vectors
        with h5py.File("features.hdf5", "w") as features:
            for name in (query, copy):
                Path("fivr", name).mkdir(parents=True)
                shutil.copy(clips / "clip_0.mp4", Path("fivr", name, "video.mp4"))
                features[name] = stored
        Path("scores.json").write_text(json.dumps({query: {copy: 0.9, truth.database[0]: 0.1}}))
        segment = "Q000001,R000002,0,4,1,5"
        columns = "query_id,ref_id,query_start,query_end,ref_start,ref_end"
        Path("vsc").mkdir()
        Path("vsc/val_matching_ground_truth.csv").write_text(f"{columns}\n{segment}\n")
        Path("predictions.csv").write_text(f"{columns},score\n{segment},0.5\n")
        Path("candidates.csv").write_text("query_id,ref_id,score\nQ000001,R000002,0.5\n")
        # The query is nearer to a reference that it does not show than to the one it does.
        for side, ids, features in (("query", [1], [[1, 0]]), ("reference", [2, 3], [[0.5, 0], [0.9, 0]])):
            vectors = np.array(features, dtype=np.float32)
            np.savez(f"{side}.npz", video_ids=ids, features=vectors, timestamps=np.zeros(len(ids)))
        return tmp_path

    def test_has_commands_that_run(self, run: Run, prepared: Path) -> None:
        blocks = re.findall(r"```\n(visil .*?)```", self.GUIDE, re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines() if not line.startswith("visil models convert")]
        assert len(lines) > 10
        for line in lines:
            line, _, out = line.partition(" > ")
            ended = run(*shlex.split(line)[1:])
            assert ended.status == 0, (line, ended.err)
            if out:
                Path(out).write_text(ended.out)
        assert Path("curves.png").stat().st_size > 0

    def test_has_python_that_runs(self, prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
        scripts = re.findall(r"```python\n(.*?)```", self.GUIDE, re.DOTALL)
        printed = []
        for script in scripts:
            exec(compile(script, "evaluate.md", "exec"), {})
            printed.append(capsys.readouterr().out)
        of_videos, of_scores, of_descriptors = printed
        assert of_videos == "1 of 50 queries\n"
        assert of_scores.startswith("DSVR 0.1 0.002\n")
        assert of_descriptors == "descriptor track micro-AP 0.5\n"

    def test_names_every_data_set_and_option(self) -> None:
        words = set(re.findall(r"[\w-]+", self.GUIDE))
        assert [name for name in NAMES if name.lower() not in words] == []
        shared = {"--device", "--precision", "--quiet", "--seed"}
        options = {option.opts[0] for option in command.params if option.opts[0].startswith("--")}
        assert sorted(options - shared - words) == []
