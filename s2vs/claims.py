"""Whose a run's folder is, and on what it ran: noted when it begins, compared whenever it goes on.

    RUN/settings.json    settings; below `data`, digests of what the run learns from
    RUN/pieces.jsonl     a line for every piece: from which step on, with which torch, processor and threads

Other settings or other data are refused. Other threads or versions are not: a run may go on wherever there is a
machine, but its weights then differ in rounding from those of one piece, so there is a warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visil.errors import DataError

logger = logging.getLogger(__name__)

SETTINGS, PIECES = "settings.json", "pieces.jsonl"
DIGEST_ROWS = 500  # at least so many of a tensor are digested, or all
MAX_SHOWN = 60  # characters of a value in an error


def digest(tensors: Iterable[Tensor]) -> str:
    """Of shapes and of rows spread over the tensors: they are too large to be read as a whole every time."""
    hashed = hashlib.sha256()
    for tensor in tensors:
        rows = tensor[:: max(1, len(tensor) // DIGEST_ROWS)].contiguous()
        hashed.update(f"{tensor.dtype} {[*tensor.shape]}\n".encode())
        hashed.update(rows.flatten().view(torch.uint8).numpy().data if rows.numel() else b"")
    return hashed.hexdigest()


def claim(folder: Path, settings: Mapping[str, Any], data: Mapping[str, str]) -> None:
    """Note settings and digests in the folder of a run, or see that they are those of the run it holds.

    A folder without digests, of an earlier version, takes these.

    Raises:
        DataError: the folder is of another run, or cannot be read or written.
    """
    wanted = json.loads(json.dumps(settings))
    place = folder / SETTINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        noted = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {**wanted, "data": dict(data)}
        if not isinstance(noted, dict) or not isinstance(noted.get("data", {}), dict):
            raise ValueError("no settings of a run")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: cannot be read ({error}); delete the folder and begin anew") from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be the folder of a run ({error})") from error
    noted_data = noted.pop("data", dict(data))
    other = _difference(noted, wanted)
    if other:
        raise DataError(f"{folder}: is of a run with another {other}; take another folder")
    for kind in sorted(noted_data.keys() | data.keys()):
        if noted_data.get(kind) != data.get(kind):
            raise DataError(f"{folder}: is of a run with other {kind}; take another folder")
    _write(place, {**wanted, "data": noted_data})


def note_piece(folder: Path, step: int, device: torch.device) -> None:
    """Note on what the run goes on, with a warning if it is something else than before."""
    here = {
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
    place = folder / PIECES
    before, gap = _last_piece(place)
    before = here if before is None else before
    other = [f"{name} {before.get(name)}, now {value}" for name, value in here.items() if before.get(name) != value]
    if other:
        logger.warning("the piece before had %s: weights can differ in rounding from one whole run", "; ".join(other))
    with place.open("a", encoding="utf-8") as file:
        file.write(gap + json.dumps({"from_step": step, **here}) + "\n")


def _last_piece(place: Path) -> tuple[dict[str, Any] | None, str]:
    """The last line that can be read, if any, and what must come before the next: a kill can cut a line off."""
    text = place.read_text(encoding="utf-8", errors="replace") if place.exists() else ""
    gap = "\n" if text and not text.endswith("\n") else ""
    for line in reversed(text.splitlines()):
        try:
            piece = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(piece, dict):
            return piece, gap
    return None, gap


def _difference(noted: Any, wanted: Any, name: str = "") -> str | None:
    """The first value that is another one, such as `views[1].inset_weight (3.0, not 6.0)`; None: all are equal."""
    if isinstance(noted, dict) and isinstance(wanted, dict):
        names = sorted(noted.keys() | wanted.keys())
        parts = [(f"{name}.{key}".lstrip("."), noted.get(key), wanted.get(key)) for key in names]
    elif isinstance(noted, list) and isinstance(wanted, list) and len(noted) == len(wanted):
        pairs = zip(noted, wanted, strict=True)
        parts = [(name if isinstance(b, dict) else f"{name}[{i}]", a, b) for i, (a, b) in enumerate(pairs)]
    else:
        return None if noted == wanted else f"{name} ({_shown(noted)}, not {_shown(wanted)})"
    return next(filter(None, (_difference(a, b, part) for part, a, b in parts)), None)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{len(value)} entries"


def _write(place: Path, entries: Mapping[str, Any]) -> None:
    text = json.dumps(entries, indent=1)
    if place.exists() and place.read_text(encoding="utf-8") == text:
        return
    partial = place.with_name(f".{place.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(place)
    except OSError as error:
        raise DataError(f"{place}: cannot be written ({error})") from error
