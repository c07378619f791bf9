"""Pack the annotations that ship in the package: `visil/evaluation/annotations`, the same bytes every time.

    shared data folder ─► [compressed copies of the annotation files, their licences]

Compressed with gzip, without name and time. SOURCE beside them is written by hand.
    python scripts/pack_annotations.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ANNOTATIONS = ROOT / "visil" / "evaluation" / "annotations"
COPIES = [
    ("fivr200k/annotation.json", "fivr/annotation.json.gz"),
    ("fivr200k/youtube_ids.txt.gz", "fivr/youtube_ids.txt.gz"),
    ("fivr200k/fivr5k.json", "fivr/fivr5k.json.gz"),
    ("fivr200k/easy_duplicates.txt", "fivr/easy_duplicates.txt.gz"),
    ("fivr200k/LICENSE", "fivr/LICENSE"),
    ("fivr200k/LICENSE.easy_duplicates", "fivr/LICENSE.easy_duplicates"),
    ("evve/annotation.json", "evve/annotation.json.gz"),
    ("evve/LICENSE", "evve/LICENSE"),
    ("cc_web_video/annotation.json", "cc_web_video/annotation.json.gz"),
    ("cc_web_video/LICENSE", "cc_web_video/LICENSE"),
    ("svd/test_groundtruth.txt", "svd/test_groundtruth.txt.gz"),
    ("evve/LICENSE", "svd/LICENSE"),  # of the same repository
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    for source, copy in COPIES:
        content = (data / source).read_bytes()
        if source.endswith(".gz"):
            content = gzip.decompress(content)
        path = ANNOTATIONS / copy
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content, 9, mtime=0) if path.suffix == ".gz" else content)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
