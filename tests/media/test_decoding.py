"""Decoding in worker processes: the same frames for any number of them, and no file can do more than end early."""

from __future__ import annotations

import json
import os
import pickle
import re
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import IO, Any

import numpy as np
import pytest

import visil.media.worker_process as process_module
from tests.media.made_files import SMALL, read, shown_frames, write_grey
from tests.media.processes import running_workers
from visil.errors import DataError, MediaError, VisilError
from visil.media.decoding import DecodeEnd, decode_files, probe_durations, read_frames
from visil.media.limits import DecodeLimits, Patience
from visil.media.preprocessing import PRESETS, Preprocessing
from visil.media.reader import CHUNK_SAMPLES
from visil.media.worker import LENGTHS
from visil.media.worker_process import Request
from visil.values import Frames

CRASHED = "the decoder crashed on this file"

Outcome = tuple[list[Frames], str | None]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Short and long videos, one broken file, one missing."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "broken.mp4").write_text("no video")
    return [
        write_grey(folder / "long.mkv", 70, fps=1),
        write_grey(folder / "short.mkv", 3, fps=1),
        folder / "broken.mp4",
        write_grey(folder / "one.mkv", 1, fps=1),
        folder / "missing.mp4",
        write_grey(folder / "another.mkv", 40, fps=1),
    ]


def outcomes(
    paths: list[Path], *, workers: int, preprocessing: Preprocessing = SMALL, limits: DecodeLimits = DecodeLimits()
) -> dict[int, Outcome]:
    """Chunks and error of every file; no event may follow the end of a file."""
    found: dict[int, tuple[list[Frames], list[str | None]]] = {k: ([], []) for k in range(len(paths))}
    for index, event in decode_files(paths, preprocessing, workers=workers, limits=limits):
        chunks, ends = found[index]
        assert not ends, "an event after the end of its file"
        ends.append(event.error and str(event.error)) if isinstance(event, DecodeEnd) else chunks.append(event)
    assert all(len(ends) == 1 for _, ends in found.values()), "every file ends once"
    return {k: (chunks, ends[0]) for k, (chunks, ends) in found.items()}


def assert_same_frames(ours: list[Frames], theirs: list[Frames]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.times_s, other.times_s)
        assert (one.video, one.duration_s) == (other.video, other.duration_s)
        assert (one.warning, one.cut_short) == (other.warning, other.cut_short)


