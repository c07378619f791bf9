"""What must come of the awkward files of ../shared/data/hard_media, as their manifest says it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from visil.errors import REASON_CLASSES
from visil.media.preprocessing import Preprocessing

ONE_A_SECOND = Preprocessing(size_px=64, min_samples=1)  # the manifest knows no fewest samples


@dataclass(frozen=True)
class Outcome:
    """What came of a file.

    Attributes:
        size_px: (width, height) after rotation.
        reason: why it failed, or the warning of one that did not.
        reason_class: of a failure; empty: it did not fail.
    """

    num_samples: int = 0
    size_px: tuple[int, int] | None = None
    reason: str = ""
    reason_class: str = ""


def manifest_entries(folder: Path) -> dict[str, dict]:
    """The manifest by file name."""
    return {entry["file"]: entry for entry in json.loads((folder / "manifest.json").read_text())["files"]}


def disagreement(outcome: Outcome, entry: dict) -> str:
    """What the manifest does not accept about an outcome, or an empty text."""
    note = entry.get("also_acceptable_or_note") or ""
    if outcome.reason_class:
        accepted = {entry.get("reason_class")} | {word for word in re.findall(r"\w+", note) if word in REASON_CLASSES}
        return "" if outcome.reason_class in accepted else f"failed: {outcome.reason_class}: {outcome.reason}"
    if entry["expectation"] == "fail":
        # The number of frames where one is named, else whatever decodes, with a warning.
        counted = re.match(r"index, (\d+) frame", note)
        if counted is None:
            return "" if note.startswith("index") and outcome.reason else "indexed"
        fewest = most = int(counted[1])
    else:
        fewest, most = entry["frames_at_1fps_accept"]
    if not fewest <= outcome.num_samples <= most:
        return f"{outcome.num_samples} samples, not {fewest} to {most}"
    if "display_size" in entry and outcome.size_px != tuple(entry["display_size"]):
        return f"{outcome.size_px}, not {entry['display_size']}"
    return ""
