"""A decoding worker: `python -m visil.media.worker`, one process, one file at a time.

Strangers' videos are decoded here and nowhere else. Imports PyAV and numpy only. Requests are JSON lines on standard
input; answers are messages of `write_message` on standard output: JSON and raw pixels, never pickle, so that a decoder
taken over by a hostile file has nothing in the parent that would run its bytes.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from visil.errors import MediaError
from visil.media.preprocessing import Preprocessing
from visil.media.reader import FrameReader
from visil.values import Frames

LENGTHS = struct.Struct("<II")  # bytes of the JSON header, bytes of the pixels


def main() -> None:
    from visil.media.pyav_reader import PyAVReader

    reader: FrameReader = PyAVReader()
    # The pipe gets a descriptor of its own; anything a library prints goes to standard error.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        for line in sys.stdin.buffer:
            request = json.loads(line)
            try:
                for frames in reader.read(Path(request["path"]), Preprocessing(**request["preprocessing"])):
                    write_message(answers, {"kind": "frames", **_header(frames)}, frames.images)
            except MediaError as error:
                write_message(answers, {"kind": "end", "error": str(error), "reason_class": error.reason_class})
            except Exception as error:  # one odd file must not end the worker; its class tells what to look for
                reason = f"{request['path']}: {type(error).__name__}: {error}"
                write_message(answers, {"kind": "end", "error": reason, "reason_class": "undecodable"})
            else:
                write_message(answers, {"kind": "end", "error": None})


def _header(frames: Frames) -> dict[str, Any]:
    return {
        "shape": frames.images.shape,
        "times_s": frames.times_s.tolist(),
        "video": asdict(frames.video),
        "duration_s": frames.duration_s,
        "warning": frames.warning,
    }


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
