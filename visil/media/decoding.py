"""Decodes many files in worker processes.

    paths ─► [workers, one file each at a time] ─► (index, Frames ... | DecodeEnd)
             this module

A worker is a plain subprocess (`visil.media.worker`), not a multiprocessing child: nothing of the caller's main
module runs again, so a ten-line script needs no main guard, and nothing is unpickled that came from a decoder.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from visil.errors import MediaError, VisilError
from visil.media.preprocessing import MAX_SIDE_PX, Preprocessing
from visil.media.reader import CHUNK_SAMPLES
from visil.media.worker import LENGTHS
from visil.values import Frames, VideoInfo

MAX_HEADER_BYTES = 1 << 20
MAX_PIXEL_BYTES = CHUNK_SAMPLES * MAX_SIDE_PX * MAX_SIDE_PX * 3 * 4


@dataclass(frozen=True)
class DecodeLimits:
    """What a file may cost before it is given up.

    Attributes:
        stall_s: seconds without progress.
        memory_bytes: memory of one worker.
    """

    stall_s: float = 60.0
    memory_bytes: int = 2 << 30


@dataclass(frozen=True)
class DecodeEnd:
    """The last event of a file. `error` says in one line why it could not be read, or is None."""

    error: MediaError | None


def read_frames(
    path: Path,
    preprocessing: Preprocessing,
    *,
    reader: str = "pyav",
    limits: DecodeLimits = DecodeLimits(),
    span_s: tuple[float, float] | None = None,
    stills: bool = False,
) -> Iterator[Frames]:
    """Chunks of one video, decoded in a worker process.

    Raises:
        MediaError: the file is not a readable video.
    """
    with closing(decode_files([path], preprocessing, workers=1)) as events:
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

    Yields:
        (index of the path, Frames) and, once a file, (index, DecodeEnd). A file that crashes its worker ends with
        an error and costs one worker restart. At most a few chunks a worker wait in memory.
    """
    remaining = iter(enumerate(paths))
    take = threading.Lock()
    events: queue.Queue[tuple[int, Frames | DecodeEnd] | BaseException | None] = queue.Queue(maxsize=2 * workers)
    stop = threading.Event()
    crew = [_Worker() for _ in range(workers)]

    def put(event: tuple[int, Frames | DecodeEnd] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                events.put(event, timeout=0.2)
                return
            except queue.Full:
                continue

    def serve(worker: _Worker) -> None:
        try:
            while not stop.is_set():
                with take:
                    index, path = next(remaining, (None, None))
                if index is None or path is None:
                    break
                for event in worker.decode(path, preprocessing):
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
            thread.join()


class _NoWorkerError(VisilError):
    """This machine cannot start a decoding process."""


class _Worker:
    """A decoding process that is started when first needed and again after a crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def decode(self, path: Path, preprocessing: Preprocessing) -> Iterator[Frames | DecodeEnd]:
        """Events of one file, its end included.

        A used worker that fails before its first answer may have been damaged by the file before: a new one tries.
        """
        used, answered = self._process is not None, False
        try:
            for event in self._ask(path, preprocessing):
                answered = True
                yield event
            return
        except _NoWorkerError:  # not the file's doing
            raise
        except Exception:  # the worker died, or sent what no worker sends
            if self._stopped:
                return
            self._end_process()
            if answered or not used:
                yield DecodeEnd(MediaError(f"{path}: the decoder crashed on this file", "crashed"))
                return
        yield from self.decode(path, preprocessing)

    def _ask(self, path: Path, preprocessing: Preprocessing) -> Iterator[Frames | DecodeEnd]:
        request = json.dumps({"path": os.path.abspath(path), "preprocessing": asdict(preprocessing)})
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(request.encode() + b"\n")
        process.stdin.flush()
        image_shape: tuple[int, ...] | None = None
        while True:
            header, pixels = self._read_message(process)
            if header["kind"] == "end":
                yield DecodeEnd(
                    None if header["error"] is None else MediaError(str(header["error"]), header["reason_class"])
                )
                return
            frames = _frames(header, pixels, preprocessing)
            if image_shape not in (None, frames.images.shape[1:]):
                raise ValueError("frames of several sizes")
            image_shape = frames.images.shape[1:]
            yield frames

    def stop(self) -> None:
        self._stopped = True
        self._end_process()

    def _running(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise EOFError
            if self._process is None:
                self._process = _start_worker()
            return self._process

    def _end_process(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except BrokenPipeError:
                pass  # a request that the dead worker never read

    def _read_message(self, process: subprocess.Popen[bytes]) -> tuple[dict[str, Any], bytes]:
        header_bytes, pixel_bytes = LENGTHS.unpack(self._read(process, LENGTHS.size))
        if header_bytes > MAX_HEADER_BYTES or pixel_bytes > MAX_PIXEL_BYTES:
            raise ValueError("message too large")
        return json.loads(self._read(process, header_bytes)), self._read(process, pixel_bytes)

    @staticmethod
    def _read(process: subprocess.Popen[bytes], count: int) -> bytes:
        assert process.stdout is not None
        block = process.stdout.read(count)
        if len(block) < count:
            raise EOFError
        return block


def _start_worker() -> subprocess.Popen[bytes]:
    package_root = str(Path(__file__).resolve().parents[2])
    search_path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    try:
        return subprocess.Popen(
            # -P: a file called numpy.py in the folder of somebody's videos must not be imported.
            [sys.executable, "-P", "-m", "visil.media.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": search_path},
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
    except OSError as error:
        raise _NoWorkerError(f"no decoding worker can be started with {sys.executable} ({error.strerror})") from error


def _frames(header: dict[str, Any], pixels: bytes, preprocessing: Preprocessing) -> Frames:
    """What a worker sent, believed only as far as it fits: its decoder may have been taken over by the file."""
    length, height, width, channels = header["shape"]
    smallest_side_px = preprocessing.crop_px or preprocessing.size_px
    if (
        prod(header["shape"]) != len(pixels)
        or not 1 <= length <= CHUNK_SAMPLES
        or min(height, width) < smallest_side_px
    ):
        raise ValueError("frames of another size than announced or asked for")
    times_s = np.array(header["times_s"], dtype=np.float64)
    numbers = [*times_s, header["duration_s"], header["video"]["start_offset_s"]]
    if not np.isfinite(numbers).all() or (np.diff(times_s) < 0).any():
        raise ValueError("times that are not finite or not in order")
    return Frames(
        np.frombuffer(pixels, dtype=np.uint8).reshape(length, height, width, channels),
        times_s,
        _video_info(header["video"]),
        float(header["duration_s"]),
        str(header["warning"]),
    )


def _video_info(facts: dict[str, Any]) -> VideoInfo:
    sizes = [tuple(facts[name]) for name in ("coded_size_px", "rotated_size_px", "square_pixel_size_px")]
    if any(len(size) != 2 or not all(0 < side < 1 << 31 for side in size) for size in sizes):
        raise ValueError("sizes that no picture has")
    coded, rotated, square = ((int(width), int(height)) for width, height in sizes)
    return VideoInfo(
        coded, rotated, square, int(facts["rotation_deg"]) % 360, str(facts["codec"]), float(facts["start_offset_s"])
    )
