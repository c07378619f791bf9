"""A decoding worker: `python -m visil.media.worker READER MEMORY_BYTES PACKET_S`, one process, one file at a time.

Strangers' videos are decoded here and nowhere else. Imports the reader and numpy only. Requests are JSON lines on
standard input, and its end is the worker's. Answers are messages of `write_message` on standard output: JSON and raw
pixels, never pickle, so that a decoder taken over by a hostile file has nothing in the parent that would run its bytes.

    ready | unusable                    once
    opened, alive or sample ..., end | out_of_memory    for every request; not opened for a probe

Every sample is sent as soon as it is known, alone: whatever ends this process, what came before is the parent's.
"""

from __future__ import annotations

import json
import os
import re
import struct
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any, BinaryIO

from visil.errors import MediaError, VisilError
from visil.media.preprocessing import Preprocessing
from visil.media.reader import FrameReader
from visil.values import Frames

LENGTHS = struct.Struct("<II")  # bytes of the JSON header, bytes of the pixels
PULSE_S = 0.25  # signs of life are not sent more often


def main() -> None:
    """Serve until standard input ends; never returns."""
    reader_name, memory_bytes, packet_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(requests,), daemon=True).start()
    # The pipe gets a descriptor of its own; anything a library prints goes to standard error.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        reader = _open_reader(reader_name)
    except VisilError as error:
        write_message(answers, {"kind": "unusable", "error": str(error)})
        os._exit(1)
    limit_memory(memory_bytes)
    write_message(answers, {"kind": "ready"})
    while True:
        _serve(reader, json.loads(requests.get()), answers, packet_s)


def _receive(requests: SimpleQueue[bytes]) -> None:
    """Pass requests on. When their pipe ends the parent is gone, even by kill -9, and nobody waits for an answer."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _open_reader(name: str) -> FrameReader:
    from visil.media.readers import open_reader

    return open_reader(name)


def limit_memory(memory_bytes: int) -> None:
    """Make allocations fail that go further beyond what this process has now.

    Linux counts private memory (RLIMIT_DATA), of which nothing is shared or reserved only; a decoder then reports that
    memory ran out, and the worker lives on to say so. Elsewhere nothing is enforced beyond the limit on picture sizes
    (macOS ignores such limits, Windows has none): there the system's own must do.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return
    import resource

    used = re.search(r"^VmData:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    if used is not None:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = (int(used[1]) << 10) + memory_bytes
        soft = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, most))


def _serve(reader: FrameReader, request: dict[str, Any], answers: BinaryIO, packet_s: float) -> None:
    """Answer one request: the samples of a file, the length that its headers tell, or why it is to be read again."""
    path = Path(request["path"])
    pulse = _Pulse(answers)

    def sampled(number: int, sample: Frames) -> None:
        write_message(answers, _header(number, sample), sample.images)

    end: dict[str, Any] = {"kind": "end", "error": None}
    try:
        if not request["is_probe"]:
            write_message(answers, {"kind": "opened", "duration_s": _header_duration_s(path, packet_s)})
        asked = None if request["preprocessing"] is None else Preprocessing(**request["preprocessing"])
        if asked is not None and request["is_probe"]:
            end["doubt"] = _doubt(path, asked, pulse, packet_s)
        elif asked is not None:
            span_s = None if request["span_s"] is None else tuple(request["span_s"])
            for frames in reader.read(
                path,
                asked,
                span_s=span_s,
                stills=request["stills"],
                alive=pulse.beat,
                sampled=sampled,
                packet_s=packet_s,
            ):
                last = frames
            end |= {"duration_s": last.duration_s, "warning": last.warning, "cut_short": last.cut_short}
    except BrokenPipeError:
        raise
    except MediaError as error:
        end = {"kind": "end", "error": str(error), "reason_class": error.reason_class}
    except MemoryError:
        end = {"kind": "out_of_memory"}
    except Exception as error:  # one odd file must not end the worker; its class tells what to look for
        reason = f"{path}: {type(error).__name__}: {error}"
        end = {"kind": "end", "error": reason, "reason_class": "undecodable"}
    write_message(answers, end)


def _doubt(path: Path, preprocessing: Preprocessing, pulse: _Pulse, packet_s: float) -> str:
    from visil.media.probing import doubt

    return doubt(path, preprocessing, alive=pulse.beat, packet_s=packet_s)


def _header_duration_s(path: Path, packet_s: float) -> float | None:
    from visil.media.opening import header_duration_s, open_video

    try:
        container, stream = open_video(path, packet_s=packet_s)
    except MediaError:
        return None  # the reader will say what is wrong
    with container:
        duration_s = header_duration_s(container, stream)
    return None if duration_s is None else float(duration_s)


class _Pulse:
    """Tells the parent that a file makes progress, a few times a second."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._next_s = 0.0

    def beat(self) -> None:
        now_s = monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + PULSE_S
            write_message(self._answers, {"kind": "alive"})


def _header(number: int, sample: Frames) -> dict[str, Any]:
    header = {
        "kind": "sample",
        "number": number,
        "shape": sample.images.shape[1:],
        "time_s": float(sample.times_s[0]),
        "duration_s": sample.duration_s,
    }
    return header if number else {**header, "video": asdict(sample.video)}


def write_message(stream: BinaryIO, header: dict[str, Any], pixels: Any = b"") -> None:
    """Lengths, JSON header, pixels (any contiguous buffer)."""
    text = json.dumps(header).encode()
    body = memoryview(pixels).cast("B") if len(pixels) else b""
    stream.write(LENGTHS.pack(len(text), len(body)))
    stream.write(text)
    stream.write(body)
    stream.flush()


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os._exit(0)  # the parent is gone; nobody is left to tell
