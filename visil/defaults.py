"""Defaults that the command line and the library share; imports nothing, so that help answers at once."""

from __future__ import annotations

DEFAULT_BUNDLE = "mini"
BUILT_IN_BUNDLES = ("untrained", "mini")  # names that the default ever had: libraries made with those may be moved
DEFAULT_RERANK = 200  # candidates that get the fine score
DEFAULT_TOP = 20  # matches a query
PRECISIONS = ("fp32", "bf16", "fp16")
TIES = ("group", "stable", "best", "worst")  # rules for equal scores in an evaluation
READERS = ("pyav", "decord", "torchcodec")  # what decodes; the first needs no extra
