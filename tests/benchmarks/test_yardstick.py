"""Figures, thresholds and false matches of the yardstick on a library of six videos, worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from visil.benchmarks.benchmark_data import (
    DISTRACTOR,
    EDIT,
    LONG_NO_MATCH,
    LOOK_ALIKE,
    MONTAGE,
    NO_MATCH,
    REAL,
    Benchmark,
    BenchmarkSettings,
    LibraryVideo,
    Query,
)
from visil.benchmarks.benchmark_search import NO_SCORE
from visil.benchmarks.yardstick import (
    ALL_FURNITURE,
    UNRELATED,
    false_matches,
    figures,
    found_matches,
    gains,
    read_thresholds,
    sources_found,
    thresholds,
)
from visil.errors import DataError

NOTHING = frozenset[str]()
VIDEOS = [
    LibraryVideo(Path("real"), REAL, NOTHING, 9.0),
    LibraryVideo(Path("other"), REAL, NOTHING, 9.0),
    LibraryVideo(Path("montage"), MONTAGE, NOTHING, 9.0),
    LibraryVideo(Path("barrel"), DISTRACTOR, NOTHING, 5.0, "barrel"),
    LibraryVideo(Path("anchor"), DISTRACTOR, NOTHING, 5.0, "anchor"),
    LibraryVideo(Path("titled"), "title_card", NOTHING, 5.0, design=1),
]
QUERIES = [
    Query(Path("crop"), EDIT, NOTHING, "a", "crop", "mild", Path("real")),
    Query(Path("cut"), EDIT, NOTHING, "b", "crop", "strong", Path("montage"), of_montage=True),
    Query(Path("another_barrel"), LOOK_ALIKE, NOTHING, "c", subject="barrel"),
    Query(Path("nothing"), NO_MATCH, NOTHING, "d"),
    Query(Path("same_title"), "title_card", NOTHING, "e", design=1),
    Query(Path("other_title"), "title_card", NOTHING, "f", design=2),  # counts in no row
]
RELEVANT = [(0, 0), (1, 2)]
LEFT_OUT = [(0, 1), (1, 0)]
#                real  other montage barrel anchor titled
SCORES = [
    [0.9, 1.0, 0.2, 0.1, 0.3, 0.8],  # crop: first, the left-out video does not count
    [1.0, 0.2, 0.5, 0.6, 0.1, 0.1],  # cut: after one unrelated video
    [0.1, 0.1, 0.1, 0.7, 0.2, 0.1],
    [0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
    [0.1, 0.1, 0.1, 0.1, 0.1, 0.95],
    [0.1, 0.1, 0.1, 0.1, 0.1, 0.99],
]


def bench(relevant=RELEVANT) -> Benchmark:
    is_relevant = np.zeros((len(QUERIES), len(VIDEOS)), dtype=bool)
    is_unrelated = np.ones_like(is_relevant)
    for place in relevant:
        is_relevant[place], is_unrelated[place] = True, False
    for place in LEFT_OUT:
        is_unrelated[place] = False
    return Benchmark(BenchmarkSettings("val"), Path(), tuple(VIDEOS), tuple(QUERIES), is_relevant, is_unrelated)


@pytest.fixture
def scores() -> np.ndarray:
    return np.array(SCORES, dtype=np.float32)


def test_figures_of_a_cell_are_of_its_queries_and_leave_related_videos_out(scores):
    found = {(cell.family, cell.part): cell for cell in figures(bench(), scores)}
    mild, strong = found["crop", "mild"], found["crop", "strong"]
    assert (mild.recall_at_1.value, mild.mean_average_precision.value) == (1.0, 1.0)
    assert (strong.recall_at_1.value, strong.mean_average_precision.value) == (0.0, 0.5)
    pooled = found["pooled", "all"]
    assert (pooled.num_queries, pooled.num_units) == (2, 2)
    assert pooled.mean_average_precision.value == 0.75
    # One ranking of all pairs: .9 match, .8, .6, .5 match: (1/1 + 2/4) / 2
    assert pooled.micro_average_precision.value == pytest.approx(0.75)
    assert found["pooled", "real"].recall_at_1.value == 1.0
    assert found["pooled", "montages"].recall_at_1.value == 0.0


def test_intervals_draw_whole_units(scores):
    pooled = next(cell for cell in figures(bench(), scores) if (cell.family, cell.part) == ("pooled", "all"))
    assert (pooled.recall_at_1.low, pooled.recall_at_1.high) == (0.0, 1.0)  # either unit may be drawn twice


def with_others() -> Benchmark:
    """With a compilation of three videos, and a long query without a match: neither is pooled."""
    usual = bench()
    queries = (
        *usual.queries,
        Query(Path("compilation"), EDIT, NOTHING, "compilations", "compilation", "strong"),
        Query(Path("long"), LONG_NO_MATCH, NOTHING, "g"),
    )
    of_others = np.zeros((2, len(VIDEOS)), dtype=bool)
    of_others[0, [0, 1, 3]] = True
    return Benchmark(
        usual.settings,
        usual.folder,
        usual.videos,
        queries,
        np.concatenate([usual.is_relevant, of_others]),
        np.concatenate([usual.is_unrelated, ~of_others]),
    )


#                    real  other montage barrel anchor titled
SCORES_OF_OTHERS = [[0.9, 0.3, 0.99, 0.8, 0.7, 0.1], [0.1, 0.6, 0.1, 0.1, 0.95, 0.99]]


def test_families_that_are_not_pooled_have_a_row_of_their_own_and_change_no_other_figure(scores):
    both = np.concatenate([scores, np.array(SCORES_OF_OTHERS, dtype=np.float32)])
    found = figures(with_others(), both)
    assert [cell for cell in found if cell.family != "compilation"] == figures(bench(), scores)
    (compilation,) = [cell for cell in found if cell.family == "compilation"]
    assert compilation.recall_at_1.value == 0.0
    assert compilation.mean_average_precision.value == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)
    assert thresholds(with_others(), both, (0.0, 0.2)) == thresholds(bench(), scores, (0.0, 0.2))
    assert found_matches(with_others(), both, [0.5]) == found_matches(bench(), scores, [0.5])
    usual = false_matches(bench(), scores, [0.55, 0.9])
    rows = false_matches(with_others(), both, [0.55, 0.9])
    assert [row for row in rows if row.name != LONG_NO_MATCH] == [row for row in usual if row.name != LONG_NO_MATCH]
    for part in ("all", "strong"):
        alone = gains(bench(), {"a": scores, "b": scores[:, ::-1]}, ["a"], part=part)
        assert gains(with_others(), {"a": both, "b": both[:, ::-1]}, ["a"], part=part) == alone


def test_of_a_compilation_the_share_of_its_n_sources_among_the_first_n_videos_is_told(scores):
    both = np.concatenate([scores, np.array(SCORES_OF_OTHERS, dtype=np.float32)])
    (row,) = sources_found(with_others(), both)
    assert (row.family, row.level, row.num_queries, row.num_sources) == ("compilation", "strong", 1, 3)
    assert row.share == pytest.approx(2 / 3)  # .9 and .8 after a false one; .3 is the fifth
    assert sources_found(bench(), scores) == []


def test_pairs_of_long_queries_without_a_match_are_counted_by_themselves(scores):
    both = np.concatenate([scores, np.array(SCORES_OF_OTHERS, dtype=np.float32)])
    (row,) = [row for row in false_matches(with_others(), both, [0.55, 0.9]) if row.name == LONG_NO_MATCH]
    assert (row.num_queries, row.num_pairs) == (1, 5)  # no video under furniture
    assert (row.pairs, row.queries) == ((2, 1), (1, 1))


def edits_of_two_units(edits_of_each: int) -> Benchmark:
    """Edits of two sources, a unit each, and a library of the two."""
    videos = (LibraryVideo(Path("a"), REAL, NOTHING, 9.0), LibraryVideo(Path("b"), REAL, NOTHING, 9.0))
    queries = tuple(
        Query(Path(f"{source}{number}"), EDIT, NOTHING, source, "crop", "mild", Path(source))
        for source in ("a", "b")
        for number in range(edits_of_each)
    )
    is_relevant = np.repeat(np.eye(2, dtype=bool), edits_of_each, axis=0)
    return Benchmark(BenchmarkSettings("val"), Path(), videos, queries, is_relevant, ~is_relevant)


def test_queries_of_one_unit_are_drawn_together():
    # Edits of `a` are found and those of `b` are not. A sample of two units has all, half or none of its queries right,
    # all of them in one sample of four; queries drawn one by one would all be right in one of 1,024.
    benchmark = edits_of_two_units(5)
    half = np.array([[0.9, 0.1]] * 5 + [[0.5, 0.3]] * 5, dtype=np.float32)
    found = {(cell.family, cell.part): cell for cell in figures(benchmark, half)}
    for cell in (found["crop", "mild"], found["pooled", "all"]):
        assert (cell.num_queries, cell.num_units) == (10, 2)
        recall = cell.recall_at_1
        assert (recall.low, recall.value, recall.high) == (0.0, 0.5, 1.0)
        assert (cell.mean_average_precision.low, cell.mean_average_precision.high) == (0.5, 1.0)
        assert cell.micro_average_precision.high == 1.0
    everything = np.array([[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 5, dtype=np.float32)
    found = gains(benchmark, {"everything": everything, "half": half}, ["everything"])
    assert found["everything", "half"].low == 0.0  # without `b` there is nothing to gain


def test_a_relevant_video_that_could_not_be_read_counts_as_not_found(scores):
    scores[0, 0] = NO_SCORE
    mild = next(cell for cell in figures(bench(), scores) if (cell.family, cell.part) == ("crop", "mild"))
    assert (mild.recall_at_1.value, mild.mean_average_precision.value) == (0.0, 0.0)


def test_a_threshold_lets_at_most_its_share_of_unrelated_pairs_of_edited_queries_through(scores):
    # Of edited queries with videos without furniture: .6 .3 .2 .2 .1 .1
    assert thresholds(bench(), scores, rates=(0.0, 0.2, 0.5)) == pytest.approx([0.6, 0.3, 0.2])
    for rate, threshold in zip((0.0, 0.2, 0.5), thresholds(bench(), scores, (0.0, 0.2, 0.5)), strict=True):
        (unrelated,) = [row for row in false_matches(bench(), scores, [threshold]) if row.name == UNRELATED]
        assert unrelated.num_pairs == 6
        assert unrelated.pairs[0] <= rate * 6


def a_run(path: Path, split: str = "val") -> Path:
    results = {
        "pHash": {"bundle": None, "thresholds": [0.5, 0.6, 0.7]},
        "mine": {"bundle": "hash of mine", "thresholds": [0.1, 0.2, 0.3]},
        "PDQ": {"not_run": "pdqhash is not installed"},
    }
    path.write_text(json.dumps({"settings": {"split": split, "tables": "0a1b"}, "results": results}))
    return path


def test_thresholds_of_another_run_are_those_of_the_same_bundle(tmp_path):
    known = read_thresholds(a_run(tmp_path / "val.json"), "0a1b")
    assert known["mine", "hash of mine"] == [0.1, 0.2, 0.3]
    assert known["pHash", None] == [0.5, 0.6, 0.7]
    assert known.keys() == {("mine", "hash of mine"), ("pHash", None)}


def test_thresholds_that_were_not_chosen_on_val_are_refused(tmp_path):
    with pytest.raises(DataError, match="chosen on val, this is a run on test"):
        read_thresholds(a_run(tmp_path / "test.json", split="test"), "0a1b")


def test_thresholds_of_a_run_over_other_data_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"val\.json: is a run over other data"):
        read_thresholds(a_run(tmp_path / "val.json"), "2c3d")


A_RUN_WITHOUT_RESULTS = '{"settings": {"split": "val", "tables": "0a1b"}, "results": {"pHash": 1}}'


RUNS = '{"settings": {"split": "val", "tables": "0a1b"}, "results": {"pHash": {"thresholds": %s}}}'


@pytest.mark.parametrize("above", ["[]", "[0.6]", '"abc"', "[0.1, 0.2, NaN]", "0.6"])
def test_thresholds_that_are_none_are_refused(tmp_path, above):
    (tmp_path / "val.json").write_text(RUNS % above)
    with pytest.raises(DataError, match=r"val\.json: no JSON of a run of bench_edits"):
        read_thresholds(tmp_path / "val.json", "0a1b")


@pytest.mark.parametrize("content", ["", "[]", "{}", A_RUN_WITHOUT_RESULTS])
def test_a_file_without_thresholds_is_named(tmp_path, content):
    (tmp_path / "val.json").write_text(content)
    with pytest.raises(DataError, match=r"val\.json: no JSON of a run of bench_edits"):
        read_thresholds(tmp_path / "val.json", "0a1b")
    with pytest.raises(DataError, match=r"none\.json: no JSON of a run of bench_edits"):
        read_thresholds(tmp_path / "none.json", "0a1b")


def test_false_matches_are_counted_by_what_the_pairs_share(scores):
    rows = {row.name: row for row in false_matches(bench(), scores, [0.55, 0.9])}
    assert (rows[UNRELATED].pairs, rows[UNRELATED].queries) == ((1, 0), (1, 0))
    assert (rows["title_card"].num_pairs, rows["title_card"].pairs) == (1, (1, 1))
    assert rows[ALL_FURNITURE].pairs == (1, 1)
    assert (rows[LOOK_ALIKE].num_pairs, rows[LOOK_ALIKE].pairs) == (1, (1, 0))
    assert (rows[NO_MATCH].num_queries, rows[NO_MATCH].num_pairs, rows[NO_MATCH].pairs) == (2, 10, (1, 0))
    assert rows["black_lead"].num_pairs == 0
    assert (rows["title_card"].num_designs, rows[ALL_FURNITURE].num_designs) == (1, 1)
    assert (rows["black_lead"].num_designs, rows[UNRELATED].num_designs, rows[LOOK_ALIKE].num_designs) == (0, 0, 0)


def test_edits_of_one_source_that_take_one_video_for_it_are_one_pair_of_sources():
    scores = np.array([[0.9, 0.8], [0.9, 0.7], [0.6, 0.9], [0.1, 0.9]], dtype=np.float32)
    unrelated = false_matches(edits_of_two_units(2), scores, [0.65, 0.5, 0.0])[0]
    assert (unrelated.num_pairs, unrelated.num_source_pairs) == (4, 2)
    assert (unrelated.pairs, unrelated.source_pairs) == ((2, 3, 4), (1, 2, 2))
    mild, _ = found_matches(edits_of_two_units(2), scores, [0.65])
    assert (mild.num_pairs, mild.num_source_pairs, mild.pairs, mild.source_pairs) == (4, 2, (4,), (2,))


def test_pairs_without_a_score_are_no_false_matches_but_matches_that_are_missed(scores):
    scores[:, 3] = NO_SCORE
    scores[0, 0] = NO_SCORE
    rows = {row.name: row for row in false_matches(bench(), scores, [-9.0])}
    assert rows[LOOK_ALIKE].num_pairs == 0
    mild, strong = found_matches(bench(), scores, [0.0])
    assert (mild.num_pairs, mild.pairs, strong.pairs) == (1, (0,), (1,))


def test_the_gain_over_the_same_scores_is_nothing_in_every_sample(scores):
    better = scores.copy()
    better[1, 3] = 0.1
    found = gains(bench(), {"first": scores, "same": scores, "better": better}, ["first", "better"])
    same = found["first", "same"]
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert found["better", "first"].value == pytest.approx((1 + 2 / 3) / 2 - 0.75)
    assert found["first", "better"].value == -found["better", "first"].value
    assert set(found) == {(a, b) for a in ("first", "better") for b in ("first", "same", "better") if a != b}


def test_gains_of_a_part_are_over_its_queries_alone(scores):
    better = scores.copy()
    better[1, 3] = 0.1  # of the strong edit
    both = {"first": scores, "better": better}
    assert gains(bench(), both, ["better"], part="mild")["better", "first"].value == 0.0
    assert gains(bench(), both, ["better"], part="strong")["better", "first"].value > 0.0
