"""What scripts/bench_moments.py says of moments at hand."""

import importlib.util
import sys
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

from visil.benchmarks.benchmark_data import (
    DISTRACTOR,
    EDIT,
    LONG_NO_MATCH,
    REAL,
    Benchmark,
    BenchmarkSettings,
    LibraryVideo,
    Query,
)
from visil.errors import DataError

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_moments.py"
NOTHING = frozenset[str]()
NUM_VIDEOS = 400


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("bench_moments", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_moments"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def benchmark(tmp_path):
    """A compilation of the first two videos, three long queries of nothing; the last video is under a title card."""
    queries = (
        Query(Path("c"), EDIT, NOTHING, "compilations", "compilation", "mild"),
        *(Query(Path(f"{i}"), LONG_NO_MATCH, NOTHING, "n") for i in range(3)),
    )
    kinds = [REAL, *[DISTRACTOR] * (NUM_VIDEOS - 2), "title_card"]
    is_relevant = np.zeros((4, NUM_VIDEOS), dtype=bool)
    is_relevant[0, :2] = True
    return Benchmark(
        BenchmarkSettings("val"),
        tmp_path,
        tuple(LibraryVideo(Path(f"v{i}"), kind, NOTHING, 5.0) for i, kind in enumerate(kinds)),
        queries,
        is_relevant,
        ~is_relevant,
    )


def compared(script, moments, *, whole=0.0, num_moments=58):
    columns = np.arange(NUM_VIDEOS)
    return [
        script.Compared(number, num_moments, columns, torch.full((NUM_VIDEOS,), whole), torch.as_tensor(row))
        for number, row in enumerate(moments)
    ]


class TestTail:
    def test_of_an_exponential_tail_the_rare_moment_is_the_true_one(self, script, benchmark):
        moments = np.random.default_rng(0).exponential(0.05, (4, NUM_VIDEOS))
        found = script.tail(benchmark, compared(script, moments), seed=0)
        assert found["num_pairs"] == 3 * (NUM_VIDEOS - 1)  # neither the compilation nor the title card
        assert found["highest"] == sorted(moments[1:, :-1].ravel(), reverse=True)[:5]
        true = 0.05 * log(1e6)
        assert found["rare"]["200"] == pytest.approx(true, rel=0.1)
        low, high = found["interval"]
        assert low < true < high

    def test_moments_without_evidence_are_no_pairs(self, script, benchmark):
        moments = np.random.default_rng(0).exponential(0.05, (4, NUM_VIDEOS))
        moments[1, :50] = -np.inf
        assert script.tail(benchmark, compared(script, moments), seed=0)["num_pairs"] == 3 * (NUM_VIDEOS - 1) - 50

    def test_too_few_pairs_are_said(self, script, benchmark):
        with pytest.raises(DataError, match="0 pairs have moments, more than 200 are needed"):
            script.tail(benchmark, compared(script, np.full((4, NUM_VIDEOS), -np.inf)), seed=0)


class TestWeighed:
    def test_counts_sources_and_strangers_above_thresholds(self, script, benchmark):
        moments = np.zeros((4, NUM_VIDEOS))
        moments[0, :2] = 1.0, 0.95
        moments[1, 0] = moments[2, -1] = 0.95  # the second lies under a title card
        found = compared(script, moments)
        above = [0.646, 0.99, 1.0]
        weighed = script.weighed(benchmark, found, 1.0, above)
        assert weighed["sources_above"] == [1.0, 0.5, 0.0]
        assert weighed["unrelated_above"] == [1, 0, 0]
        assert weighed["share_of_sources"] == 1.0
        assert weighed["passes"] == pytest.approx(1 - 0.708 / (1 + log(58)))
        assert script.weighed(benchmark, found, 4.0, above)["unrelated_above"] == [0, 0, 0]

    def test_without_a_weight_the_whole_counts_alone(self, script, benchmark):
        moments = np.ones((4, NUM_VIDEOS))
        weighed = script.weighed(benchmark, compared(script, moments, whole=-0.5), None, [0.3])
        assert (weighed["passes"], weighed["sources_above"], weighed["unrelated_above"]) == (None, [0.0], [0])
