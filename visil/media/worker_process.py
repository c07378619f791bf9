"""The parent's side of a decoding worker: start it, ask it, believe it as far as it fits, give it up.

    request ─► [worker process] ─► messages ─► chunks of Frames | DecodeEnd
               this module supervises worker.py; joining.py makes the chunks

A worker is a plain subprocess, not a multiprocessing child: nothing of the caller's main module runs again, so a
ten-line script needs no main guard, and nothing is unpickled that came from a decoder.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path
from time import monotonic
from typing import IO, Any

from visil.errors import CUT_SHORT_CLASSES, MediaError, VisilError
from visil.media.joining import Joining, Sample
from visil.media.limits import DecodeLimits, Patience
from visil.media.preprocessing import Preprocessing
from visil.media.reader import CHUNK_SAMPLES
from visil.media.worker import LENGTHS
from visil.values import Frames, VideoInfo

logger = logging.getLogger(__name__)

MAX_HEADER_BYTES = 1 << 20
TICK_S = 0.5  # how often a wait is looked at; a suspended computer wakes up with one tick spent
START_S = 120.0  # a worker's imports on a machine that is swamped
END_S = 5.0  # a killed process that still runs waits for a dead disk; the system will end it


@dataclass(frozen=True)
class DecodeEnd:
    """The last event of a file.

    Attributes:
        error: says in one line why it could not be read, or is None.
        doubt: why it is to be read again, where only that was asked; see `probing.doubt`.
    """

    error: MediaError | None
    doubt: str = ""


@dataclass(frozen=True)
class Request:
    """What is asked about a file.

    Attributes:
        preprocessing: None asks for its length only.
        span_s, stills: see `FrameReader.read`.
        is_probe: no frames are asked for, but whether an earlier visil can have read them wrongly.
    """

    path: Path
    preprocessing: Preprocessing | None
    span_s: tuple[float, float] | None = None
    stills: bool = False
    is_probe: bool = False

    @property
    def most_pixel_bytes(self) -> int:
        """What the picture of one message may take."""
        if self.preprocessing is None or self.is_probe:
            return 0
        shortest_px, longest_px = self.preprocessing.sides_px
        return min(longest_px, shortest_px + 1) * longest_px * 3  # even sides may be one pixel longer


class NoWorkerError(VisilError):
    """This machine cannot start a decoding process, or not with this reader: no file is to blame."""


class _OutOfMemoryError(Exception):
    """The worker has reached its limit."""


class _ImpatientError(Exception):
    """The worker was waited for long enough."""


_ahead: dict[tuple[str, DecodeLimits], _Running] = {}  # started before they are needed, for whoever needs one first
_ahead_lock = threading.Lock()


@contextmanager
def worker_ahead(reader: str = "pyav", limits: DecodeLimits = DecodeLimits()) -> Iterator[None]:
    """Start a process now for the next `WorkerProcess` that needs one: its imports run beside those of the caller.

    Where one waits already no other is started. One that nobody needed ends with the block that started it.
    """
    own: _Running | None = None
    with _ahead_lock:
        if (reader, limits) not in _ahead:
            with suppress(NoWorkerError):  # whoever needs one will say why there is none
                own = _ahead[reader, limits] = _Running(reader, limits)
    try:
        yield
    finally:
        with _ahead_lock:
            unused = own if _ahead.get((reader, limits)) is own else None
            if unused is not None:
                del _ahead[reader, limits]
        if unused is not None:
            unused.end()


class WorkerProcess:
    """A decoding process that is started when first needed and again after it had to be ended.

    One thread asks; any other may `stop` it.

    Attributes:
        duration_s: length of the file asked about last as its headers tell it, seconds; None if they do not.
    """

    def __init__(self, reader: str, limits: DecodeLimits) -> None:
        self.duration_s: float | None = None
        self._reader = reader
        self._limits = limits
        self._running: _Running | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def answers(self, request: Request) -> Iterator[Frames | DecodeEnd]:
        """Events of one file, its end included.

        Whatever the file does to the worker costs one new worker, and what comes behind the samples that were sent. But
        a worker that was used before may suffer from the file before: if it dies before its first sample, or runs out
        of memory, a new one tries once more, so that no verdict depends on the order of the files. Of a worker that
        sent what none sends nothing is believed.

        Raises:
            NoWorkerError: there is no working process to be had.
        """
        joining = Joining()
        while True:
            used = self._running is not None
            try:
                yield from self._ask(request, joining)
                return
            except NoWorkerError:
                raise
            except _ImpatientError as error:
                failure = MediaError(f"{request.path}: given up: {error}; --stall-seconds waits longer", "stalled")
                try_again = False
            except _OutOfMemoryError:
                allowed_gb = self._limits.memory_bytes / 1e9
                failure = MediaError(
                    f"{request.path}: needs more than the {allowed_gb:.3g} GB of memory that decoding may use; "
                    "--decode-memory allows more",
                    "too_large",
                )
                try_again = used
            except Exception as error:
                failure = MediaError(f"{request.path}: the decoder crashed on this file", "crashed")
                try_again = used and not joining.has_samples
                if not isinstance(error, EOFError | OSError):  # it did not die, but sent what no worker sends
                    joining = Joining()
            if self._stopped:
                return
            self._end()
            if not try_again:
                yield from _given_up(request, failure, joining)
                return

    def stop(self) -> None:
        """End the process; whoever waits for an answer gets none."""
        self._stopped = True
        self._end()

    def _ask(self, request: Request, joining: Joining) -> Iterator[Frames | DecodeEnd]:
        running = self._started()
        size_bytes = _size_bytes(request.path)
        patience = Patience(self._limits.stall_s, self._limits.file_s(size_bytes, None))
        self.duration_s = None
        running.send(request)
        while True:
            header, pixels = running.message(patience)
            if header["kind"] == "opened":
                self.duration_s = _duration_s(header)
                patience.file_s = self._limits.file_s(size_bytes, self.duration_s)
            elif header["kind"] == "out_of_memory":
                raise _OutOfMemoryError
            elif header["kind"] == "end":
                failure = _error(header, request.path)
                if failure is not None:
                    yield from _given_up(request, failure, joining)
                    return
                if joining.has_samples:
                    yield joining.ended(**_ending(header))
                yield DecodeEnd(None, _doubt(header))
                return
            elif header["kind"] != "alive":
                assert request.preprocessing is not None
                chunk = joining.add(*_sample(header, pixels, request.preprocessing))
                if chunk is not None:
                    yield chunk

    def _started(self) -> _Running:
        with self._lock:
            if self._stopped:
                raise EOFError
            if self._running is None:
                with _ahead_lock:
                    ahead = _ahead.pop((self._reader, self._limits), None)
                self._running = running = ahead or _Running(self._reader, self._limits)
            else:
                return self._running
        running.wait_until_ready()
        return running

    def _end(self) -> None:
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.end()


def _given_up(request: Request, failure: MediaError, joining: Joining) -> Iterator[Frames | DecodeEnd]:
    """How a file ends that was not read to its end: cut short if that says nothing about what came before."""
    if failure.reason_class not in CUT_SHORT_CLASSES or not joining.has_samples:
        yield DecodeEnd(failure)
        return
    reason = str(failure).removeprefix(f"{request.path}: ")
    yield joining.broken_off(reason, failure.reason_class)
    yield DecodeEnd(None)


class _Running:
    """One process and the messages that it sends.

    A thread reads them, because a read cannot be given up on every system, and not at all while the process waits for
    a disk that is gone.
    """

    def __init__(self, reader: str, limits: DecodeLimits) -> None:
        self._process = _start([reader, str(limits.memory_bytes), str(limits.packet_s)])
        logger.debug("decoding worker %d started", self._process.pid)
        self._messages: queue.Queue[tuple[dict[str, Any], bytes] | BaseException] = queue.Queue(maxsize=CHUNK_SAMPLES)
        self._most_pixel_bytes = 0  # of a message that answers the last request
        self._ended = threading.Event()
        threading.Thread(target=self._receive, daemon=True).start()

    def send(self, request: Request) -> None:
        assert self._process.stdin is not None
        self._most_pixel_bytes = request.most_pixel_bytes
        text = json.dumps({**asdict(request), "path": os.path.abspath(request.path)})
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def wait_until_ready(self) -> None:
        """Raises NoWorkerError if it does not come to serve requests."""
        try:
            header, _ = self.message(Patience(START_S, START_S))
            reason = "" if header["kind"] == "ready" else str(header["error"])
        except Exception as error:  # it died, says nothing, or nothing that a worker says
            if self._ended.is_set():  # by us
                raise EOFError from error
            raise NoWorkerError(
                f"decoding workers do not start with {sys.executable}; `visil doctor` says what is wrong"
            ) from error
        if reason:
            raise NoWorkerError(reason)

    def message(self, patience: Patience) -> tuple[dict[str, Any], bytes]:
        """The next message.

        Raises:
            _ImpatientError: it takes too long.
            Exception: the process has ended, or sends what is no message.
        """
        while not patience.complaint:
            begin_s = monotonic()
            try:
                message = self._messages.get(timeout=TICK_S)
            except queue.Empty:
                patience.waited(TICK_S)
                if self._ended.is_set():
                    raise EOFError from None
                continue
            patience.waited(min(monotonic() - begin_s, TICK_S))
            if isinstance(message, BaseException):
                raise message
            patience.heard()
            return message
        raise _ImpatientError(patience.complaint)

    def end(self) -> None:
        """Kill it; whoever waits for a message gets an EOFError."""
        self._ended.set()
        self._process.kill()
        with suppress(queue.Full):
            self._messages.put_nowait(EOFError())
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # a request that the dead worker never read
            self._process.stdin.close()

    def _receive(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            while not self._ended.is_set():
                message: tuple[dict[str, Any], bytes] | BaseException
                try:
                    message = self._read_message(stream)
                except Exception as error:
                    message = error
                while not self._ended.is_set():
                    with suppress(queue.Full):
                        self._messages.put(message, timeout=TICK_S)
                        break
                if isinstance(message, BaseException):
                    return

    def _read_message(self, stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
        header_bytes, pixel_bytes = LENGTHS.unpack(_read(stream, LENGTHS.size))
        if header_bytes > MAX_HEADER_BYTES or pixel_bytes > self._most_pixel_bytes:
            raise ValueError("message too large")
        return json.loads(_read(stream, header_bytes)), _read(stream, pixel_bytes)


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    package_root = str(Path(__file__).resolve().parents[2])
    search_path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    # numpy's BLAS would reserve memory for a thread a core; nothing here multiplies matrices.
    environment = {**os.environ, "PYTHONPATH": search_path, "OPENBLAS_NUM_THREADS": "1"}
    try:
        return subprocess.Popen(
            # -P: a file called numpy.py in the folder of somebody's videos must not be imported.
            [sys.executable, "-P", "-m", "visil.media.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
    except OSError as error:
        raise NoWorkerError(f"no decoding worker can be started with {sys.executable} ({error.strerror})") from error


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0  # the worker will say what is wrong


def _read(stream: IO[bytes], count: int) -> bytes:
    block = stream.read(count)
    if len(block) < count:
        raise EOFError
    return block


def _duration_s(header: dict[str, Any]) -> float | None:
    if header["duration_s"] is None:
        return None
    duration_s = float(header["duration_s"])
    if not 0 <= duration_s < inf:
        raise ValueError("a length that no video has")
    return duration_s


def _error(header: dict[str, Any], path: Path) -> MediaError | None:
    """What ended a file, under the path that the caller gave; a worker, who is elsewhere, has the absolute one."""
    if header["error"] is None:
        return None
    if not isinstance(header["error"], str) or not isinstance(header["reason_class"], str):
        raise ValueError("an error that is no text")
    absolute = f"{os.path.abspath(path)}: "
    named = header["error"].startswith(absolute)
    message = f"{path}: {header['error'].removeprefix(absolute)}" if named else header["error"]
    return MediaError(message, header["reason_class"])


def _doubt(header: dict[str, Any]) -> str:
    doubt = header.get("doubt", "")
    if not isinstance(doubt, str):
        raise ValueError("a doubt that is no text")
    return doubt


def _ending(header: dict[str, Any]) -> dict[str, Any]:
    """What a worker says about a video at its end: the arguments of `Joining.ended`."""
    duration_s, warning, cut_short = _duration_s(header), header["warning"], header["cut_short"]
    if duration_s is None or not isinstance(warning, str) or cut_short not in ("", *CUT_SHORT_CLASSES):
        raise ValueError("an end that no video has")
    return {"duration_s": duration_s, "warning": warning, "cut_short": cut_short}


def _sample(header: dict[str, Any], pixels: bytes, preprocessing: Preprocessing) -> tuple[int, Sample]:
    """Number and sample that a worker sent, believed only as far as they fit: its decoder may have been taken over by
    the file."""
    number, (height, width, channels) = header["number"], header["shape"]
    shortest_px, longest_px = preprocessing.sides_px
    if (
        not all(isinstance(value, int) for value in (number, height, width))
        or channels != 3
        or height * width * channels != len(pixels)
        or not shortest_px <= min(height, width) <= max(height, width) <= longest_px
    ):
        raise ValueError("a sample of another size than announced or asked for")
    time_s, duration_s = float(header["time_s"]), float(header["duration_s"])
    if not isfinite(time_s) or not isfinite(duration_s):
        raise ValueError("times that are not finite")
    video = _video_info(header["video"]) if number == 0 else None
    return number, Sample(time_s, duration_s, (height, width, channels), pixels, video)


def _video_info(facts: dict[str, Any]) -> VideoInfo:
    sizes = [tuple(facts[name]) for name in ("coded_size_px", "rotated_size_px", "square_pixel_size_px")]
    if any(len(size) != 2 or not all(0 < side < 1 << 31 for side in size) for size in sizes):
        raise ValueError("sizes that no picture has")
    coded, rotated, square = ((int(width), int(height)) for width, height in sizes)
    start_offset_s = float(facts["start_offset_s"])
    if not isfinite(start_offset_s):
        raise ValueError("a start that is not finite")
    return VideoInfo(coded, rotated, square, int(facts["rotation_deg"]) % 360, str(facts["codec"]), start_offset_s)
