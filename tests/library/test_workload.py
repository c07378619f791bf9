"""What a run is said to take before it begins."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import visil.library.workload as workload_module
from visil.library.ingest import Progress
from visil.library.library import Library
from visil.library.planning import Job, Target
from visil.library.store import FileFacts, VideoRecord
from visil.library.workload import Workload, bytes_per_sample, bytes_to_decode, workload
from visil.media.decoding import DecodeLimits
from visil.model.model import Model

MB = 1_000_000


def job(number: int, size_bytes: int = 2 * MB) -> Job:
    return Job((Target(f"v{number}", FileFacts(f"/v{number}", size_bytes, 1, ""), is_new=True),))


def known_video(number: int, *, size_bytes: int, num_samples: int) -> VideoRecord:
    return VideoRecord(f"k{number}", FileFacts(f"/k{number}", size_bytes, 1, ""), "ok", "", 1.0, num_samples, None)


@pytest.fixture
def measure(quick_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`workload`, for a run that is long from the first byte."""
    monkeypatch.setattr(workload_module, "LONG_RUN_BYTES", 1)

    def of(jobs: list[Job], records: list[VideoRecord] = ()) -> Workload:
        preprocessing = quick_model.settings.preprocessing
        return workload(
            jobs, records, model=quick_model, preprocessing=preprocessing, limits=DecodeLimits(), folder=tmp_path
        )

    return of


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose headers are read; each says 100 s."""
    paths: list[Path] = []

    def probe(given, *, limits):
        listed = list(given)
        paths.extend(listed)
        return [100.0] * len(listed)

    monkeypatch.setattr(workload_module, "probe_durations", probe)
    return paths


def test_copies_cost_no_decoding(measure, probed):
    copy = Job(job(1).targets, copy_of="k0")
    work = measure([job(0), copy])
    assert (work.num_files, work.num_bytes) == (1, 2 * MB)


def test_the_library_grows_by_the_samples_that_headers_promise(measure, probed, quick_model):
    work = measure([job(i) for i in range(10)])
    assert len(probed) == 10
    assert work.library_bytes == pytest.approx(10 * 100 * bytes_per_sample(quick_model), rel=0.02)


def test_of_many_files_some_are_looked_at_evenly(measure, probed, monkeypatch):
    monkeypatch.setattr(workload_module, "NUM_PROBED", 4)
    measure([job(i) for i in range(10)])
    assert [path.name for path in probed] == ["v0", "v3", "v6", "v9"]


def test_files_count_by_their_size(measure, monkeypatch, quick_model):
    monkeypatch.setattr(workload_module, "NUM_PROBED", 1)
    monkeypatch.setattr(workload_module, "probe_durations", lambda paths, *, limits: [100.0 for _ in paths])
    work = measure([job(0, size_bytes=MB), job(1, size_bytes=9 * MB)])
    assert work.library_bytes == pytest.approx(1000 * bytes_per_sample(quick_model), rel=0.02)


def test_a_library_that_holds_enough_videos_knows_without_looking(measure, probed, monkeypatch, quick_model):
    monkeypatch.setattr(workload_module, "NUM_PROBED", 3)
    records = [known_video(i, size_bytes=MB, num_samples=50) for i in range(3)]
    work = measure([job(i) for i in range(10)], records)
    assert probed == []
    assert work.library_bytes == pytest.approx(20 * 50 * bytes_per_sample(quick_model), rel=0.02)


def test_headers_that_tell_nothing_give_no_estimate(measure, monkeypatch):
    monkeypatch.setattr(workload_module, "probe_durations", lambda paths, *, limits: [None for _ in paths])
    assert measure([job(0)]).library_bytes is None


class TestHolesOfASparseFile:
    """Zeros that are nowhere on the disk, as of a download that never finished."""

    @pytest.fixture
    def sparse(self, tmp_path: Path) -> Job:
        path = tmp_path / "sparse.mp4"
        path.write_bytes(b"x" * 10_000)
        os.truncate(path, 6 << 30)
        return Job((Target("sparse", FileFacts(str(path), 6 << 30, 1, ""), is_new=True),))

    def test_are_no_work(self, measure, probed, sparse):
        assert measure([sparse]).num_bytes == bytes_to_decode(sparse) < MB

    def test_are_work_where_the_disk_does_not_tell(self, sparse, monkeypatch):
        monkeypatch.setattr(Path, "stat", lambda path: SimpleNamespace(st_size=6 << 30, st_blocks=0))
        assert bytes_to_decode(sparse) == 6 << 30


class TestADiskThatDoesNotAnswer:
    @pytest.fixture
    def clock_s(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """What time it is."""
        now_s = [0.0]
        monkeypatch.setattr(workload_module.time, "monotonic", lambda: now_s[0])
        return now_s

    def test_is_asked_for_some_seconds_only_and_what_it_told_is_the_estimate(
        self, measure, clock_s, monkeypatch, quick_model
    ):
        def slow(paths, *, limits):
            durations_s = []
            for _ in paths:
                clock_s[0] += 4
                durations_s.append(100.0)
            return durations_s

        monkeypatch.setattr(workload_module, "probe_durations", slow)
        work = measure([job(i) for i in range(10)])
        assert clock_s == [12.0]
        assert work.library_bytes == pytest.approx(10 * 100 * bytes_per_sample(quick_model), rel=0.02)

    def test_may_keep_a_header_waiting_for_two_seconds(self, measure, monkeypatch):
        limits_s = []

        def probe(paths, *, limits):
            limits_s.append(limits.stall_s)
            return []

        monkeypatch.setattr(workload_module, "probe_durations", probe)
        assert measure([job(0)]).library_bytes is None
        assert limits_s == [2.0]


def test_a_short_run_is_not_held_up_by_an_estimate(measure, probed, monkeypatch):
    monkeypatch.setattr(workload_module, "LONG_RUN_BYTES", 3 * MB)
    assert measure([job(0)]).library_bytes is None
    assert probed == []


def test_the_estimate_is_what_real_files_take(tmp_path, quick_model, clips, monkeypatch):
    monkeypatch.setattr(workload_module, "LONG_RUN_BYTES", 1)
    library = Library.create(tmp_path / "library", quick_model)
    told: list[Progress] = []
    library.add([clips], workers=1, progress=told.append)
    grown = sum(path.stat().st_size for path in (tmp_path / "library/videos.lance/data").iterdir())
    assert told[0].workload.library_bytes == pytest.approx(grown, rel=0.2)
    assert told[0].workload.num_bytes == sum(path.stat().st_size for path in clips.iterdir()) == told[-1].num_bytes
