"""What visil has to say differently to PyAV 18 and 19."""

from __future__ import annotations

from typing import Any

import av

# Titles and comments of a file may be in any encoding. Before 19 PyAV refused to open one that is not UTF-8; now it
# never does, and no longer knows the option.
OPEN_OPTIONS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
