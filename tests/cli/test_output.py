"""How numbers and progress are put for a person."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import pytest

import visil.cli.output as output_module
from visil.cli.main import run
from visil.cli.output import counted, human_bytes, human_seconds, notice, print_table, progress
from visil.commands import shell_word
from visil.library.library import Library


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (48.2e9, "48 GB"), (999.6e6, "1.0 GB"), (3.2e15, "3200 TB")],
)
def test_sizes(num_bytes, text):
    assert human_bytes(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3569, "59 min"), (3580, "1 h 00 min"), (11_100, "3 h 05 min"),
     (200_000, "2 d 8 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(
    ("number", "plural", "text"),
    [(0, "files", "0 files"), (1, "files", "1 file"), (2, "files", "2 files"), (1, "queries", "1 query")],
)
def test_counts(number, plural, text):
    assert counted(number, plural) == text


class TestNamesToPaste:
    @pytest.mark.parametrize(
        "name", ["a b.mp4", "it's.mp4", "a\\b.mp4", "new\nline \\ 'quoted' \x1b[31m\u202e\x9b.mp4", "\udcff.mp4"]
    )
    def test_come_out_of_a_shell_as_they_are(self, name):
        word = shell_word(name)
        assert word.isprintable()
        out = subprocess.run(
            ["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
        )
        assert os.fsdecode(out.stdout) == name

    def test_are_so_in_tables_only_where_they_cannot_be_printed(self, capsys):
        print_table([["id", "reason"], ["a b\\c.mp4", "a\x07"], ["new\nline.mp4", ""]])
        _, first, second = capsys.readouterr().out.splitlines()
        assert first.split() == ["a", "b\\c.mp4", "a\\x07"]
        assert second.strip() == r"$'new\x0aline.mp4'"


class TestProgressLines:
    """Where there is no terminal: a line every few seconds."""

    @pytest.fixture
    def at(self, monkeypatch: pytest.MonkeyPatch):
        """Sets the clock."""
        monkeypatch.setattr(output_module.time, "monotonic", lambda: self.now_s)
        self.now_s = 0.0

        def set_clock(seconds: float) -> None:
            self.now_s = seconds

        return set_clock

    def test_say_how_far_how_fast_and_how_long_still(self, at, capsys):
        with progress("verify", "files", quiet=False) as report:
            at(10)
            report(20, 100, "1 failed")
        assert capsys.readouterr().err == "visil: verify: 20/100 files, 2.0/s, 40 s left, 1 failed\n"

    def test_the_time_left_goes_by_the_share_of_the_work_where_files_differ_in_size(self, at, capsys):
        with progress("index", "videos", quiet=False) as report:
            at(600)
            report(90, 100, share=0.1)
        assert capsys.readouterr().err == "visil: index: 90/100 videos, 0.1/s, 1 h 30 min left\n"

    def test_of_a_single_video_say_so(self, at, capsys):
        with progress("search", "queries", quiet=False) as report:
            at(10)
            report(1, 1)
        assert capsys.readouterr().err.startswith("visil: search: 1/1 query, ")

    def test_are_not_one_a_file(self, at, capsys):
        with progress("index", "videos", quiet=False) as report:
            for second in range(1, 13):
                at(second)
                report(second, 12)
        assert capsys.readouterr().err.count("\n") == 2

    def test_quiet_says_nothing(self, at, capsys):
        with progress("index", "videos", quiet=True) as report:
            at(600)
            report(1, 2, share=0.5)
        assert capsys.readouterr().err == ""


@contextmanager
def unread_stderr() -> Iterator[None]:
    """Standard error is a pipe whose reader has left, as in `visil index FOLDER 2>&1 | head -1`."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", buffering=1) as stream, redirect_stderr(stream):  # noqa: PTH123  of a descriptor
        yield


@contextmanager
def full_stderr() -> Iterator[None]:
    """Standard error is a file on a full disk."""
    with Path("/dev/full").open("w", buffering=1) as stream, redirect_stderr(stream):
        yield


@contextmanager
def read_only_stderr() -> Iterator[None]:
    """Standard error was opened for reading, as in `visil index FOLDER 2</dev/null`."""
    with open(os.open(os.devnull, os.O_RDONLY), "w", buffering=1) as stream, redirect_stderr(stream):  # noqa: PTH123
        yield


@pytest.mark.parametrize("stderr", [unread_stderr, full_stderr, read_only_stderr])
class TestAStandardErrorThatCannotBeWritten:
    def test_is_silent_from_then_on(self, stderr):
        with stderr():
            notice("this cannot be written")
            notice("and this goes nowhere")

    def test_does_not_keep_videos_from_being_indexed(self, stderr, clips: Path, tmp_path, quick_model, monkeypatch):
        library = Library.create(tmp_path / "library", quick_model)
        monkeypatch.setattr(output_module, "PLAIN_PROGRESS_SECONDS", 0.0)
        with stderr():
            assert run(["index", str(clips), "--library", str(library.path), "--workers", "1"]) == 0
        library.refresh()
        assert len(library.list()) == 6

    @pytest.mark.parametrize("arguments", [["index"], ["list", "--library", "/no/such/library"]])
    def test_changes_no_exit_status(self, stderr, arguments):
        with stderr():
            assert run(arguments) == 2
