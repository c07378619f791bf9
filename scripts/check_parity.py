"""Compares visil with the numbers of the published systems.

DIR holds one folder a case (case.json, inputs.npz, expected.npz, perhaps weights.npz); its name is the area,
such as `visil`. Prints a table and the counts. Exit status: 0 if every case passed or lacks only its data,
1 if one failed or is not built, 2 if there is no case.

    python scripts/check_parity.py ../shared/parity/visil
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout, for `tests` and `visil`

from tests.parity.harness import FAILED, NOT_BUILT, kinds_of, run_folder, table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of the cases of one area")
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder of real data sets, for cases that need them")
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"{options.folder}: no such folder")
    results = run_folder(options.folder, kinds_of(options.folder.resolve().name), data=options.data)
    if not results:
        parser.error(f"{options.folder}: holds no case")
    print(table(results))
    return 1 if any(result.verdict in (FAILED, NOT_BUILT) for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
