"""Figures of real near-duplicates on a library of eight files, worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from visil.benchmarks.benchmark_search import NO_SCORE
from visil.benchmarks.real_figures import (
    FOOTAGE,
    RATES,
    figures,
    gains,
    highest_pairs,
    kinds,
    pairs_above,
    sample_weights,
    thresholds,
)
from visil.benchmarks.real_pairs import NO_LABEL, SELF, UNRELATED, RealPairs
from visil.errors import DataError
from visil.evaluation.real_videos import RealVideo

# a has a copy, an excerpt, another camera and a related video; b is unrelated; a2 of one group as a has no label.
NAMES = ("a", "copy", "part", "other", "related", "b", "room1", "room2", "hall")
COMPONENTS = ("0", "0", "0", "0", "1", "2", "room", "room", "hall")
LABELS = {("a", "copy"): "ND", ("a", "part"): "PART", ("a", "other"): "SI", ("a", "related"): "REL"}
UNKNOWN = {("copy", "part"), ("copy", "other"), ("part", "other"), ("room1", "room2")}
SCORES = {  # of both directions, where no other is given
    ("a", "copy"): 0.9,
    ("a", "part"): 0.6,
    ("a", "other"): 0.5,
    ("a", "related"): 0.95,
    ("a", "b"): 0.7,
    ("part", "hall"): 0.65,
    ("copy", "part"): 0.99,
    ("room1", "room2"): 0.98,
    ("room1", "hall"): 0.8,
}
REST = 0.1


def matrix(values: dict, rest, dtype) -> np.ndarray:
    found = np.full((len(NAMES), len(NAMES)), rest, dtype=dtype)
    for (one, other), value in values.items():
        i, j = NAMES.index(one), NAMES.index(other)
        found[i, j] = value
        if (other, one) not in values:
            found[j, i] = value
    return found


@pytest.fixture
def real() -> RealPairs:
    relation = matrix(LABELS | dict.fromkeys(UNKNOWN, NO_LABEL), UNRELATED, "<U16")
    np.fill_diagonal(relation, SELF)
    rows = tuple(RealVideo(f"{n}.mp4", n, n, 9.0, "test", c) for n, c in zip(NAMES, COMPONENTS, strict=True))
    is_labelled = np.array([True] * 6 + [False] * 3)
    return RealPairs(Path("work"), tuple(Path(f"{name}.mp4") for name in NAMES), rows, is_labelled, relation)


@pytest.fixture
def scores() -> np.ndarray:
    return matrix(SCORES, REST, np.float32)


def values(real: RealPairs, scores: np.ndarray) -> dict[str, float]:
    return {name: figure.value for name, figure in figures(real, scores, sample_weights(real, 0)).items()}


def test_micro_ap_is_of_one_ranking_of_all_labelled_queries(real, scores):
    found = values(real, scores)
    # Both directions of a pair are in the ranking: a copy .9 .9 | a b .7 .7 | part hall .65 | a part .6 .6
    assert found["micro-AP ND"] == 1.0
    assert found["micro-AP ND+PART"] == pytest.approx((1 + 1 + 4 / 7 + 4 / 7) / 4)


def test_rel_is_left_out_or_wrong(real, scores):
    found = values(real, scores)
    # a related .95 .95 | a copy .9 .9 | a b .7 .7 | part hall .65 | a part .6 .6
    assert found["micro-AP ND, REL wrong"] == pytest.approx(2 / 4)
    assert found["micro-AP ND+PART, REL wrong"] == pytest.approx((2 / 4 + 2 / 4 + 4 / 9 + 4 / 9) / 4)


def test_what_is_of_a_higher_level_has_no_label_or_is_between_footage_is_neither_right_nor_wrong(real, scores):
    before = values(real, scores)
    for pair in (("copy", "part"), ("room1", "room2"), ("room1", "hall")):
        scores[[NAMES.index(name) for name in pair], [NAMES.index(name) for name in pair[::-1]]] = 0.0
    assert values(real, scores) == before
    scores[0, [2, 3]] = scores[[2, 3], 0] = 0.99
    assert values(real, scores)["micro-AP ND, REL wrong"] == before["micro-AP ND, REL wrong"]


def test_recall_is_the_share_of_the_pairs_above_what_a_share_of_the_unrelated_pairs_is_above(real, scores, monkeypatch):
    import visil.benchmarks.real_figures as measured

    # Unrelated, of labelled queries: 34 pairs, .7 .7 .65 .1 ...; above .65 are two of them
    monkeypatch.setattr(measured, "RATES", (2 / 34, 0.0))
    assert kinds(real)[UNRELATED].sum() == 34
    assert thresholds(real, scores) == pytest.approx([0.65, 0.7])
    found = values(real, scores)
    assert (found["recall ND at 0.0588235"], found["recall ND at 0"]) == (1.0, 1.0)
    assert (found["recall PART at 0.0588235"], found["recall SI at 0.0588235"]) == (0.0, 0.0)
    scores[0, 2] = 0.69  # in one of two directions
    found = values(real, scores)
    assert (found["recall PART at 0.0588235"], found["recall PART at 0"]) == (0.5, 0.0)
    scores[0, 2] = 0.7  # no higher than an unrelated pair that is not let through
    assert values(real, scores)["recall PART at 0"] == 0.0


def test_pairs_that_nobody_could_score_are_missed_and_no_false_pairs(real, scores):
    scores[1] = NO_SCORE  # the copy is no query
    found = values(real, scores)
    assert found["micro-AP ND"] == 0.5
    assert found[f"recall ND at {RATES[0]:g}"] == 0.5
    scores[:] = NO_SCORE
    with pytest.raises(DataError, match="no unrelated pair has a score"):
        values(real, scores)


def test_what_the_split_has_no_pairs_of_has_no_figure(real, scores):
    real.relation[real.relation == "PART"] = NO_LABEL
    assert not any("recall PART" in name for name in values(real, scores))
    real.relation[real.relation == "ND"] = NO_LABEL
    assert values(real, scores).keys() == {f"recall SI at {rate:g}" for rate in RATES}


def test_the_threshold_is_chosen_anew_in_every_sample(real, scores):
    scores[0, 2] = scores[2, 0] = 0.68
    of_part, of_part_and_b, of_b = np.eye(6)[[2]], np.eye(6)[[2]] + np.eye(6)[[5]], np.eye(6)[[5]]
    samples = np.concatenate([of_part, of_part_and_b, of_b])
    recall = figures(real, scores, samples)["recall PART at 0.01"]
    # Of so few pairs none may be above: with the query b, .7 is the threshold, without it .65. b has no PART pair.
    assert recall.resampled.tolist()[:2] == [1.0, 0.0]
    assert np.isnan(recall.resampled[2])


def test_intervals_draw_whole_components_of_labelled_queries(real, scores):
    weights = sample_weights(real, 0)
    assert weights.shape[1] == 6
    assert (weights[:, :4] == weights[:, :1]).all()  # of one component
    assert (np.unique(weights[:, [0, 4, 5]].sum(axis=1)) == 3).all()
    figure = figures(real, scores, weights)["micro-AP ND+PART"]
    assert (figure.num_pairs, figure.num_units) == (4, 1)
    assert figure.interval.low < figure.value < figure.interval.high


def test_the_gain_over_the_same_scores_is_nothing_in_every_sample(real, scores):
    weights = sample_weights(real, 0)
    first, better = figures(real, scores, weights), figures(real, scores + 0.0, weights)
    assert all(gain.value == gain.low == gain.high == 0 for gain in gains(first, better).values())
    scores[0, 4] = scores[4, 0] = 0.1
    improved = gains(figures(real, scores, weights), first)
    assert improved["micro-AP ND, REL wrong"].value == pytest.approx(0.5)
    assert improved["micro-AP ND"].value == 0.0


def test_pairs_above_thresholds_are_told_by_what_they_are(real, scores):
    rows = {row.kind: row for row in pairs_above(real, scores, [0.75, 0.5])}
    assert (rows["ND"].num_pairs, rows["ND"].above) == (2, (2, 2))
    assert (rows["REL"].num_pairs, rows["REL"].above) == (2, (2, 2))
    assert (rows[UNRELATED].num_pairs, rows[UNRELATED].above) == (34, (0, 3))  # part hall counts once: hall is footage
    assert (rows[FOOTAGE].num_pairs, rows[FOOTAGE].above) == (4, (2, 2))
    assert (rows[NO_LABEL].num_pairs, rows[NO_LABEL].above) == (8, (4, 4))


def test_the_highest_pairs_are_listed_once_with_the_higher_of_their_scores(real, scores):
    scores[NAMES.index("b"), NAMES.index("a")] = 0.75
    scores[NAMES.index("related"), NAMES.index("b")] = NO_SCORE
    listed = highest_pairs(scores, kinds(real)[UNRELATED], 3)
    names = [(pair.score, NAMES[pair.query], NAMES[pair.video]) for pair in listed]
    assert names[:2] == [(0.75, "b", "a"), (pytest.approx(0.65), "part", "hall")]
    assert len(names) == 3
    assert len(highest_pairs(scores, kinds(real)[NO_LABEL], 20)) == 4
