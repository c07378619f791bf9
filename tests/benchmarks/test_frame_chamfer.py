"""Chamfer similarity of frame vectors, against one pair at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.benchmarks.frame_chamfer import FrameChamfer
from visil.model.similarity import chamfer_similarity, frame_similarity


def vectors(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


class TestFrameChamfer:
    LIBRARY = FrameChamfer([vectors(0, 90), vectors(60), np.zeros((0, 2))])

    def test_the_score_is_the_mean_over_query_frames_of_the_best_frame(self):
        found = self.LIBRARY.scores(vectors(0, 60))
        assert found == pytest.approx([(1 + np.cos(np.radians(30))) / 2, (0.5 + 1) / 2, 0])

    def test_a_clip_finds_the_film_that_holds_it_and_not_the_other_way_round(self):
        assert self.LIBRARY.scores(vectors(90))[0] == pytest.approx(1)
        assert FrameChamfer([vectors(90)]).scores(vectors(0, 90))[0] == pytest.approx(0.5)

    def test_lengths_do_not_count(self):
        assert self.LIBRARY.scores(0.9 * vectors(0, 60)) == pytest.approx(self.LIBRARY.scores(vectors(0, 60)))

    def test_without_frames_on_either_side_there_is_no_score(self):
        assert self.LIBRARY.scores(vectors()).tolist() == [0, 0, 0]
        assert FrameChamfer([vectors(), vectors()]).scores(vectors(0)).tolist() == [0, 0]

    def test_several_vectors_of_a_frame_are_its_regions(self):
        rng = np.random.default_rng(0)
        query, library = rng.normal(size=(3, 4, 8)), [rng.normal(size=(n, 4, 8)) for n in (2, 5)]
        unit = [torch.nn.functional.normalize(torch.tensor(side).float(), dim=-1) for side in (query, *library)]
        expected = [chamfer_similarity(frame_similarity(unit[0], video)).item() for video in unit[1:]]
        assert FrameChamfer(library).scores(query) == pytest.approx(expected, abs=1e-6)

    @given(st.integers(0, 2**32 - 1), st.integers(1, 6))
    @settings(deadline=None, max_examples=30)
    def test_agrees_with_the_score_of_one_pair_after_the_other(self, seed, num_videos):
        rng = np.random.default_rng(seed)
        library = [rng.normal(size=(rng.integers(1, 5), 8)) for _ in range(num_videos)]
        query = rng.normal(size=(3, 8))
        unit = [torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)) for rows in (query, *library)]
        expected = [float(chamfer_similarity(unit[0] @ video.T)) for video in unit[1:]]
        assert FrameChamfer(library).scores(query) == pytest.approx(expected, abs=1e-5)
