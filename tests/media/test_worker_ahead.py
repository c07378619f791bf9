"""A decoding process that is started before it is known what it will decode."""

from __future__ import annotations

from pathlib import Path

import pytest

import visil.media.worker_process as process_module
from tests.media.made_files import SMALL
from tests.media.processes import running_workers
from visil.errors import VisilError
from visil.media.decoding import read_frames
from visil.media.limits import DecodeLimits
from visil.media.worker_process import worker_ahead


def test_decodes_the_next_file(made_clips: Path) -> None:
    with worker_ahead():
        (ahead,) = running_workers()
        frames = read_frames(made_clips / "clip_0.mp4", SMALL)
        assert len(next(frames)) > 0
        assert running_workers() == [ahead]
        list(frames)
        assert running_workers() == []


def test_is_ended_if_nobody_needed_it() -> None:
    with worker_ahead():
        assert len(running_workers()) == 1
    assert running_workers() == []


def test_is_shared_by_blocks_within_one_another_and_ends_with_the_one_that_started_it() -> None:
    with worker_ahead():
        waiting = running_workers()
        assert len(waiting) == 1
        with worker_ahead():
            assert running_workers() == waiting
        assert running_workers() == waiting
    assert running_workers() == []


def test_of_an_inner_block_ends_with_that_block(made_clips: Path) -> None:
    with worker_ahead():
        (first,) = running_workers()
        frames = read_frames(made_clips / "clip_0.mp4", SMALL)
        next(frames)  # by the first
        with worker_ahead():
            assert len(running_workers()) == 2
        assert running_workers() == [first]
        frames.close()
    assert running_workers() == []


def test_is_left_alone_by_a_worker_with_other_limits(made_clips: Path) -> None:
    with worker_ahead(limits=DecodeLimits(stall_s=30)):
        (ahead,) = running_workers()
        list(read_frames(made_clips / "clip_0.mp4", SMALL))
        assert running_workers() == [ahead]


def test_that_cannot_be_started_is_reported_by_whoever_needs_one(
    made_clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module.sys, "executable", "/nowhere/python")
    with worker_ahead(), pytest.raises(VisilError, match="no decoding worker can be started with /nowhere/python"):
        list(read_frames(made_clips / "clip_0.mp4", SMALL))
