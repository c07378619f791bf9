"""`visil info`: a library, or one video of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from visil.cli.options import format_option, library_option
from visil.cli.output import NAMES, chosen_format, name_to_paste, print_rows, tell_of_damage


@click.command("info")
@click.argument("id", required=False, metavar="[ID]")
@library_option
@format_option
def command(id: str | None, library: Path, output_format: str | None) -> int:
    """Say what a library holds, or what is known about one of its videos.

    \b
    Examples:
      visil info
      visil info news/0412.mp4 --format json

    Exit status: 0; 1 something of the library is damaged (listed on stderr); 2 there is no library or no such video.
    """
    from visil.library.compacting import folder_bytes
    from visil.library.library import Library

    opened = Library.open(library, device="cpu")
    records = opened.list()
    facts: dict[str, Any]
    if id is None:
        settings = opened.model.settings
        facts = {
            "library": str(library),
            "version": opened.version,
            "bundle": settings.name,
            "bundle_hash": opened.model.bundle.hash,
            "sampling": opened.preprocessing.sampling,
            "fps": settings.preprocessing.fps,
            "videos": len(records),
            **{f"videos_{status}": n for status, n in sorted(Counter(r.status for r in records).items())},
            "duration_s": round(sum(r.duration_s for r in records), 1),
            "num_samples": sum(r.num_samples for r in records),
            "disk_bytes": folder_bytes(library),
        }
    else:
        facts = _video_facts(opened.record(id))
    style = chosen_format(output_format)
    if style == "table":
        shown = {k: name_to_paste(str(v)) if k in NAMES else str(v) for k, v in facts.items()}
        print_rows([{"fact": k, "value": v} for k, v in shown.items()], style, ["fact", "value"])
    else:
        print_rows([facts], style, list(facts))
    tell_of_damage(opened.damaged)
    return 1 if opened.damaged else 0


def _video_facts(record: Any) -> dict[str, Any]:
    facts = {
        "id": record.id,
        "path": record.file.path,
        "sha256": record.file.sha256,
        "size_bytes": record.file.size_bytes,
        "status": record.status,
        "reason": record.reason,
        "duration_s": record.duration_s,
        "num_samples": record.num_samples,
    }
    if record.video is not None and not record.file.is_feature_set:
        facts |= {
            "coded_size_px": "x".join(map(str, record.video.coded_size_px)),
            "rotated_size_px": "x".join(map(str, record.video.rotated_size_px)),
            "square_pixel_size_px": "x".join(map(str, record.video.square_pixel_size_px)),
            "rotation_deg": record.video.rotation_deg,
            "codec": record.video.codec,
            "start_offset_s": record.video.start_offset_s,
        }
    return facts
