"""The commands as a user meets them: what they print where, and how they end."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import visil
import visil.cli.output as output_module
import visil.library.ingest as ingest_module
import visil.library.workload as workload_module
import visil.media.readers as readers_module
from tests.cli.commands import Ended, Run, assert_one_line_error, loaded_by, run_fresh
from tests.library.made import as_format_2
from tests.media.made_files import write_frames, write_grey
from visil.cli.output import human_bytes
from visil.library.compacting import folder_bytes
from visil.library.library import Library
from visil.library.settings import TABLE
from visil.media.limits import DecodeLimits
from visil.model.bundle import Bundle
from visil.model.model import Model
from visil.synth.video_file import write_video
from visil.values import EncodedVideo


class TestImports:
    @pytest.mark.parametrize(
        "arguments",
        [["search", "id:clip_0.mp4"], ["list"], ["info"], ["info", "clip_0.mp4"], ["verify"]],
        ids=" ".join,
    )
    def test_what_encodes_no_picture_loads_no_timm(self, arguments, indexed, tmp_path):
        assert loaded_by(*arguments, "--library", indexed, home=tmp_path).isdisjoint({"timm", "torchvision"})


@pytest.fixture(scope="module")
def half_a_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first half of a file of 8 s, whose header promises all of them."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 64, 3), dtype=np.uint8)
    path = write_frames(tmp_path_factory.mktemp("half") / "half.mkv", noise, fps=8, codec="libx264")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    return path


def cut_short(encode: Callable[..., EncodedVideo]) -> Callable[..., EncodedVideo]:
    """Whatever is encoded is cut short by a crash."""
    return lambda *arguments, **options: replace(
        encode(*arguments, **options), warning="the decoder crashed", cut_short="crashed"
    )


def retries(library: Path) -> str:
    return f"`visil index --retry-failed PATH... --library {library}`"


class TestIndex:
    def test_makes_a_library_and_says_what_it_did(self, run, clips, tmp_path, bundle_file):
        ended = run("index", clips, "--library", tmp_path / "library", "--model", bundle_file, "--workers", 2)
        assert (ended.status, ended.out) == (0, "")
        assert "6 added, 0 replaced, 0 moved, 0 unchanged, 0 vanished, 0 failed" in ended.err
        again = run("index", clips, "--library", tmp_path / "library")
        assert (again.status, again.out) == (0, "")
        assert "0 added, 0 replaced, 0 moved, 6 unchanged" in again.err

    def test_uses_the_users_own_library_unless_told_otherwise(self, run, clips, tmp_path, bundle_file, monkeypatch):
        assert run("index", clips / "clip_0.mp4", "--model", bundle_file).status == 0
        assert [row["id"] for row in run("list").rows()] == ["clip_0.mp4"]
        assert list((tmp_path / "home").rglob("library.toml"))
        monkeypatch.setenv("VISIL_LIBRARY", str(tmp_path / "other"))
        assert run("index", clips / "clip_1.mp4", "--model", bundle_file).status == 0
        assert [row["id"] for row in run("list").rows()] == ["clip_1.mp4"]

    def test_some_failures_are_listed_and_end_with_1(self, run, library, tmp_path, made_clips):
        (tmp_path / "broken.mp4").write_text("no video")
        ended = run("index", made_clips, tmp_path / "broken.mp4", "--library", library)
        assert (ended.status, ended.out) == (1, "")
        assert f"visil: {tmp_path / 'broken.mp4'}: not a video, or its headers are damaged\n" in ended.err
        again = run("index", tmp_path / "broken.mp4", "--library", library)
        assert again.status == 2
        assert f"1 file failed before, not tried again; {retries(library)} does it\n" in again.err
        assert run("index", tmp_path / "broken.mp4", "--library", library, "--quiet").err == ""
        assert (
            "headers are damaged" in run("index", tmp_path / "broken.mp4", "--library", library, "--retry-failed").err
        )

    def test_a_file_that_is_cut_short_is_indexed_with_a_warning_that_names_the_next_try(self, run, library, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (32, 48, 64, 3), dtype=np.uint8)
        path = write_frames(tmp_path / "a.mkv", noise, fps=8, codec="libx264")
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + (1 << 30))  # zeros in which nothing is found
        index = ("index", path, "--library", library, "--stall-seconds", 1)
        ended = run(*index)
        assert ended.status == 0
        assert re.search(rf"{path}: indexed with a warning: .*; --stall-seconds waits longer", ended.err)
        assert f"1 file cut short: {retries(library)} tries again" in ended.err
        assert "1 unchanged" in run(*index).err
        assert "1 file to decode" in run(*index, "--retry-failed").err
        (row,) = (row for row in run("list", "--library", library).rows() if row["id"] == "a.mkv")
        assert (row["status"], row["num_samples"]) == ("ok", 4)
        assert row["reason"].endswith("--stall-seconds waits longer")

    def test_nothing_but_failures_ends_with_2(self, run, library, tmp_path):
        (tmp_path / "broken.mp4").write_text("no video")
        assert run("index", tmp_path / "broken.mp4", "--library", library).status == 2

    def test_what_an_earlier_visil_read_is_looked_at_once_and_read_again_where_that_may_have_been_wrong(
        self, run, clips, tmp_path, bundle_file
    ):
        write_grey(clips / "alpha.mov", 8, codec="qtrle", pixel_format="argb")
        library = tmp_path / "library"
        run("index", clips, "--library", library, "--model", bundle_file)
        as_format_2(library)
        (clips / "clip_0.mp4").unlink()
        ended = run("index", clips, "--library", library)
        assert ended.status == 0
        for line in (
            "6 videos were read by older rules: headers and packet times are looked at once",
            "1 video was read again, because an earlier visil may have read it wrongly",
            "1 video read by older rules cannot be looked at: what is stored stays "
            f"(first: {clips / 'clip_0.mp4'}: its file is gone)",
            "0 added, 1 replaced, 0 moved, 5 unchanged, 1 vanished, 0 failed",
        ):
            assert line in ended.err
        again = run("index", clips, "--library", library).err
        assert "looked at once" not in again and "read again" not in again

    def test_vanished_and_moved_files_are_named(self, run, clips, tmp_path, bundle_file):
        run("index", clips, "--library", tmp_path / "library", "--model", bundle_file)
        (clips / "clip_0.mp4").unlink()
        (clips / "clip_1.mp4").rename(clips / "moved.mp4")
        ended = run("index", clips, "--library", tmp_path / "library")
        assert ended.status == 0
        forgets = f"`visil remove clip_0.mp4 --library {tmp_path / 'library'}`"
        assert f"{clips / 'clip_0.mp4'}: gone; still in the library, {forgets} forgets it" in ended.err
        assert "0 added, 0 replaced, 1 moved, 4 unchanged, 1 vanished" in ended.err

    def test_a_wrong_path_is_an_error_and_leaves_no_library_behind(self, run, tmp_path):
        ended = run("index", tmp_path / "nowhere", "--library", tmp_path / "library")
        assert_one_line_error(ended, "nowhere: no such file or folder$")
        assert not (tmp_path / "library").exists()

    def test_an_empty_folder_is_an_error_and_leaves_no_library_behind(self, run, tmp_path, clips, library):
        (tmp_path / "empty").mkdir()
        assert_one_line_error(run("index", tmp_path / "empty", "--library", library), "empty: no video found$")
        ended = run("index", tmp_path / "empty", "--library", tmp_path / "new")
        assert_one_line_error(ended, "empty: no video found, so no library is made$")
        ended = run("index", clips, "--exclude", "clip_*", "--library", tmp_path / "new")
        assert_one_line_error(ended, "no video found")
        assert not (tmp_path / "new").exists()

    def test_patterns_choose_among_the_files_of_a_folder(self, run, clips, tmp_path, bundle_file):
        (clips / "cache").mkdir()
        shutil.copy(clips / "clip_0.mp4", clips / "cache/clip_0.mp4")
        chosen = ["--include", "*_0.mp4", "--include", "clip_1*", "--exclude", "cache"]
        ended = run("index", clips, *chosen, "--library", tmp_path / "library", "--model", bundle_file)
        assert (ended.status, "2 added" in ended.err) == (0, True)
        rows = run("list", "--library", tmp_path / "library").rows()
        assert [row["id"] for row in rows] == ["clip_0.mp4", "clip_1.mp4"]

    def test_media_files_passed_over_are_counted_and_can_be_listed(self, run, clips, library):
        for name in ("b.webp", "a.HEIC", "x.heic"):
            (clips / name).write_text("a picture")
        ended = run("index", clips, "--library", library)
        assert (ended.status, ended.out) == (0, "")
        told = "visil: 3 media files passed over (2 .heic, 1 .webp); --list-passed-over lists them\n"
        assert told in ended.err
        listed = run("index", clips, "--list-passed-over", "--library", library, "--quiet")
        assert (listed.status, listed.err) == (0, "")
        assert listed.out == "".join(f"{clips / name}\n" for name in ("a.HEIC", "b.webp", "x.heic"))

    def test_a_link_to_nothing_is_passed_over_counted_and_listed_and_only_a_failure_if_it_is_named(
        self, run, clips, library
    ):
        link = clips / "lost.mp4"
        link.symlink_to(clips / "nowhere.mp4")
        ended = run("index", clips, "--library", library)
        assert ended.status == 0
        assert "visil: 1 link to nothing passed over; --list-passed-over lists them\n" in ended.err
        assert run("index", clips, "--list-passed-over", "--library", library).out == f"{link}\n"
        named = run("index", clips, link, "--library", library)
        assert (named.status, f"visil: {link}: a link to nothing\n" in named.err) == (1, True)

    def test_a_folder_of_nothing_but_trash_says_how_it_is_read(self, run, clips, library, tmp_path):
        drive, trash = tmp_path / "drive", tmp_path / "drive/$RECYCLE.BIN"
        drive.mkdir()
        clips.rename(trash)
        how = re.escape(f"; {trash} passed over: a trash or hidden folder is read if you name it itself") + "$"
        for path, said in ((library, "no video found"), (tmp_path / "new", "no video found, so no library is made")):
            assert_one_line_error(run("index", drive, "--library", path), said + how)
        assert run("index", trash, "--library", library).status == 0

    def test_what_failed_is_not_counted_as_a_video(self, run, library, tmp_path):
        (tmp_path / "broken.mp4").write_text("no video")
        said = run("index", tmp_path / "broken.mp4", "--library", library).err
        assert f"1 failed; 6 videos, 1 failure in {library}\n" in said

    def test_source_code_that_an_earlier_visil_took_for_a_video_is_forgotten_by_a_move(self, run, library, tmp_path):
        source = tmp_path / "component.ts"
        source.write_text("export const answer: number = 42;\n")
        run("index", source, "--library", library)
        ended = run("index", "--reindex", "--library", library)
        assert (ended.status, f"visil: {source}: source code, no video: forgotten\n" in ended.err) == (0, True)
        assert len(run("list", "--library", library).rows()) == 6

    def test_choosing_nothing_but_pictures_says_why_there_is_nothing(self, run, clips, library, tmp_path):
        (clips / "b.webp").write_text("a picture")
        why = r"; 1 media file passed over \(1 \.webp\): these are no names of videos, a file is only tried if you name"
        for path, said in ((library, "no video found"), (tmp_path / "new", "no video found, so no library is made")):
            assert_one_line_error(run("index", clips, "--include", "*.webp", "--library", path), said + why)
        assert "a still picture" not in run("index", clips / "b.webp", "--library", library).err
        assert [row["id"] for row in run("list", "--failed", "--library", library).rows()] == ["b.webp"]

    def test_of_a_drive_takes_no_trash_and_no_source_code_for_videos(self, run, shared_data, tmp_path, bundle_file):
        folder = tmp_path / "drive"
        folder.mkdir()
        for name in ("$RECYCLE.BIN", "component.ts", "front.mp4"):
            (folder / name).symlink_to(shared_data / "field_reports" / name)
        ended = run("index", folder, "--library", tmp_path / "library", "--model", bundle_file)
        assert (ended.status, "1 added" in ended.err, "1 video in" in ended.err) == (0, True, True)
        assert [row["id"] for row in run("list", "--library", tmp_path / "library").rows()] == ["front.mp4"]
        named = run("index", folder / "component.ts", "--library", tmp_path / "library")
        assert (named.status, "component.ts: not a video" in named.err) == (2, True)
        assert run("index", folder, "--library", tmp_path / "library").status == 0, "it was not looked at again"

    def test_a_reader_that_is_not_installed_is_refused_before_a_library_is_made(
        self, run, clips, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(readers_module, "find_spec", lambda name: None)
        ended = run("index", clips, "--reader", "decord", "--library", tmp_path / "library")
        assert_one_line_error(ended, r'the decord reader is not installed: pip install "visil\[decord\]"$')
        assert not (tmp_path / "library").exists()

    def test_limits_of_a_file_can_be_set(self, run, clips, library, monkeypatch):
        limits: list[DecodeLimits] = []
        decode_files = ingest_module.decode_files

        def spy(*arguments, **options):
            limits.append(options["limits"])
            return decode_files(*arguments, **options)

        monkeypatch.setattr(ingest_module, "decode_files", spy)
        run("index", clips, "--stall-seconds", 7, "--decode-memory", 0.5, "--library", library)
        assert limits == [DecodeLimits(stall_s=7, memory_bytes=500_000_000)]

    @pytest.mark.parametrize("option", ["--stall-seconds", "--decode-memory"])
    def test_a_limit_that_is_no_number_is_refused(self, run, clips, library, option):
        ended = run("index", clips, option, "nan", "--library", library)
        assert (ended.status, ended.out) == (2, "")
        assert ended.err.splitlines()[-1] == f"Error: Invalid value for '{option}': nan is no number"

    def test_an_unmounted_drive_is_one_line_with_both_remedies(self, run, clips, tmp_path, bundle_file):
        library = ["--library", tmp_path / "library"]
        run("index", clips, *library, "--model", bundle_file)
        clips.rename(tmp_path / "unplugged")
        ended = run("index", clips, *library)
        assert ended.status == 2
        lines = [line for line in ended.err.splitlines() if str(clips) in line]
        assert lines == [
            f"visil: {clips}: missing or empty, as an unmounted drive is; the library keeps 6 videos of it: "
            f"mount it and run this again, or forget it with `visil remove --below {clips} --library {library[1]}`"
        ]
        assert run("index", clips, tmp_path / "unplugged/clip_0.mp4", *library).status == 1
        assert "6 removed" in run("remove", "--below", clips, *library).err
        assert run("index", clips.parent, "--exclude", "library", *library).status == 0

    def test_a_long_run_says_first_what_it_will_take(self, run, clips, tmp_path, bundle_file, monkeypatch):
        arguments = ["index", clips, "--library", tmp_path / "library", "--model", bundle_file]
        monkeypatch.setattr(workload_module, "LONG_RUN_BYTES", 1)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, 1000))
        ended = run(*arguments)
        size = human_bytes(sum(path.stat().st_size for path in clips.iterdir()))
        said = rf"visil: 6 files to decode, {size}; the library will grow by about \d+ kB, 1.0 kB are free\n"
        assert re.search(said + "visil: that does not fit: free some space", ended.err), ended.err
        assert "to decode" not in run(*arguments).err, "nothing is left to do"

    def test_a_pattern_names_the_ids(self, run, clips, library):
        for i in range(2):
            (clips / f"q{i}").mkdir()
            (clips / f"clip_{i}.mp4").rename(clips / f"q{i}/video.mp4")
        assert run("index", clips, "--pattern", "{id}/video.*", "--library", library).status == 0
        assert {"q0", "q1"} <= {row["id"] for row in run("list", "--library", library).rows()}
        assert_one_line_error(
            run("index", clips, "--pattern", "*/video.*", "--library", library), r"pattern .* must hold \{id\} once"
        )

    @pytest.mark.parametrize("command", [["index"], ["remove", "clip_0.mp4"], ["compact"]], ids=lambda c: c[0])
    def test_a_library_of_format_2_is_brought_up_to_date_once_and_that_is_said(self, run, library, clips, command):
        as_format_2(library)
        size = human_bytes(folder_bytes(library / TABLE))
        arguments = [*command, *([clips] if command == ["index"] else []), "--library", library]
        said = f"visil: library of format 2 is brought up to date: {size} are read and written once\n"
        assert said in run(*arguments).err
        assert "brought up to date" not in run("index", clips, "--library", library).err

    def test_another_model_than_that_of_the_library_is_refused(self, run, clips, library):
        ended = run("index", clips, "--library", library, "--model", "mini")
        assert_one_line_error(
            ended,
            r"'quick' \([0-9a-f]{12}\), not with mini \([0-9a-f]{12}\); .* with `visil index --reindex --model mini --",
        )

    def test_an_unknown_model_is_an_error_that_names_the_known_ones(self, run, clips, tmp_path):
        ended = run("index", clips, "--library", tmp_path / "library", "--model", "nobody")
        assert_one_line_error(ended, r"nobody: neither a bundle file nor a known name \(known: .*mini")

    @pytest.mark.parametrize("name", ["untrained", "mini"])
    def test_a_library_of_an_earlier_built_in_bundle_goes_on_with_it_until_it_is_moved(
        self, run, clips, tmp_path, quick_model, model, name
    ):
        earlier = Bundle(replace(quick_model.settings, name=name), quick_model.bundle.tensors)
        earlier.save(tmp_path / "earlier.safetensors")
        of_library = ("--library", tmp_path / "a")
        ended = run("index", clips / "clip_0.mp4", *of_library, "--model", tmp_path / "earlier.safetensors")
        assert "goes on with its own bundle" not in ended.err, "it was asked for"
        ended = run("index", clips, *of_library)
        assert ended.status == 0
        (line,) = [line for line in ended.err.splitlines() if "goes on with its own bundle" in line]
        assert f"its own bundle '{name}' ({earlier.hash[:12]}); `visil index --reindex --library" in line
        assert run("index", clips, *of_library, "--quiet").err == ""
        copy = shutil.copy(clips / "clip_3.mp4", tmp_path / "copy.mp4")
        found = run("search", copy, *of_library)
        assert (found.status, found.rows()[1]["video"]) == (0, "clip_3.mp4")
        assert run("index", "--reindex", *of_library).status == 0
        assert Library.open(tmp_path / "a", device="cpu").model.bundle.hash == model.bundle.hash
        assert "goes on with its own bundle" not in run("index", clips, *of_library).err
        assert run("search", copy, *of_library).rows()[1]["video"] == "clip_3.mp4"

    def test_a_library_of_a_bundle_that_was_chosen_is_left_in_peace(self, run, clips, library):
        assert "goes on with its own bundle" not in run("index", clips, "--library", library).err

    def test_an_interrupt_ends_with_130_and_keeps_what_was_finished(self, run, clips, library, monkeypatch):
        def interrupted(*args: object, **options: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Library, "add", interrupted)
        ended = run("index", clips, "--library", library, "--exclude", "*.tmp.mp4")
        assert (ended.status, ended.out) == (130, "")
        again = shlex.join(["visil", "index", str(clips), "--library", str(library), "--exclude", "*.tmp.mp4"])
        assert f"go on with: {again}\n" in ended.err
        assert "Traceback" not in ended.err
        assert len(run("list", "--library", library).rows()) == 6


class TestSearch:
    def matches(self, ended: Ended) -> list[dict[str, Any]]:
        return [row for row in ended.rows() if "manifest" not in row and "error" not in row]

    def test_ranks_the_videos_and_names_units_and_stages(self, run, indexed, made_clips, tmp_path):
        copy = shutil.copy(made_clips / "clip_2.mp4", tmp_path / "copy.mp4")
        ended = run("search", copy, "--library", indexed)
        rows = self.matches(ended)
        assert ended.status == 0
        assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5, 6]
        best = rows[0]
        assert (best["video"], best["identical"], best["probability"]) == ("clip_2.mp4", True, None)
        assert best["file"] == ""
        assert best["query"] == str(copy)
        assert best["path"] == str(made_clips / "clip_2.mp4")
        assert best["score"] == pytest.approx(best["stages"]["fine"] / 2 + 0.5)
        assert 0 <= rows[-1]["score"] <= best["score"] <= 1

    def test_a_manifest_says_what_two_results_must_share(self, run, indexed):
        manifest = run("search", "id:clip_0.mp4", "--library", indexed, "--top", 2).rows()[0]["manifest"]
        assert manifest["visil"] == visil.__version__
        assert manifest["bundle"] == {"name": "quick", "hash": Library.open(indexed, device="cpu").model.bundle.hash}
        assert manifest["preprocessing"]["size_px"] == 64
        assert manifest["library"]["version"] == Library.open(indexed, device="cpu").version
        assert (manifest["rerank"], manifest["top"], manifest["precision"]) == ("200", 2, "fp32")
        assert manifest["command"][:2] == ["search", "id:clip_0.mp4"]

    def test_every_format_holds_the_same_matches(self, run, indexed):
        asked = ["search", "id:clip_0.mp4", "--library", indexed, "--format"]
        expected = [row["video"] for row in self.matches(run(*asked, "jsonl"))]
        assert len(expected) == 5
        answer = json.loads(run(*asked, "json").out)
        assert [row["video"] for row in answer["rows"]] == expected
        assert answer["manifest"]["visil"] == visil.__version__
        assert [row["video"] for row in csv.DictReader(io.StringIO(run(*asked, "csv").out))] == expected
        heading, *lines = run(*asked, "table").out.splitlines()
        assert {"rank", "video", "score"} <= set(heading.split())
        assert [next(word for word in line.split() if word in expected) for line in lines] == expected

    def test_a_result_goes_to_standard_output_and_everything_else_to_standard_error(self, run, indexed):
        ended = run("search", "id:clip_0.mp4", "--library", indexed)
        assert all(line.startswith("{") for line in ended.out.splitlines())
        assert "1 of 1 query searched, 5 fine scores" in ended.err

    def test_what_has_no_score_is_a_dash_null_or_nothing(self, run, library, clips):
        write_video(clips / "black.mp4", [np.zeros((48, 64, 3), np.uint8)] * 8, 8)
        shutil.copy(clips / "black.mp4", clips / "twin.mp4")
        said = run("index", clips, "--library", library).err
        assert "2 videos without content (every frame is blank): found by equal bytes alone" in said
        asked = ["search", clips / "black.mp4", "--library", library, "--format"]
        (row,) = self.matches(run(*asked, "jsonl"))
        assert (row["score"], row["identical"], row["stages"]) == (None, True, {})
        (row,) = csv.DictReader(io.StringIO(run(*asked, "csv").out))
        assert (row["score"], row["coarse"], row["fine"]) == ("", "", "")
        ended = run(*asked, "table")
        assert ended.out.splitlines()[1].split()[-3:] == ["twin.mp4", "-", "True"]
        assert ended.status == 0
        assert "black.mp4: every frame is blank, so it has no score; only files of equal bytes are found" in ended.err

    def test_a_file_that_is_gone_says_so_in_every_format(self, run, indexed, made_clips, tmp_path, quick_model):
        folder = Path(shutil.copytree(made_clips, tmp_path / "clips"))
        Library.create(tmp_path / "library", quick_model).add([folder], workers=2)
        (folder / "clip_1.mp4").unlink()
        asked = ["search", "id:clip_0.mp4", "--library", tmp_path / "library", "--format"]
        states = {row["video"]: row["file"] for row in self.matches(run(*asked, "jsonl"))}
        assert states == {f"clip_{i}.mp4": "gone" if i == 1 else "" for i in (1, 2, 3, 4, 5)}
        assert {row["video"]: row["file"] for row in csv.DictReader(io.StringIO(run(*asked, "csv").out))} == states
        ended = run(*asked, "table")
        assert [line.split()[2] for line in ended.out.splitlines() if " gone " in line] == ["clip_1.mp4"]
        assert "unmounted" not in ended.err
        shutil.rmtree(folder)
        assert f"{folder}: missing or empty, as an unmounted drive is" in run(*asked, "table").err

    def test_some_bad_queries_end_with_1_and_are_named(self, run, indexed, tmp_path):
        ended = run("search", tmp_path / "nowhere.mp4", "id:clip_0.mp4", "--library", indexed)
        assert ended.status == 1
        assert len(self.matches(ended)) == 5
        assert "nowhere.mp4: no such file" in ended.err and "1 of 2 queries searched" in ended.err

    def test_a_query_that_was_read_in_part_is_searched_and_named(self, run, indexed, made_clips, monkeypatch, tmp_path):
        monkeypatch.setattr(Model, "encode", cut_short(Model.encode))
        query = shutil.copy(made_clips / "clip_0.mp4", tmp_path)
        ended = run("search", query, "--library", indexed, "--quiet")
        assert (ended.status, len(self.matches(ended))) == (0, 6)
        assert ended.err == f"visil: {query}: searched in part: the decoder crashed\n"

    def test_a_query_that_ends_before_its_header_says_is_searched_and_the_reason_told(self, run, library, half_a_video):
        reason = r"only [\d.]+ s of the 8\.0 s that its header promises"
        ended = run("search", half_a_video, "--library", library, "--quiet")
        assert (ended.status, len(self.matches(ended))) == (0, 6)
        assert re.fullmatch(f"visil: {half_a_video}: searched with a warning: {reason}\n", ended.err)
        assert re.search(f"indexed with a warning: {reason}\n", run("index", half_a_video, "--library", library).err)
        for query in (half_a_video, "id:half.mkv"):
            ended = run("search", query, "--library", library, "--quiet")
            said = f"visil: {query}: searched as it was indexed, with a warning: {reason}\n"
            assert re.fullmatch(said, ended.err)

    def test_a_query_that_hangs_is_given_up_by_the_limits_of_the_search(
        self, run, indexed, made_clips, bundle_file, monkeypatch
    ):
        limits: list[DecodeLimits] = []
        encode = Model.encode

        def spy(*arguments, **options):
            limits.append(options["limits"])
            return encode(*arguments, **options)

        monkeypatch.setattr(Model, "encode", spy)
        asked = ["--stall-seconds", 7, "--decode-memory", 0.5]
        part, whole = f"{made_clips / 'clip_0.mp4'}@0-2", made_clips / "clip_1.mp4"
        assert run("search", part, "--library", indexed, *asked).status == 0
        assert run("compare", part, whole, "--model", bundle_file, *asked).status == 0
        assert limits == 3 * [DecodeLimits(stall_s=7, memory_bytes=500_000_000)]

    def test_nothing_is_identical_to_a_file_that_is_gone_and_that_is_said_even_quietly(
        self, run, clips, tmp_path, bundle_file
    ):
        shutil.copy(clips / "clip_0.mp4", clips / "copy.mp4")
        run("index", clips, "--library", tmp_path / "own", "--model", bundle_file)
        (clips / "clip_0.mp4").unlink()
        ended = run("search", "id:clip_0.mp4", "--library", tmp_path / "own", "--quiet")
        best = self.matches(ended)[0]
        assert (ended.status, best["video"], best["identical"]) == (0, "copy.mp4", False)
        assert ended.err == "visil: id:clip_0.mp4: its file is gone: no match is called identical\n"

    def test_nothing_but_bad_queries_ends_with_2(self, run, indexed):
        ended = run("search", "id:nobody", "--library", indexed)
        assert ended.status == 2
        told = f"no video 'nobody' in the library; `visil list --library {indexed}` names them"
        assert told in ended.err
        (failure,) = ended.rows()[1:]
        assert failure == {"query": "id:nobody", "error": told}

    def test_no_match_is_no_failure(self, run, tmp_path, quick_model, made_clips):
        Library.create(tmp_path / "library", quick_model)
        ended = run("search", made_clips / "clip_0.mp4", "--library", tmp_path / "library")
        assert (ended.status, self.matches(ended)) == (0, [])

    def test_a_list_of_queries_and_the_number_of_matches(self, run, indexed, tmp_path):
        (tmp_path / "list.txt").write_text("id:clip_0.mp4\nid:clip_1.mp4\n")
        ended = run("search", f"@{tmp_path / 'list.txt'}", "--top", 2, "--library", indexed)
        assert [(row["query"], row["rank"]) for row in self.matches(ended)] == [
            ("id:clip_0.mp4", 1),
            ("id:clip_0.mp4", 2),
            ("id:clip_1.mp4", 1),
            ("id:clip_1.mp4", 2),
        ]

    @pytest.mark.parametrize("name", ["", "@"])
    def test_a_name_that_is_missing_is_not_the_current_folder(self, run, indexed, made_clips, monkeypatch, name):
        monkeypatch.chdir(made_clips)
        ended = run("search", name, "--library", indexed, "--quiet")
        assert (ended.status, ended.err.count("\n"), self.matches(ended)) == (2, 1, [])
        assert run("compare", "", "clip_0.mp4").status == 2

    def test_a_folder_is_shown_by_the_path_that_was_given(self, run, indexed, made_clips, monkeypatch):
        monkeypatch.chdir(made_clips.parent)
        queries = {row["query"] for row in self.matches(run("search", made_clips.name, "--library", indexed))}
        assert queries == {f"{made_clips.name}/clip_{i}.mp4" for i in range(6)}

    def test_a_missing_list_is_a_query_that_failed(self, run, indexed):
        ended = run("search", "@nowhere.txt", "id:clip_0.mp4", "--library", indexed, "--top", 1)
        assert (ended.status, len(self.matches(ended))) == (1, 1)
        assert "@nowhere.txt: the list cannot be read" in ended.err

    def test_rerank_below_top_is_raised_with_a_notice(self, run, indexed):
        ended = run("search", "id:clip_0.mp4", "--rerank", 1, "--top", 3, "--library", indexed)
        assert "raised to 3" in ended.err and "3 fine scores" in ended.err
        assert "0 fine scores" in run("search", "id:clip_0.mp4", "--rerank", 0, "--library", indexed).err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["id:clip_0.mp4", "--rerank", "most"], "rerank must be a number, a share such as 5%, or all; got 'most'"),
            (["id:clip_0.mp4", "--device", "abacus"], "device must be auto, cpu, cuda or cuda:N, got 'abacus'"),
        ],
    )
    def test_what_cannot_run_is_one_line_and_ends_with_2(self, run, indexed, arguments, message):
        assert_one_line_error(run("search", *arguments, "--library", indexed, "--quiet"), message)

    @pytest.mark.parametrize("command", [["search", "a.mp4"], ["list"], ["info"], ["verify"], ["remove", "a"]])
    def test_no_library_is_one_line_and_ends_with_2(self, run, tmp_path, command):
        assert_one_line_error(run(*command, "--library", tmp_path / "none"), "no library here; `visil index")

    @pytest.mark.parametrize("name", ["x" * 300, "@" + "y" * 300])
    def test_a_name_that_no_file_can_have_is_no_traceback(self, run, indexed, name):
        ended = run("search", name, "--library", indexed)
        assert ended.status == 2
        assert "Traceback" not in ended.err


class TestTheOtherCommands:
    def test_list_names_every_video_with_units(self, run, indexed):
        rows = run("list", "--library", indexed).rows()
        assert [row["id"] for row in rows] == [f"clip_{i}.mp4" for i in range(6)]
        assert rows[0]["status"] == "ok"
        assert rows[0]["duration_s"] == pytest.approx(3)
        assert rows[0]["num_samples"] == 3

    def test_list_can_be_asked_for_failures_alone(self, run, library, tmp_path):
        (tmp_path / "broken.mp4").write_text("no video")
        run("index", tmp_path / "broken.mp4", "--library", library)
        (row,) = run("list", "--failed", "--library", library).rows()
        assert (row["id"], row["reason"]) == ("broken.mp4", "not a video, or its headers are damaged")

    @pytest.mark.parametrize("command", [["list"], ["info"], ["info", "clip_0.mp4"], ["models", "list"]])
    def test_every_format_parses(self, run, indexed, command):
        library = [] if command[0] == "models" else ["--library", indexed]
        for style in ("table", "json", "jsonl", "csv"):
            ended = run(*command, *library, "--format", style)
            assert (ended.status, ended.err) == (0, "")
            if style == "json":
                assert json.loads(ended.out)["rows"]
            elif style == "jsonl":
                assert ended.rows()
            elif style == "csv":
                rows = list(csv.reader(io.StringIO(ended.out)))
                assert len(rows) > 1 and len({len(row) for row in rows}) == 1
            else:
                assert len(ended.out.splitlines()) > 1

    def test_fields_carry_their_units(self, run, indexed):
        (whole,) = run("info", "--library", indexed).rows()
        (one,) = run("info", "clip_0.mp4", "--library", indexed).rows()
        assert {"duration_s", "disk_bytes", "fps", "bundle_hash", "videos"} <= set(whole)
        assert {"duration_s", "size_bytes", "coded_size_px", "rotation_deg", "start_offset_s"} <= set(one)
        assert (whole["videos"], whole["num_samples"], one["coded_size_px"]) == (6, 18, "96x64")

    def test_info_of_an_unknown_video_is_an_error(self, run, indexed):
        assert_one_line_error(run("info", "nobody", "--library", indexed), "no video 'nobody' in the library")

    def test_verify_ends_with_0_1_or_2(self, run, clips, tmp_path, bundle_file):
        library = tmp_path / "library"
        run("index", clips, "--library", library, "--model", bundle_file)
        clean = run("verify", "--library", library)
        assert (clean.status, clean.out) == (0, "")
        assert "6 videos checked: 0 damaged, 0 changed, gone or to index again" in clean.err
        (clips / "clip_0.mp4").unlink()
        changed = run("verify", "--library", library)
        assert changed.status == 1
        assert [(row["id"], row["damage"]) for row in changed.rows()] == [("clip_0.mp4", False)]
        shutil.rmtree(library / "videos.lance/data")
        assert_one_line_error(run("verify", "--library", library, "--quiet"), "the table is damaged")

    def test_remove_forgets_videos(self, run, library):
        ended = run("remove", "clip_0.mp4", "clip_1.mp4", "--library", library)
        assert "brought up to date" not in ended.err
        assert (ended.status, ended.out) == (0, "")
        assert "2 removed; 4 videos" in ended.err
        assert_one_line_error(run("remove", "clip_2.mp4", "clip_0.mp4", "--library", library), "no video 'clip_0.mp4'")
        assert_one_line_error(run("remove", "--below", "/nowhere", "--library", library), "no video .* lies there")
        assert "or option '--below'" in run("remove", "--library", library).err
        assert len(run("list", "--library", library).rows()) == 4

    @pytest.mark.parametrize(
        ("arguments", "option"),
        [
            (["remove", "--below", ""], "--below"),
            (["remove", "clip_0.mp4", "--library", ""], "--library"),
            (["index", "clip_0.mp4", "--library", ""], "--library"),
        ],
    )
    def test_an_empty_name_is_not_the_current_folder(self, run, library, made_clips, monkeypatch, arguments, option):
        monkeypatch.setenv("VISIL_LIBRARY", str(library))
        monkeypatch.chdir(made_clips)
        assert_one_line_error(run(*arguments), f"{option} needs a folder$")
        assert len(run("list").rows()) == 6

    def test_a_vanished_id_that_looks_like_an_option_is_suggested_so_that_it_can_be_pasted(
        self, run, library, made_clips, tmp_path
    ):
        folder = tmp_path / "folder"
        folder.mkdir()
        path = Path(shutil.copy(made_clips / "clip_0.mp4", folder / "-x.mp4"))
        shutil.copy(made_clips / "clip_1.mp4", folder)
        run("index", folder, "--library", library)
        path.unlink()
        (pasted,) = re.findall("`visil (remove.*)` forgets it", run("index", folder, "--library", library).err)
        assert run(*shlex.split(pasted)).status == 0
        assert run("info", "--library", library, "--", "-x.mp4").status == 2

    def test_compare_prints_both_directions(self, run, made_clips, bundle_file):
        a, b = made_clips / "clip_0.mp4", made_clips / "clip_1.mp4"
        ended = run("compare", a, b, "--model", bundle_file)
        assert ended.status == 0
        assert [(row["query"], row["video"]) for row in ended.rows()] == [(str(a), str(b)), (str(b), str(a))]
        assert all(0 <= row["score"] <= 1 for row in ended.rows())
        same = run("compare", a, a, "--model", bundle_file).rows()[0]
        assert same["score"] == pytest.approx(1, abs=1e-3)

    def test_compare_takes_parts_and_still_pictures(self, run, made_clips, bundle_file, tmp_path):
        clip, picture = made_clips / "clip_0.mp4", tmp_path / "frame.png"
        with av.open(str(clip)) as video:
            next(video.decode(video=0)).save(picture)
        part, whole, still = (
            run("compare", query, clip, "--model", bundle_file).rows()[0] for query in (f"{clip}@1-2", clip, picture)
        )
        assert part["query"] == f"{clip}@1-2"
        assert 0.5 < part["score"] < whole["score"]
        assert still["score"] > 0.5
        assert_one_line_error(
            run("compare", f"{clip}@80-", clip, "--model", bundle_file), r"the range begins at 80 s, the video ends at"
        )

    def test_compare_says_what_was_read_in_part(self, run, made_clips, bundle_file, monkeypatch):
        monkeypatch.setattr(Model, "encode", cut_short(Model.encode))
        a, b = made_clips / "clip_0.mp4", made_clips / "clip_1.mp4"
        ended = run("compare", a, b, "--model", bundle_file)
        assert (ended.status, len(ended.rows())) == (0, 2)
        assert ended.err == "".join(f"visil: {name}: compared in part: the decoder crashed\n" for name in (a, b))

    def test_compare_tells_the_reason_why_a_file_was_not_read_to_its_end(
        self, run, made_clips, bundle_file, half_a_video
    ):
        ended = run("compare", made_clips / "clip_0.mp4", half_a_video, "--model", bundle_file)
        assert (ended.status, len(ended.rows())) == (0, 2)
        assert re.fullmatch(
            rf"visil: {half_a_video}: compared with a warning: only [\d.]+ s of the 8\.0 s .*\n", ended.err
        )

    def test_compare_of_what_shows_nothing_is_an_error(self, run, made_clips, bundle_file, tmp_path):
        black = tmp_path / "black.mp4"
        write_video(black, [np.zeros((48, 64, 3), np.uint8)] * 8, 8)
        ended = run("compare", made_clips / "clip_0.mp4", black, "--model", bundle_file)
        assert_one_line_error(ended, r"black\.mp4: every frame is blank, so it has no score")
        missing = run("compare", made_clips / "clip_0.mp4", tmp_path / "none.mp4", "--model", bundle_file)
        assert_one_line_error(missing, r"none\.mp4: no such file")

    def test_compare_takes_no_id_because_it_has_no_library(self, run, made_clips, bundle_file):
        ended = run("compare", "id:clip_0.mp4", made_clips / "clip_0.mp4", "--model", bundle_file)
        assert_one_line_error(ended, r"^visil: id:clip_0\.mp4: an id is for a search; compare takes files$")

    def test_models_show_checks_the_default_bundle(self, run):
        ended = run("models", "show", "mini", "--check", "--format", "json")
        assert ended.status == 0
        assert "fixed picture: the same vectors" in ended.err


class TestLibraryLife:
    @pytest.fixture
    def other_bundle(self, quick_model: Model, tmp_path: Path) -> Path:
        settings = replace(quick_model.settings, name="other")
        Bundle(settings, quick_model.bundle.tensors).save(tmp_path / "other.safetensors")
        return tmp_path / "other.safetensors"

    def test_a_query_may_be_a_part_of_a_clip(self, run, indexed, made_clips):
        part = f"{made_clips / 'clip_3.mp4'}@0:01-"
        ended = run("search", part, f"{made_clips / 'clip_3.mp4'}@0:01", "--library", indexed, "--top", 1)
        assert ended.status == 1
        _, best, bad = ended.rows()
        assert (best["query"], best["identical"]) == (part, False)
        assert best["video"] != "clip_3.mp4", "no file answers for a part of itself"
        assert "'0:01' is no range; write START-END, as in clip_3.mp4@1:20-1:40" in bad["error"]

    def test_reindex_moves_a_library_and_compact_gives_the_space_back(self, run, library, made_clips, other_bundle):
        moved = run("index", "--reindex", "--model", other_bundle, "--library", library)
        assert (moved.status, moved.out) == (0, "")
        assert "6 added" in moved.err and f"`visil compact --library {library}` gives their space back" in moved.err
        assert run("info", "--library", library).rows()[0]["bundle"] == "other"
        compacted = run("compact", "--library", library)
        assert (compacted.status, compacted.out) == (0, "")
        assert re.search(r"^visil: [0-9.]+ MB given back; 6 videos in", compacted.err)
        assert not (library / "videos.lance").exists()
        assert run("verify", "--library", library).status == 0

    def test_a_refused_move_lists_what_keeps_it(self, run, clips, tmp_path, bundle_file, other_bundle):
        library = tmp_path / "library"
        run("index", clips, "--library", library, "--model", bundle_file)
        for number in (1, 2):
            (clips / f"clip_{number}.mp4").unlink()
        ended = run("index", "--reindex", "--model", other_bundle, "--library", library, "--quiet")
        assert (ended.status, ended.out) == (2, "")
        first, second, last = ended.err.splitlines()
        assert (first, second) == tuple(f"visil: {clips / f'clip_{n}.mp4'}: its file is gone" for n in (1, 2))
        assert last.startswith("visil: 2 of 6 videos cannot be encoded with bundle 'other'")
        assert run("info", "--library", library).rows()[0]["bundle"] == "quick"

    def test_verify_repairs_only_when_asked_to_and_says_what_it_did(self, run, library, bundle_file):
        (library / "model.safetensors").unlink()
        remedy = r"`visil verify --repair --model BUNDLE --library .*` restores it"
        assert_one_line_error(run("list", "--library", library), remedy)
        assert_one_line_error(run("verify", "--library", library), remedy)
        assert_one_line_error(run("verify", "--repair", "--library", library), "give a copy of 'quick' .* with --model")
        mended = run("verify", "--repair", "--model", bundle_file, "--library", library)
        assert (mended.status, mended.out) == (0, "")
        assert re.search(r"^visil: bundle 'quick' \(.*\) restored from .*\.safetensors$", mended.err, re.MULTILINE)

    @pytest.mark.parametrize("option", [["--model", "mini"], ["--to-version", "3"], ["--drop-rows", "3"]])
    def test_what_belongs_to_a_repair_needs_one(self, run, library, option):
        ended = run("verify", "--library", library, *option)
        assert (ended.status, ended.out) == (2, "")
        assert "--model, --to-version and --drop-rows go with --repair." in ended.err


class TestTerminals:
    NASTY = "\x1b[31mred\x1b[0m\x07\u202e.mp4"

    @pytest.fixture
    def nasty(self, run: Run, library: Path, clips: Path, tmp_path: Path) -> Path:
        """A library with a video whose name would paint the terminal, and a broken file of such a name."""
        folder = tmp_path / "nasty"
        folder.mkdir()
        shutil.copy(clips / "clip_0.mp4", folder / self.NASTY)
        (folder / f"broken {self.NASTY}").write_text("no video")
        assert run("index", folder, "--library", library).status == 1
        return library

    def test_control_characters_of_file_names_are_not_printed_raw(self, run, nasty):
        for command in (["list"], ["info", self.NASTY], ["search", "id:clip_1.mp4"], ["verify"]):
            for style in ("table", "json", "jsonl"):
                ended = run(*command, "--library", nasty, "--format", style)
                assert not {"\x1b", "\x07", "\u202e"} & set(ended.out + ended.err), (command, style)
        for command in (["search", f"id:no{self.NASTY}"], ["info", f"no{self.NASTY}"], ["remove", f"no{self.NASTY}"]):
            ended = run(*command, "--library", nasty)
            assert ended.status == 2
            assert not {"\x1b", "\x07", "\u202e"} & set(ended.out + ended.err), command

    def test_tables_show_such_a_name_as_it_can_be_pasted(self, run, nasty):
        for command in (["list"], ["info", self.NASTY]):
            assert (
                r"$'\x1b[31mred\x1b[0m\x07\U0000202e.mp4'" in run(*command, "--library", nasty, "--format", "table").out
            ), command

    def test_a_failure_of_such_a_file_is_still_one_line(self, run, library, tmp_path):
        broken = tmp_path / "line\nbreak.mp4"
        broken.write_text("no video")
        ended = run("index", broken, "--library", library)
        assert [line for line in ended.err.splitlines() if "not a video" in line] == [
            f"visil: {tmp_path}/line\\nbreak.mp4: not a video, or its headers are damaged"
        ]

    @pytest.mark.parametrize("terminal", ["latin-1", "ascii", "cp1252"])
    def test_an_export_is_utf_8_whatever_the_terminal_shows(self, run, library, clips, tmp_path, terminal):
        path = (clips / "clip_0.mp4").rename(clips / "Übung 日本.mp4")
        run("index", path, "--library", library)
        for style in ("csv", "json", "jsonl"):
            command = [sys.executable, "-m", "visil.cli.main", "list", "--library", str(library), "--format", style]
            environment = {**os.environ, "PYTHONIOENCODING": terminal}
            out = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment).stdout.decode("utf-8")
            assert (path.name if style == "csv" else json.dumps(path.name)) in out

    @pytest.mark.parametrize("arguments", [["list"], ["list", "--format", "table"], ["--help"]], ids=" ".join)
    def test_a_closed_standard_output_is_no_success(self, indexed, arguments):
        command = shlex.join([sys.executable, "-m", "visil.cli.main", *arguments])
        environment = {**os.environ, "VISIL_LIBRARY": str(indexed)}
        ended = subprocess.run(
            ["bash", "-c", f"{command} >&-"], capture_output=True, text=True, check=False, env=environment
        )
        said = "visil: standard output is closed: results have nowhere to go\n"
        assert (ended.returncode, ended.stderr) == (2, said)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
    @pytest.mark.parametrize("arguments", [["list"], ["list", "--format", "table"], ["--help"]], ids=" ".join)
    def test_a_full_standard_output_is_named(self, indexed, arguments):
        command = [sys.executable, "-m", "visil.cli.main", *arguments]
        environment = {**os.environ, "VISIL_LIBRARY": str(indexed)}
        with Path("/dev/full").open("w") as full:
            ended = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment
            )
        assert (ended.returncode, ended.stderr) == (2, "visil: standard output: No space left on device\n")

    @pytest.mark.parametrize("output_format", ["jsonl", "table"])
    @pytest.mark.parametrize("num_lines", [0, 1])
    def test_a_reader_that_leaves_early_is_no_error(self, indexed, output_format, num_lines):
        arguments = ["list", "--library", str(indexed), "--format", output_format]
        command = shlex.join([sys.executable, "-m", "visil.cli.main", *arguments])
        ended = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command} | head -n {num_lines}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.count("\n") == num_lines

    def test_a_fresh_process_ends_as_one_in_a_test_does(self, indexed, made_clips, tmp_path):
        query = shutil.copy(made_clips / "clip_2.mp4", tmp_path)
        ended = run_fresh("search", query, "id:nobody", "--library", indexed, "--format", "csv")
        assert ended.status == 1
        (best, *_) = csv.DictReader(io.StringIO(ended.out))
        assert (best["rank"], best["video"]) == ("1", "clip_2.mp4")
        assert "Traceback" not in ended.err and "no video 'nobody'" in ended.err


def turn(file: Path, content: bytes) -> None:
    """Turn a bit of the first of these bytes."""
    changed = bytearray(file.read_bytes())
    changed[changed.index(content)] ^= 1
    file.write_bytes(changed)


class TestDamageOfALibrary:
    def test_beside_the_vectors_is_told_by_list_info_and_doctor_as_by_a_search(self, run, library):
        (file,) = (library / "videos.lance/data").iterdir()
        turn(file, b"clip_1.mp4")
        (*lines, _) = run("search", "id:clip_0.mp4", "--library", library).err.splitlines()
        assert f"data/{file.name}: is not what was written: what is listed of its videos may be wrong" in lines[-1]
        for command in (["list"], ["info"], ["info", "clip_0.mp4"]):
            ended = run(*command, "--library", library)
            assert (ended.status, ended.err.splitlines()) == (1, lines)
            assert ended.out
        wrong = {row["check"]: row for row in run("doctor", "--library", library).rows() if row["state"] == "wrong"}
        assert "damaged, as " in wrong["library"]["found"]
        assert wrong["library"]["remedy"] == f"visil verify --repair --library {library}"

    def test_whose_newest_version_is_gone_is_told_by_every_command(self, run, library):
        min((library / "videos.lance/_versions").glob("*.manifest")).unlink()
        told = rf"version \d+ is lost \(.*\.manifest is gone\); `visil verify --repair --library {library}` saves"
        for command in (["list"], ["info"], ["search", "id:clip_0.mp4"], ["verify"], ["compact"], ["remove", "x"]):
            assert_one_line_error(run(*command, "--library", library), told)
        mended = run("verify", "--repair", "--library", library)
        assert (mended.status, mended.out) == (0, "")
        assert "was gone: its second copy is put back" in mended.err

    def test_is_mended_by_the_command_that_the_message_names(self, run, library, tmp_path):
        library = library.rename(tmp_path / "my library's")
        turn(library / "library.toml", b"quick")
        told = run("list", "--library", library).err
        (command,) = re.findall("`(visil .*)` puts back its copy", told)
        assert run(*shlex.split(command)[1:]).status == 0
        assert run("list", "--library", library).status == 0

    def test_of_format_2_says_how_far_its_repair_is(self, run, library, monkeypatch):
        monkeypatch.setattr(output_module, "PLAIN_PROGRESS_SECONDS", 0)
        as_format_2(library)
        assert "visil: repair: 12/12 steps" in run("verify", "--repair", "--library", library).err
        as_format_2(library)
        assert "steps" not in run("verify", "--repair", "--library", library, "--quiet").err


def test_a_damaged_video_is_named_and_the_search_goes_on(run: Run, library: Path) -> None:
    vectors = Library.open(library, device="cpu").encoded("clip_1.mp4").region_vectors.vectors.tobytes()
    (file,) = (library / "videos.lance/data").iterdir()
    turn(file, vectors)
    ended = run("search", "id:clip_0.mp4", "--library", library, "--format", "jsonl")
    assert ended.status == 1
    assert "clip_1.mp4: its row in the library is not what was written; `visil verify --repair --library " in ended.err
    found = {json.loads(line).get("video") for line in ended.out.splitlines()}
    assert "clip_1.mp4" not in found and "clip_2.mp4" in found
    assert run("verify", "--library", library).status == 2
    assert run("verify", "--library", library, "--repair").status in (0, 1)
    assert run("search", "id:clip_0.mp4", "--library", library).status == 0