@pytest.fixture
def replace_worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[int]]:
    """Run another program in place of the worker; it finds our worker under its name. Gives the ids of all started."""
    start = subprocess.Popen

    def replace(program: str) -> list[int]:
        ids = []

        def started(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
            assert command[-5:-3] == ["-m", "visil.media.worker"]
            process = start([*command[:-5], "-c", program, *command[-3:]], **options)
            ids.append(process.pid)
            return process

        monkeypatch.setattr(process_module.subprocess, "Popen", started)
        return ids

    return replace


NUM_BEFORE = 40  # samples of `long.mkv` before something happens: more than a chunk


def worker_that(deed: str, *, num_before: int = NUM_BEFORE) -> str:
    """A worker that does something when it has so many samples of `long.mkv`; `served` names the files before."""
    return f"""
import os, pathlib, signal
import visil.media.pyav_reader as reader, visil.media.worker as worker
read, served = reader.PyAVReader.read, []
def odd(self, path, preprocessing, *, alive, sampled, **options):
    def reach(number):
        if path.name == "long.mkv" and number == {num_before}:
{indent(deed, " " * 12)}
    def seen(number, sample):
        sampled(number, sample)
        reach(number + 1)
    reach(0)
    yield from read(self, path, preprocessing, alive=alive, sampled=seen, **options)
    served.append(path.name)
reader.PyAVReader.read = odd
worker.main()
"""


def kept(outcome: Outcome) -> tuple[int, str, str]:
    """How many samples there are of `long.mkv`, the first ones, and the class and the reason why there are no more."""
    chunks, error = outcome
    assert error is None
    assert shown_frames(chunks) == [k % 40 for k in range(sum(map(len, chunks)))]
    assert all(len(chunk) == CHUNK_SAMPLES and not chunk.cut_short + chunk.warning for chunk in chunks[:-1])
    return sum(map(len, chunks)), chunks[-1].cut_short, chunks[-1].warning


class TestEvents:
    def test_do_not_depend_on_the_number_of_workers(self, files):
        one, three = outcomes(files, workers=1), outcomes(files, workers=3)
        for index in range(len(files)):
            assert_same_frames(one[index][0], three[index][0])
            assert one[index][1] == three[index][1]

    def test_are_those_of_the_reader(self, files):
        found = outcomes(files, workers=2)
        for index, path in enumerate(files):
            if found[index][1] is None:
                assert_same_frames(found[index][0], read(path))
        assert found[2][1] == f"{files[2]}: not a video, or its headers are damaged"
        assert found[4][1] == f"{files[4]}: no such file"

    def test_come_in_chunks_of_bounded_size(self, files):
        assert [len(chunk) for chunk in outcomes(files[:1], workers=1)[0][0]] == [CHUNK_SAMPLES, CHUNK_SAMPLES, 6]

    def test_of_no_file_are_none_and_start_no_process(self):
        assert list(decode_files([], SMALL, workers=3)) == []

    def test_name_files_by_their_full_path_wherever_the_caller_is(self, files, monkeypatch):
        monkeypatch.chdir(files[0].parent)
        assert outcomes([Path("short.mkv")], workers=1)[0][1] is None

    def test_an_error_in_the_list_of_files_reaches_the_caller(self, files):
        def listed() -> Iterator[Path]:
            yield files[1]
            raise RuntimeError("the list broke")

        with pytest.raises(RuntimeError, match="the list broke"):
            list(decode_files(listed(), SMALL, workers=2))
        assert running_workers() == []


class TestReadFrames:
    def test_yields_the_chunks_of_one_file(self, files):
        assert_same_frames(list(read_frames(files[0], SMALL)), read(files[0]))

    def test_raises_what_is_wrong_with_it(self, files):
        with pytest.raises(MediaError, match=r"broken\.mp4: not a video"):
            list(read_frames(files[2], SMALL))

    @pytest.mark.parametrize("span_s", [(3, 3), (5, 2), (-1, 2), (float("nan"), 2)])
    def test_a_range_that_no_video_has_is_the_callers_mistake(self, files, span_s, replace_worker):
        started = replace_worker("raise SystemExit(1)")
        with pytest.raises(DataError, match="a range must begin at 0 s or later and end after its beginning"):
            list(read_frames(files[0], SMALL, span_s=span_s))
        assert started == []


class TestProcesses:
    def test_all_end_with_the_last_file(self, files):
        outcomes(files, workers=3)
        assert running_workers() == []

    def test_all_end_when_the_caller_stops_early(self, files):
        events = decode_files(files * 5, SMALL, workers=3)
        next(events)
        assert running_workers() != []
        events.close()
        assert running_workers() == []

    def test_all_end_when_the_caller_fails(self, files):
        with pytest.raises(RuntimeError, match="enough"), closing(decode_files(files, SMALL, workers=2)) as events:
            for _ in events:
                raise RuntimeError("enough")
        assert running_workers() == []

    def test_an_interrupt_before_all_have_begun_is_what_the_caller_sees(self, files, monkeypatch):
        start, begun = threading.Thread.start, []

        def interrupted(thread: threading.Thread) -> None:
            if "(serve)" in thread.name:
                begun.append(thread)
                if len(begun) == 2:
                    raise KeyboardInterrupt
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            outcomes(files, workers=3)
        assert running_workers() == []

    def test_a_killed_worker_costs_the_rest_of_one_file_and_the_others_are_read(self, files, replace_worker):
        replace_worker(worker_that("os.kill(os.getpid(), signal.SIGKILL)"))
        for workers in (1, 3):
            found = outcomes(files, workers=workers)
            assert kept(found[0]) == (NUM_BEFORE, "crashed", f"{CRASHED}; kept up to 39.0 s")
            assert [found[k][1] for k in (1, 3, 5)] == [None] * 3
            assert shown_frames(found[5][0]) == list(range(40))

    def test_a_worker_killed_from_outside_is_replaced(self, files):
        events = decode_files([files[0], *files[3:4] * 3], SMALL, workers=1)
        next(events)
        (worker,) = running_workers()
        os.kill(worker, 9)
        rest = list(events)
        assert [event.error for _, event in rest if isinstance(event, DecodeEnd)] == [None] * 4
        last = [event for index, event in rest if index == 0 and isinstance(event, Frames)][-1]
        assert last.cut_short in ("", "crashed")  # empty if all had been sent before

    @pytest.mark.parametrize("program", ["raise SystemExit(1)", "print('hello')"])
    def test_that_never_get_ready_are_not_blamed_on_the_files(self, files, replace_worker, program):
        replace_worker(program)
        with pytest.raises(VisilError, match=r"workers do not start with .*; `visil doctor` says what is wrong"):
            list(decode_files(files, SMALL, workers=2))

    def test_whose_reader_does_not_load_are_not_blamed_on_the_files(self, files, replace_worker):
        replace_worker(f"import os\nos.write(1, {message({'kind': 'unusable', 'error': 'no FFmpeg here'}, b'')!r})")
        with pytest.raises(VisilError, match="no FFmpeg here"):
            list(decode_files(files, SMALL, workers=2))

    def test_that_cannot_be_started_are_not_blamed_on_the_files(self, files, monkeypatch):
        monkeypatch.setattr(process_module.sys, "executable", "/nowhere/python")
        with pytest.raises(VisilError, match="no decoding worker can be started with /nowhere/python"):
            list(decode_files(files, SMALL, workers=2))

    def test_import_neither_torch_nor_anything_else_that_is_heavy(self, files):
        request = {"path": str(files[1]), "preprocessing": {"min_samples": 1}, "span_s": None, "stills": False}
        with subprocess.Popen(
            [sys.executable, "-P", "-X", "importtime", "-m", "visil.media.worker", "pyav", str(1 << 30), "54"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as worker:
            worker.stdin.write(json.dumps(request).encode() + b"\n")
            worker.stdin.flush()
            while kind_of_next_message(worker.stdout) != "end":
                pass
            worker.stdin.close()  # it ends with its requests
            listed = worker.stderr.read().decode()
        imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in listed.splitlines()}
        assert {"av", "numpy", "visil"} <= imported
        assert imported.isdisjoint({"torch", "timm", "torchvision", "lance", "pyarrow", "faiss", "click", "rich"})

    def test_import_nothing_from_the_folder_the_caller_is_in(self, files, tmp_path, monkeypatch):
        for name in ("numpy", "av", "json", "visil", "struct"):
            (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nraise SystemExit(1)\n")
        monkeypatch.chdir(tmp_path)
        assert outcomes(files[1:2], workers=1)[0][1] is None
        assert not (tmp_path / "run").exists()


class TestTime:
    """Time without progress, while the parent waits. The clock of these tests is a file that a worker makes."""

    @pytest.fixture
    def pass_time(self, monkeypatch, tmp_path) -> Callable[[float], str]:
        """From the line of code that this gives until a new worker starts, every look at a wait finds so much gone.

        Of the looks that nothing comes of not the first ones: what was sent before is on its way. Those that something
        comes of count `while_heard` only.
        """

        def prepare(seconds: float, *, while_heard: bool = False) -> str:
            hanging, waited, looks = tmp_path / "hanging", Patience.waited, iter(range(1000))

            def passing(self: Patience, really_s: float) -> None:
                if self.stall_s == process_module.START_S:
                    hanging.unlink(missing_ok=True)
                is_heard = really_s < process_module.TICK_S
                is_time = hanging.exists() and (while_heard if is_heard else next(looks) >= 2)
                waited(self, seconds if is_time else 0)

            monkeypatch.setattr(Patience, "waited", passing)
            return f"pathlib.Path({str(hanging)!r}).touch()"

        return prepare

    def test_a_file_that_hangs_ends_with_what_came_before(self, files, replace_worker, pass_time):
        started = replace_worker(worker_that(f"{pass_time(61)}\nsignal.pause()"))
        found = outcomes([files[1], files[0], files[3]], workers=1)
        reason = "given up: no progress for 60 s; --stall-seconds waits longer; kept up to 39.0 s"
        assert kept(found[1]) == (NUM_BEFORE, "stalled", reason)
        assert [found[k][1] for k in (0, 2)] == [None, None]
        assert len(started) == 2, "the next file gets a new worker"

    def test_a_file_that_makes_progress_for_ever_is_given_up_too(self, files, replace_worker, pass_time):
        replace_worker(worker_that(f"worker.PULSE_S = 0\n{pass_time(19, while_heard=True)}\nwhile True:\n    alive()"))
        # 70 s in the header: one stall limit of 60 s, and ten times the length
        num_samples, reason_class, reason = kept(outcomes(files[:1], workers=1)[0])
        assert (num_samples, reason_class) == (NUM_BEFORE, "stalled")
        assert re.match(r"given up: not done after 760 s, too long", reason)

    def test_a_file_that_hangs_before_its_first_sample_fails(self, files, replace_worker, pass_time):
        replace_worker(worker_that(f"{pass_time(61)}\nsignal.pause()", num_before=0))
        error = outcomes(files[:1], workers=1)[0][1]
        assert error == f"{files[0]}: given up: no progress for 60 s; --stall-seconds waits longer"

    def test_a_worker_that_does_not_start_in_time_is_not_the_fault_of_a_file(self, files, replace_worker, monkeypatch):
        monkeypatch.setattr(process_module, "START_S", 0.1)
        replace_worker("import signal\nsignal.pause()")
        with pytest.raises(VisilError, match="workers do not start"):
            outcomes(files[:1], workers=1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is limited on Linux only")
class TestMemory:
    LIMITS = DecodeLimits(memory_bytes=100 << 20)
    TOO_LARGE = "needs more than the 0.105 GB of memory that decoding may use; --decode-memory allows more"

    def test_a_file_that_takes_it_all_ends_with_what_came_before_and_the_others_are_read(self, files, replace_worker):
        started = replace_worker(worker_that("bytearray(200 << 20)"))
        found = outcomes([*files[:2], files[3]], workers=1, limits=self.LIMITS)
        assert kept(found[0]) == (NUM_BEFORE, "too_large", f"{self.TOO_LARGE}; kept up to 39.0 s")
        assert [found[k][1] for k in (1, 2)] == [None, None]
        assert len(started) == 2

    def test_large_pictures_need_a_higher_limit(self, tmp_path):
        path = write_grey(tmp_path / "large.mkv", 2, codec="mpeg4", size_px=(4000, 3000))
        (chunks, error) = outcomes([path], workers=1, limits=DecodeLimits(memory_bytes=16 << 20))[0]
        assert chunks == []
        assert error.startswith(f"{path}: needs more than the 0.0168 GB of memory that decoding may use; --decode-mem")
        assert outcomes([path], workers=1)[0][1] is None

    def test_what_a_used_worker_has_no_room_for_is_tried_in_a_new_one(self, files, replace_worker):
        replace_worker(worker_that("if served:\n    raise MemoryError"))
        first, second = (outcomes(paths, workers=1) for paths in (files[:2], [files[1], files[0]]))
        assert first[0][1] is second[1][1] is None
        assert_same_frames(first[0][0], second[1][0])  # nothing twice

    def test_what_no_worker_has_room_for_is_kept_as_far_as_it_goes_in_any_order(self, files, replace_worker):
        replace_worker(worker_that("raise MemoryError"))
        for paths in (files[:2], [files[1], files[0]]):
            found = outcomes(paths, workers=1)[paths.index(files[0])]
            assert kept(found)[:2] == (NUM_BEFORE, "too_large")
            assert kept(found)[2].startswith("needs more than the 2.2 GB of memory that")


class TestKeptSamples:
    """Nothing that was sampled is lost with what comes behind it."""

    DENSE = replace(SMALL, min_samples=20, bars="keep")  # samples that wait for bars are another reading

    @pytest.mark.parametrize("num_before", [1, CHUNK_SAMPLES - 1, CHUNK_SAMPLES, CHUNK_SAMPLES + 1, 70])
    def test_are_all_that_were_sent_wherever_the_chunks_end(self, files, replace_worker, num_before):
        replace_worker(worker_that("os.kill(os.getpid(), signal.SIGKILL)", num_before=num_before))
        outcome = outcomes(files[:1], workers=1)[0]
        assert kept(outcome) == (num_before, "crashed", f"{CRASHED}; kept up to {num_before - 1}.0 s")

    def test_are_those_of_a_worker_killed_from_outside_in_the_middle(self, files, replace_worker, tmp_path):
        os.mkfifo(tmp_path / "there")
        replace_worker(
            worker_that(f"os.write(os.open({str(tmp_path / 'there')!r}, os.O_WRONLY), b'!')\nsignal.pause()")
        )

        def kill() -> None:
            with (tmp_path / "there").open("rb", buffering=0) as from_worker:
                from_worker.read(1)
                os.kill(*running_workers(), 9)

        killer = threading.Thread(target=kill)
        killer.start()
        assert kept(outcomes(files[:1], workers=1)[0])[:2] == (NUM_BEFORE, "crashed")
        killer.join()

    def test_of_a_video_that_is_too_short_so_far_are_the_first_ones(self, files, replace_worker):
        replace_worker(worker_that("os.kill(os.getpid(), signal.SIGKILL)", num_before=5))
        assert kept(outcomes(files[:1], workers=1, preprocessing=self.DENSE)[0])[0] == 5

    @pytest.mark.parametrize(
        ("reading", "num_before", "expected"),
        [(1, 3, [0, 10, 20]), (2, 2, [0, 10, 20]), (2, 8, [0, 1, 3, 4, 6, 7, 9, 10])],
    )
    def test_of_a_short_video_are_those_of_the_reading_that_came_further(
        self, tmp_path, replace_worker, reading, num_before, expected
    ):
        path = write_grey(tmp_path / "long.mkv", 30, fps=10)  # three samples; read again for twenty
        killed = f"if readings == [0] * {reading}:\n    os.kill(os.getpid(), signal.SIGKILL)"
        program = worker_that(killed, num_before=num_before)
        for line, before in (
            ("    def reach", "    readings = []\n"),
            ("        reach(number", "        readings.extend([0] * (number == 0))\n"),
        ):
            program = program.replace(line, before + line)
        replace_worker(program)
        (chunk,), error = outcomes([path], workers=1, preprocessing=self.DENSE)[0]
        assert (shown_frames([chunk]), chunk.cut_short, error) == (expected, "crashed", None)

    def test_of_a_file_that_is_decoded_in_another_way_are_not_given_twice(self, files, replace_worker):
        program = worker_that("pass").replace(
            "worker.main()",
            "from visil.media.thinning import ThinningError\n"
            "from visil.media.one_pass import Decoding\n"
            "packets = Decoding._packets\n"
            "def odd(self):\n"
            "    for number, packet in enumerate(packets(self)):\n"
            "        if number == 50 and self._keys is not None:\n"
            "            raise ThinningError('this way goes no further')\n"
            "        yield packet\n"
            "Decoding._packets = odd\n"
            "worker.main()",
        )
        keys = replace(SMALL, sampling="keyframes")
        expected = outcomes(files[:1], workers=1, preprocessing=keys)[0]
        replace_worker(program)
        found = outcomes(files[:1], workers=1, preprocessing=keys)[0]
        assert found[1] is expected[1] is None
        assert_same_frames(found[0], expected[0])

    def test_of_pictures_that_become_too_large_are_those_before(self, files, replace_worker):
        too_large = "from visil.errors import MediaError\nraise MediaError(f'{path}: pictures too large', 'too_large')"
        replace_worker(worker_that(too_large))
        outcome = outcomes(files[:1], workers=1)[0]
        assert kept(outcome) == (NUM_BEFORE, "too_large", "pictures too large; kept up to 39.0 s")

    @pytest.mark.parametrize("reason_class", ["undecodable", "truncated", "unsupported_format"])
    def test_of_a_file_that_is_not_to_be_believed_are_none(self, files, replace_worker, reason_class):
        replace_worker(
            worker_that(f"from visil.errors import MediaError\nraise MediaError('all garbage', {reason_class!r})")
        )
        assert outcomes(files[:1], workers=1)[0][1] == "all garbage"

    def test_reach_the_caller_of_a_single_file_with_the_reason(self, files, replace_worker):
        replace_worker(worker_that("os.kill(os.getpid(), signal.SIGKILL)"))
        chunks = list(read_frames(files[0], SMALL))
        assert kept((chunks, None))[:2] == (NUM_BEFORE, "crashed")


class TestEndOfTheParent:
    """However it dies, its workers do not go on decoding for nobody."""

    def test_by_kill_9_ends_the_workers_even_in_the_middle_of_a_file(self, files, tmp_path):
        os.mkfifo(tmp_path / "alive")
        worker = worker_that(f"os.write(os.open({str(tmp_path / 'alive')!r}, os.O_WRONLY), b'!')\nsignal.pause()")
        parent = (
            "import subprocess, sys\n"
            "from pathlib import Path\n"
            "start = subprocess.Popen\n"
            f"subprocess.Popen = lambda command, **o: start([*command[:2], '-c', {worker!r}, *command[-3:]], **o)\n"
            "from visil.media.decoding import read_frames\n"
            "from visil.media.preprocessing import Preprocessing\n"
            f"list(read_frames(Path({str(files[0])!r}), Preprocessing()))\n"
        )
        checkout = Path(process_module.__file__).parents[2]
        process = subprocess.Popen([sys.executable, "-c", parent], env={**os.environ, "PYTHONPATH": str(checkout)})
        with (tmp_path / "alive").open("rb", buffering=0) as from_worker:  # opens once the worker opens it
            assert from_worker.read(1) == b"!"
            process.kill()
            process.wait()
            assert select.select([from_worker], [], [], 60)[0], "the worker lives on"
            assert from_worker.read(1) == b""


class TestProbedLengths:
    def test_are_those_of_the_headers_and_none_where_there_are_none(self, files):
        assert probe_durations(files) == [70, 3, None, 1, None, 40]

    def test_survive_a_worker_that_dies(self, files, replace_worker):
        replace_worker(
            "import os, visil.media.worker as worker\n"
            "probe = worker._header_duration_s\n"
            "dying = lambda path, packet_s: os._exit(1) if path.name == 'short.mkv' else probe(path, packet_s)\n"
            "worker._header_duration_s = dying\n"
            "worker.main()\n"
        )
        assert probe_durations(files) == [70, None, None, 1, None, 40]

    def test_of_no_file_start_no_process(self, replace_worker):
        started = replace_worker("raise SystemExit(1)")
        assert probe_durations([]) == started == []


def kind_of_next_message(stream: IO[bytes]) -> str:
    header_bytes, pixel_bytes = LENGTHS.unpack(stream.read(LENGTHS.size))
    header = json.loads(stream.read(header_bytes))
    stream.read(pixel_bytes)
    return header["kind"]


HEADER = {
    "kind": "sample",
    "number": 0,
    "shape": [16, 16, 3],
    "time_s": 0.0,
    "duration_s": 1.0,
    "video": {
        "coded_size_px": [64, 48],
        "rotated_size_px": [64, 48],
        "square_pixel_size_px": [64, 48],
        "rotation_deg": 0,
        "codec": "h264",
        "start_offset_s": 0.0,
    },
}
PIXELS = bytes(16 * 16 * 3)


def message(header: object, pixels: bytes = PIXELS) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return LENGTHS.pack(len(text), len(pixels)) + text + pixels


def sample_with(pixels: bytes = PIXELS, **changes: object) -> bytes:
    return message({**HEADER, **changes}, pixels)


READY = message({"kind": "ready"}, b"")
OPENED = message({"kind": "opened", "duration_s": 1.0}, b"")
ALIVE = message({"kind": "alive"}, b"")
SAMPLE = sample_with()
SECOND = sample_with(number=1, time_s=1.0)
ENDING = {"kind": "end", "error": None, "duration_s": 1.0, "warning": "", "cut_short": ""}
END = message(ENDING, b"")


def end_with(**changes: object) -> bytes:
    return message({**ENDING, **changes}, b"")


def video_with(**changes: object) -> bytes:
    return sample_with(video={**HEADER["video"], **changes})


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class TestMessages:
    @pytest.mark.parametrize(
        ("asked", "most_bytes"),
        [
            (None, 0),
            (SMALL, 16 * 16 * 3),
            (PRESETS["paper-visil"], 224 * 224 * 3),
            (replace(PRESETS["paper-s2vs"], crop_px=None), 257 * 25600 * 3),
        ],
    )
    def test_may_be_as_large_as_a_picture_of_what_was_asked_for(self, asked, most_bytes):
        assert Request(Path("a.mp4"), asked).most_pixel_bytes == most_bytes


class TestAWorkerThatWasTakenOver:
    """Whatever it sends, the file fails, samples before included, the next one is read, and nothing of it is run."""

    def run(self, replace_worker: Callable[[str], None], sent: bytes) -> list[Outcome]:
        """What becomes of `bad`, for which the worker sends this, says that all went well and ends; and of `good`."""
        replace_worker(
            "import json, os, sys\n"
            f"sys.stdout.buffer.write({READY!r})\n"
            "sys.stdout.buffer.flush()\n"
            "for line in sys.stdin:\n"
            "    is_bad = json.loads(line)['path'].endswith('bad')\n"
            f"    sys.stdout.buffer.write({sent + END!r} if is_bad else {SAMPLE + END!r})\n"
            "    sys.stdout.buffer.flush()\n"
            "    if is_bad:\n"
            "        os._exit(0)\n"
        )
        found = outcomes([Path("bad"), Path("good")], workers=1)
        assert found[1][1] is None, "the next file"
        return [found[0], found[1]]

    def test_a_well_formed_answer_is_believed(self, replace_worker):
        (chunk,) = self.run(replace_worker, OPENED + ALIVE + SAMPLE + ALIVE)[0][0]
        assert chunk.images.shape == (1, 16, 16, 3)

    @pytest.mark.parametrize(
        "sent",
        [
            b"\x80\x04garbage" * 100,
            LENGTHS.pack(2**32 - 1, 0),
            LENGTHS.pack(10, 2**32 - 1),
            LENGTHS.pack(100, 0) + b"too short",
            message(b"not json"),
            message(b"[" * 100_000),
            message([]),
            message("text"),
            message({}),
            message({"kind": "sample"}),
            message({"kind": "news"}),
            sample_with(shape=[1, 16, 16, 3]),
            sample_with(shape=[16, 16]),
            sample_with(shape=[16, 16, 4]),
            sample_with(shape=[32, 16, 3]),
            sample_with(shape=[-16, -16, 3]),
            sample_with(shape=["16", "16", "3"]),
            sample_with(shape=[16.0, 16.0, 3]),
            sample_with(shape=[0, 16, 3], pixels=b""),
            sample_with(shape=[8, 8, 3], pixels=bytes(8 * 8 * 3)),
            sample_with(shape=[16, 17, 3], pixels=bytes(16 * 17 * 3)),
            sample_with(shape=[32, 16, 3], pixels=PIXELS * 2),
            sample_with(number=1),
            sample_with(number=-1),
            sample_with(number="0"),
            sample_with(number=None),
            SAMPLE + sample_with(number=2, time_s=1.0),
            SAMPLE + SECOND + SECOND,
            sample_with(time_s=None),
            sample_with(time_s="soon"),
            sample_with(time_s=float("nan")),
            sample_with(duration_s=None),
            sample_with(duration_s=float("inf")),
            sample_with(video=None),
            sample_with(video=[]),
            video_with(coded_size_px=[64]),
            video_with(coded_size_px="64x48"),
            video_with(rotated_size_px=[2**40, 1]),
            video_with(square_pixel_size_px=[0, 48]),
            video_with(rotation_deg="left"),
            video_with(start_offset_s=float("nan")),
            SAMPLE + sample_with(number=1, shape=[32, 32, 3], pixels=bytes(32 * 32 * 3)),
            SECOND.replace(b'"number": 1', b'"number": 0') + sample_with(number=1, time_s=0.0),
            SAMPLE + end_with(duration_s=None),
            SAMPLE + end_with(duration_s=-1),
            SAMPLE + end_with(duration_s=float("nan")),
            SAMPLE + end_with(warning=["odd"]),
            SAMPLE + end_with(cut_short="news"),
            SAMPLE + end_with(cut_short="undecodable"),
            SAMPLE + end_with(cut_short=["crashed"]),
            message({"kind": "opened"}, b""),
            message({"kind": "opened", "duration_s": "long"}, b""),
            message({"kind": "opened", "duration_s": float("nan")}, b""),
            message({"kind": "opened", "duration_s": -1}, b""),
            message({"kind": "end"}, b""),
            message({"kind": "end", "error": ["odd"], "reason_class": "undecodable"}, b""),
            message({"kind": "end", "error": "odd"}, b""),
            message({"kind": "end", "error": "odd", "reason_class": "fine"}, b""),
            message({"kind": "end", "error": "odd", "reason_class": ["undecodable"]}, b""),
            SAMPLE + b"\x80\x04garbage" * 100,
        ],
    )
    def test_anything_else_is_one_clear_error(self, replace_worker, sent):
        assert self.run(replace_worker, sent)[0][1] == f"bad: {CRASHED}"

    def test_a_pickle_is_never_opened(self, replace_worker, tmp_path):
        payload = pickle.dumps(Payload(tmp_path / "run"))
        for sent in (payload, message(payload), message({"kind": "frames"}, payload)):
            assert self.run(replace_worker, sent)[0][1] == f"bad: {CRASHED}"
        assert not (tmp_path / "run").exists()
        pickle.loads(payload).close()
        assert (tmp_path / "run").exists(), "the payload works"
