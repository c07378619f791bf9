"""Decodes many files in worker processes.

paths ─► [workers, one file each at a time] ─► (index, Frames ... | DecodeEnd)
         this module; what a worker is, and what it may cost: worker_process.py, limits.py
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path

from visil.media.limits import DecodeLimits
from visil.media.preprocessing import Preprocessing
from visil.media.readers import check_reader
from visil.media.sampling import part_of
from visil.media.worker_process import DecodeEnd, Request, WorkerProcess
from visil.values import Frames

__all__ = ["DecodeEnd", "DecodeLimits", "decode_files", "probe_durations", "probe_files", "read_frames"]


def read_frames(
    path: Path,
    preprocessing: Preprocessing,
    *,
    reader: str = "pyav",
    limits: DecodeLimits = DecodeLimits(),
    span_s: tuple[float, float] | None = None,
    stills: bool = False,
) -> Generator[Frames, None, None]:
    """Chunks of one video, decoded in a worker process.

    Args:
        reader: one of `readers.READERS`.
        span_s, stills: see `FrameReader.read`.

    Raises:
        MediaError: the file is not a readable video, or goes beyond the limits.
        DataError: a range that no video has.
        VisilError: the reader is not installed, or no worker can be started.
    """
    if span_s is not None:
        part_of(span_s)
    request = Request(path, preprocessing, span_s=span_s, stills=stills)
    with closing(_answers([request], workers=1, reader=reader, limits=limits)) as events:
        for _, event in events:
            if isinstance(event, Frames):
                yield event
            elif event.error is not None:
                raise event.error


def decode_files(
    paths: Iterable[Path],
    preprocessing: Preprocessing,
    *,
    workers: int,
    reader: str = "pyav",
    limits: DecodeLimits = DecodeLimits(),
) -> Generator[tuple[int, Frames | DecodeEnd], None, None]:
    """Events of all files, those of different files interleaved, those of one file in order.

    Args:
        workers: number of processes; the events of a file do not depend on it.
        reader: one of `readers.READERS`.
        limits: what a file may cost; one that goes beyond them ends with an error.

    Yields:
        (index of the path, Frames) and, once a file, (index, DecodeEnd). A file that hangs, crashes its worker or
        takes all its memory costs one worker restart. At most a few chunks a worker wait in memory.

    Raises:
        VisilError: the reader is not installed, or no worker can be started.
    """
    requests = (Request(path, preprocessing) for path in paths)
    return _answers(requests, workers=workers, reader=reader, limits=limits)


def probe_durations(paths: Iterable[Path], *, limits: DecodeLimits = DecodeLimits()) -> list[float | None]:
    """Lengths of videos in seconds as their headers tell them, without decoding; None where they do not.

    Headers may lie: for estimates only.
    """
    worker = WorkerProcess("pyav", limits)
    durations_s = []
    try:
        for path in paths:
            for _ in worker.answers(Request(path, None)):
                pass
            durations_s.append(worker.duration_s)
    finally:
        worker.stop()
    return durations_s


def probe_files(
    paths: Iterable[Path], preprocessing: Preprocessing, *, workers: int, limits: DecodeLimits = DecodeLimits()
) -> Generator[tuple[int, DecodeEnd], None, None]:
    """Whether an earlier visil can have read files wrongly that it sampled like this, in whatever order it is known.

    Yields:
        (index of the path, DecodeEnd): its `doubt` says why, its `error` why that cannot be told.

    Raises:
        VisilError: no worker can be started.
    """
    requests = (Request(path, preprocessing, is_probe=True) for path in paths)
    with closing(_answers(requests, workers=workers, reader="pyav", limits=limits)) as events:
        for index, event in events:
            assert isinstance(event, DecodeEnd)
            yield index, event


def _answers(
    requests: Iterable[Request], *, workers: int, reader: str, limits: DecodeLimits
) -> Generator[tuple[int, Frames | DecodeEnd], None, None]:
    check_reader(reader)
    remaining = iter(enumerate(requests))
    take = threading.Lock()
    events: queue.Queue[tuple[int, Frames | DecodeEnd] | BaseException | None] = queue.Queue(maxsize=2 * workers)
    stop = threading.Event()
    crew = [WorkerProcess(reader, limits) for _ in range(workers)]

    def put(event: tuple[int, Frames | DecodeEnd] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                events.put(event, timeout=0.2)
                return
            except queue.Full:
                continue

    def serve(worker: WorkerProcess) -> None:
        try:
            while not stop.is_set():
                with take:
                    index, request = next(remaining, (None, None))
                if index is None or request is None:
                    break
                for event in worker.answers(request):
                    put((index, event))
                    if stop.is_set():
                        return
            put(None)
        except BaseException as error:  # raised again in the consumer's thread
            put(error)

    threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in crew]
    try:
        for thread in threads:
            thread.start()
        finished = 0
        while finished < workers:
            event = events.get()
            if event is None:
                finished += 1
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event
    finally:
        stop.set()
        for worker in crew:
            worker.stop()
        for thread in threads:
            if thread.is_alive():  # an interrupt may come before it is started
                thread.join()
