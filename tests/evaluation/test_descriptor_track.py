"""The search of VSC2022's descriptor track: which pairs of videos are judged, and at which score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.errors import DataError
from visil.evaluation import descriptor_track
from visil.evaluation.copy_sets import vsc2022
from visil.evaluation.descriptor_track import Descriptors, descriptor_scores, read_descriptors
from visil.evaluation.evaluate import evaluate


def videos(letter, *vectors_of):
    """One video for each list of vectors."""
    features = [vector for vectors in vectors_of for vector in vectors]
    return Descriptors(
        tuple(f"{letter}{i:06d}" for i in range(len(vectors_of))),
        np.repeat(np.arange(len(vectors_of)), [len(vectors) for vectors in vectors_of]),
        np.array(features, dtype=np.float32).reshape(len(features), -1),
    )


def random_videos(letter, rng, num_videos, levels):
    """Videos of one to three vectors of few levels, so that products tie."""
    return videos(letter, *(rng.integers(-levels, levels + 1, (rng.integers(1, 4), 3)) for _ in range(num_videos)))


def slow_scores(queries, references, vector_pairs, pairs):
    """The definition in plain Python: equal values in the order of the vectors, then of the videos."""
    products = [
        (float(np.dot(a, b)), i, j) for i, a in enumerate(queries.features) for j, b in enumerate(references.features)
    ]
    products.sort(key=lambda product: -product[0])
    best = {}
    for score, i, j in products[: vector_pairs * len(queries.videos)]:
        pair = queries.video[i], references.video[j]
        best[pair] = max(best.get(pair, -np.inf), score)
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))[: pairs * len(queries.videos)]
    return {(queries.videos[q], references.videos[r]): score for (q, r), score in ranked}


def flat(scores):
    return {(query, video): score for query, row in scores.mapping.items() for video, score in row.items()}


class TestDescriptorScores:
    QUERIES = videos("Q", [(1, 0), (0, 1)], [(0.5, 0)])
    REFERENCES = videos("R", [(0.9, 0.2), (0, 0.8)], [(0.1, 0)])

    def test_a_pair_of_videos_has_its_highest_inner_product(self):
        scores = flat(descriptor_scores(self.QUERIES, self.REFERENCES))
        assert scores == pytest.approx(
            {
                ("Q000000", "R000000"): 0.9,
                ("Q000000", "R000001"): 0.1,
                ("Q000001", "R000000"): 0.45,
                ("Q000001", "R000001"): 0.05,
            }
        )

    def test_the_limit_on_vector_pairs_is_over_all_queries(self):
        # Two of all 9 products stay, and both are of the first query.
        scores = descriptor_scores(self.QUERIES, self.REFERENCES, vector_pairs_per_query=1)
        assert scores.mapping == {"Q000000": {"R000000": pytest.approx(0.9)}, "Q000001": {}}

    def test_the_limit_on_pairs_of_videos_is_over_all_queries(self):
        scores = flat(descriptor_scores(self.QUERIES, self.REFERENCES, pairs_per_query=1))
        assert set(scores) == {("Q000000", "R000000"), ("Q000001", "R000000")}

    def test_of_equal_products_the_first_vectors_stay_whatever_the_blocks(self, monkeypatch):
        # The limit of 4 is reached in the first block, of 3 x 3; row 0 goes on in the second.
        monkeypatch.setattr(descriptor_track, "BLOCK", 3)
        queries, references = videos("Q", [(1,), (1,)], [(1,)]), videos("R", *[[(1,)]] * 4)
        scores = descriptor_scores(queries, references, vector_pairs_per_query=2)
        assert set(flat(scores)) == {("Q000000", f"R00000{i}") for i in range(4)}

    def test_every_video_of_the_files_is_available(self):
        scores = descriptor_scores(self.QUERIES, self.REFERENCES, vector_pairs_per_query=1)
        assert scores.available == {"Q000000", "Q000001", "R000000", "R000001"}
        assert [row.query for row in scores] == ["Q000000", "Q000001"]

    def test_the_two_sides_must_have_equal_dimensions(self):
        with pytest.raises(DataError, match="query vectors have 2 dimensions, reference vectors 3"):
            descriptor_scores(self.QUERIES, videos("R", [(1, 0, 0)]))

    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 4), st.integers(1, 5))
    def test_equals_the_definition_with_blocks_of_any_size_and_ties(self, seed, vector_pairs, pairs, block):
        rng = np.random.default_rng(seed)
        queries, references = random_videos("Q", rng, 4, 2), random_videos("R", rng, 5, 2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(descriptor_track, "BLOCK", block)
            scores = descriptor_scores(queries, references, vector_pairs_per_query=vector_pairs, pairs_per_query=pairs)
        assert flat(scores) == slow_scores(queries, references, vector_pairs, pairs)


class TestReadDescriptors:
    @pytest.fixture
    def npz_of(self, tmp_path):
        def write(**changes):
            arrays = {
                "video_ids": np.array(["Q000007", "Q000007", "Q000002"]),
                "features": np.eye(3, dtype=np.float32),
                "timestamps": np.arange(3.0),
                **changes,
            }
            np.savez(tmp_path / "query.npz", **{name: value for name, value in arrays.items() if value is not None})
            return tmp_path / "query.npz"

        return write

    def test_vectors_are_grouped_by_video(self, npz_of):
        descriptors = read_descriptors(npz_of(), "Q")
        assert descriptors.videos == ("Q000007", "Q000002")
        assert descriptors.video.tolist() == [0, 0, 1]
        assert descriptors.features.dtype == np.float32

    def test_integers_become_ids_and_times_may_be_intervals(self, npz_of):
        path = npz_of(video_ids=np.array([7, 7, 2]), timestamps=np.zeros((3, 2)))
        assert read_descriptors(path, "R").videos == ("R000007", "R000002")

    def test_vectors_of_a_video_that_lie_apart_are_joined(self, npz_of):
        path = npz_of(video_ids=np.array(["Q000007", "Q000002", "Q000007"]))
        descriptors = read_descriptors(path, "Q")
        assert descriptors.videos == ("Q000007", "Q000002")
        assert descriptors.video.tolist() == [0, 1, 0]

    def test_two_forms_of_an_id_are_one_video(self, npz_of):
        descriptors = read_descriptors(npz_of(video_ids=np.array(["2", "Q000007", "Q000002"])), "Q")
        assert descriptors.videos == ("Q000002", "Q000007")
        assert descriptors.video.tolist() == [0, 1, 0]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"features": None}, "no array features in it, it needs video_ids, features, timestamps"),
            ({"features": np.eye(2)}, "features must be floats"),
            ({"features": np.eye(3, dtype=np.int64)}, "features must be floats"),
            ({"features": np.full((3, 3), np.nan)}, "Q000007 has a value that is not finite"),
            ({"features": np.full((3, 3), 1e30)}, "beyond 1e[+]15"),
            ({"timestamps": np.zeros(2)}, "timestamps must be"),
            ({"video_ids": np.array(["R000001"] * 3)}, "id 'R000001' must be Q and digits"),
            ({"video_ids": np.array([1.5, 2, 3])}, "video_ids must be a list of texts or integers"),
            ({"video_ids": np.array(["a", 1, None], dtype=object)}, "cannot be read as npz"),
            (
                {"video_ids": np.zeros(0, dtype=int), "features": np.zeros((0, 3)), "timestamps": np.zeros(0)},
                "video_ids must be a list",
            ),
        ],
    )
    def test_a_wrong_file_is_one_clear_line(self, npz_of, changes, message):
        path = npz_of(**changes)
        with pytest.raises(DataError, match=message) as failure:
            read_descriptors(path, "Q")
        assert str(path) in str(failure.value) and "\n" not in str(failure.value)

    @pytest.mark.parametrize("kept", [0, 10, 200, 500])
    def test_a_file_that_is_cut_off_is_refused(self, npz_of, kept):
        path = npz_of()
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(DataError, match="cannot be read as npz"):
            read_descriptors(path, "Q")

    def test_a_plain_array_and_no_file_are_refused(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros(3))
        for name in ("a.npy", "none.npz", ""):
            with pytest.raises(DataError, match="cannot be read"):
                read_descriptors(tmp_path / name, "Q")


def test_the_track_is_evaluated_from_its_two_files_of_vectors(tmp_path):
    # Query 1 shows reference 2; query 2, which shows nothing that is known, scores higher with reference 3.
    rows = "query_id,ref_id,query_start,query_end,ref_start,ref_end\nQ000001,R000002,0,1,0,1\n"
    (tmp_path / "test_matching_ground_truth.csv").write_text(rows)
    for name, ids, features in (("q", [1, 2], [[1, 0], [0, 1]]), ("r", [2, 3], [[0.5, 0], [0, 0.9]])):
        arrays = {"video_ids": ids, "features": np.array(features, dtype=np.float32), "timestamps": [0.0, 0.0]}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    queries, references = read_descriptors(tmp_path / "q.npz", "Q"), read_descriptors(tmp_path / "r.npz", "R")
    evaluation = evaluate(vsc2022(tmp_path, "test"), descriptor_scores(queries, references), num_resamples=2)
    assert evaluation.tasks[0].micro_average_precision.value.value == pytest.approx(1 / 2)
