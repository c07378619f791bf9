"""Frame-to-frame similarity and the Chamfer similarity of a matrix."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.model.binarization import pack_signs
from visil.model.similarity import (
    SLAB_BYTES,
    chamfer_similarity,
    frame_similarity,
    symmetric_chamfer_similarity,
    weigh_bursts,
)

few = settings(deadline=None, max_examples=25)
sizes = st.integers(1, 7)
seeds = st.integers(0, 2**16)
ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-12}


def random_similarity(tq: int, tt: int, *, seed: int) -> torch.Tensor:
    return torch.rand(tq, tt, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def video(frames: int, regions: int = 4, dim: int = 8, *, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(frames, regions, dim, generator=generator, dtype=dtype), dim=-1)


def slow_frame_similarity(query, target, *, weights=None, symmetric=False) -> torch.Tensor:
    """The formula, with every product of regions in memory."""

    def averaged(best, dim, num_regions):
        share = best.new_tensor(weights if weights is not None else [1 / num_regions] * num_regions)
        return torch.tensordot(best.movedim(dim, -1), share, dims=1)

    dots = torch.einsum("...iod,...jpd->...iojp", query, target)
    there = averaged(dots.amax(dim=-1), -2, query.shape[-2])
    back = averaged(dots.amax(dim=-3), -1, target.shape[-2])
    return (there + back) / 2 if symmetric else there


def some_weights(regions: int, *, seed: int) -> list[float]:
    return torch.rand(regions, generator=torch.Generator().manual_seed(seed)).softmax(dim=0).tolist()


class TestChamferSimilarity:
    S = torch.tensor(
        [
            [1.0, 0.2, 0.0],  # query frame 0: best match 1.0
            [0.1, 0.5, 0.4],  # query frame 1: best match 0.5
        ]
    )

    def test_averages_the_best_match_of_every_query_frame(self):
        assert chamfer_similarity(self.S).item() == pytest.approx(0.75)

    def test_the_other_direction_averages_the_best_match_of_every_target_frame(self):
        assert chamfer_similarity(self.S.T).item() == pytest.approx((1.0 + 0.5 + 0.4) / 3)

    def test_symmetric_is_the_mean_of_both_directions(self):
        assert symmetric_chamfer_similarity(self.S).item() == pytest.approx((0.75 + 1.9 / 3) / 2)

    @given(sizes, sizes, seeds)
    @few
    def test_symmetric_does_not_depend_on_the_order_of_a_pair(self, tq, tt, seed):
        s = random_similarity(tq, tt, seed=seed)
        torch.testing.assert_close(symmetric_chamfer_similarity(s), symmetric_chamfer_similarity(s.T))

    def test_a_clip_scores_higher_against_its_film_than_the_film_against_the_clip(self):
        film = video(20, seed=1)
        matrix = frame_similarity(film[5:9], film)
        assert chamfer_similarity(matrix).item() == pytest.approx(1.0, abs=1e-5)
        assert chamfer_similarity(matrix.T) < 0.9

    @given(sizes, sizes, sizes, seeds)
    @few
    def test_padding_never_changes_a_score(self, tq, tt, pad, seed):
        s = random_similarity(tq, tt, seed=seed)
        padded = F.pad(s, (0, pad, 0, pad), value=9.0)  # a value that would win
        masks = {"query_mask": torch.arange(tq + pad) < tq, "target_mask": torch.arange(tt + pad) < tt}
        for chamfer in (chamfer_similarity, symmetric_chamfer_similarity):
            torch.testing.assert_close(chamfer(padded, **masks), chamfer(s), rtol=0, atol=2e-6)
            torch.testing.assert_close(chamfer(padded.double(), **masks), chamfer(s.double()), rtol=0, atol=1e-12)

    def test_what_lies_in_padded_rows_does_not_matter(self):
        padded = F.pad(self.S, (0, 1, 0, 1), value=float("nan"))
        real = {"query_mask": torch.tensor([True, True, False]), "target_mask": torch.arange(4) < 3}
        assert chamfer_similarity(padded, **real).item() == pytest.approx(0.75)

    def test_batches_equal_their_members(self):
        batch = torch.stack([random_similarity(3, 5, seed=k) for k in range(4)])
        torch.testing.assert_close(chamfer_similarity(batch), torch.stack([chamfer_similarity(s) for s in batch]))

    def test_a_side_without_frames_has_no_score(self):
        with pytest.raises(ValueError, match="query has no real item"):
            chamfer_similarity(torch.empty(0, 3))
        with pytest.raises(ValueError, match="target has no real item"):
            chamfer_similarity(torch.empty(3, 0))

    def test_a_fully_masked_member_of_a_batch_has_no_score(self):
        with pytest.raises(ValueError, match="query has no real item"):
            chamfer_similarity(torch.rand(2, 2, 3), query_mask=torch.tensor([[True, True], [False, False]]))

    def test_a_target_frame_that_answers_many_counts_less_each_time(self):
        column = torch.tensor([[0.8, 0.1], [0.6, 0.1], [0.4, 0.1], [0.1, 0.9]])
        expected = ((0.8 + 0.6 + 0.4) * 3**-0.5 + 0.9) / 4
        assert chamfer_similarity(column, burstiness=0.5).item() == pytest.approx(expected)
        assert chamfer_similarity(torch.eye(5), burstiness=0.5).item() == 1  # a diagonal
        assert chamfer_similarity(column, burstiness=0.0).equal(chamfer_similarity(column))

    @few
    @given(sizes, sizes, st.integers(0, 3), st.floats(0.01, 1), seeds)
    def test_padding_never_changes_what_bursts_count(self, tq, tt, pad, burstiness, seed):
        whole = random_similarity(tq + pad, tt + pad, seed=seed)
        masked = chamfer_similarity(
            whole,
            query_mask=torch.arange(tq + pad) < tq,
            target_mask=torch.arange(tt + pad) < tt,
            burstiness=burstiness,
        )
        assert masked.item() == pytest.approx(
            chamfer_similarity(whole[:tq, :tt], burstiness=burstiness).item(), abs=1e-6
        )

    @few
    @given(sizes, sizes, st.floats(0.01, 1), seeds)
    def test_bursts_equal_the_formula(self, tq, tt, burstiness, seed):
        best, where = random_similarity(tq, tt, seed=seed).max(dim=1)
        counts = (where[:, None] == where).sum(dim=1)
        weighed = weigh_bursts(best[None], where[None], burstiness)[0]
        expected = torch.where(best > 0, best / counts**burstiness, best)
        assert weighed.numpy() == pytest.approx(expected.numpy(), abs=1e-6)

    @pytest.mark.parametrize("mask", [torch.ones(4, dtype=torch.bool), torch.ones(3)])
    def test_a_mask_that_does_not_fit_is_named(self, mask):
        with pytest.raises(ValueError, match=r"target mask must be bool \[..., 3\], got"):
            chamfer_similarity(self.S, target_mask=mask)


class TestFrameSimilarity:
    def test_averages_over_query_regions_the_best_target_region(self):
        query = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # one frame of two regions
        target = torch.tensor([[[0.6, 0.0], [0.0, 0.2], [0.4, 0.4]]])  # one frame of three regions
        assert frame_similarity(query, target).item() == pytest.approx((0.6 + 0.4) / 2)
        both = frame_similarity(query, target, symmetric=True)
        assert both.item() == pytest.approx((0.5 + (0.6 + 0.2 + 0.4) / 3) / 2)

    @given(sizes, sizes, sizes, sizes, st.booleans(), seeds)
    @few
    def test_equals_the_formula(self, tq, tt, rq, rt, symmetric, seed):
        query, target = video(tq, rq, seed=seed), video(tt, rt, seed=seed + 1)
        torch.testing.assert_close(
            frame_similarity(query, target, symmetric=symmetric),
            slow_frame_similarity(query, target, symmetric=symmetric),
        )

    @given(sizes, sizes, sizes, st.booleans(), st.integers(1, 2000), seeds)
    @few
    def test_regions_count_by_their_weights(self, tq, tt, regions, symmetric, slab_bytes, seed):
        sides = [video(t, regions, dim=24, seed=seed + t).sign() for t in (tq, tt)]
        how = {"weights": some_weights(regions, seed=seed), "symmetric": symmetric}
        expected = slow_frame_similarity(*sides, **how)
        torch.testing.assert_close(frame_similarity(*sides, slab_bytes=slab_bytes, **how), expected)
        packed = frame_similarity(*map(pack_signs, sides), slab_bytes=slab_bytes, **how)
        torch.testing.assert_close(packed, expected / 24)

    def test_a_region_without_weight_is_found_all_the_same(self):
        query = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # one frame of two regions
        target = torch.tensor([[[0.3, 0.0], [0.8, 0.4]]])
        assert frame_similarity(query, target, weights=[1.0, 0.0]).item() == pytest.approx(0.8)

    @pytest.mark.parametrize(("symmetric", "regions"), [(False, 3), (True, 4)])
    def test_there_is_a_weight_for_every_region(self, symmetric, regions):
        with pytest.raises(ValueError, match="4 weights for frames of 3 regions"):
            frame_similarity(video(2, regions), video(2, 3), weights=[0.25] * 4, symmetric=symmetric)

    @given(sizes, st.integers(1, 40), st.integers(1, 2000), st.booleans(), st.sampled_from(list(ROUNDING)), seeds)
    @few
    def test_slab_size_never_changes_a_matrix(self, tq, tt, slab_bytes, symmetric, dtype, seed):
        query, target = video(tq, seed=seed, dtype=dtype), video(tt, seed=seed + 1, dtype=dtype)
        whole = frame_similarity(query, target, symmetric=symmetric)
        blocks = frame_similarity(query, target, symmetric=symmetric, slab_bytes=slab_bytes)
        torch.testing.assert_close(blocks, whole, rtol=0, atol=ROUNDING[dtype])

    def test_many_targets_are_one_long_target(self):
        query, targets = video(5), [video(n, seed=n) for n in (3, 7, 2)]
        together = frame_similarity(query, torch.cat(targets)).split([3, 7, 2], dim=-1)
        for matrix, target in zip(together, targets, strict=True):
            torch.testing.assert_close(matrix, frame_similarity(query, target), rtol=0, atol=2e-6)

    @pytest.mark.parametrize("symmetric", [False, True])
    def test_leading_axes_are_pairs_and_broadcast(self, symmetric):
        queries = torch.stack([video(5, seed=k) for k in range(2)])
        targets = torch.stack([video(6, 3, seed=k) for k in range(3)])
        every = frame_similarity(queries[:, None], targets[None], symmetric=symmetric)
        assert every.shape == (2, 3, 5, 6)
        torch.testing.assert_close(every[1, 2], frame_similarity(queries[1], targets[2], symmetric=symmetric))

    def test_a_video_with_itself_is_1_on_the_diagonal(self):
        same = video(30, 9, 64)
        matrix = frame_similarity(same, same)
        torch.testing.assert_close(matrix.diagonal(), torch.ones(30), rtol=0, atol=1e-5)
        assert chamfer_similarity(matrix).item() == pytest.approx(1.0, abs=1e-5)

    def test_symmetric_does_not_depend_on_the_order_of_a_pair(self):
        a, b = video(5, 3), video(8, 6, seed=1)
        torch.testing.assert_close(frame_similarity(a, b, symmetric=True), frame_similarity(b, a, symmetric=True).T)

    def test_order_of_regions_does_not_matter(self):
        a, b = video(5), video(8, seed=1)
        torch.testing.assert_close(frame_similarity(a.flip(1), b.roll(1, 1)), frame_similarity(a, b))

    def test_frames_that_are_not_real_have_similarity_0(self):
        query, target = video(3), video(4, seed=1)
        real_query, real_target = torch.tensor([True, True, False]), torch.tensor([True, False, True, True])
        matrix = frame_similarity(query, target, query_mask=real_query, target_mask=real_target)
        real = real_query[:, None] & real_target
        assert matrix[~real].eq(0).all()
        torch.testing.assert_close(matrix[real], frame_similarity(query, target)[real])

    @given(sizes, st.integers(1, 20), st.booleans(), st.sampled_from([64, SLAB_BYTES]), seeds)
    @few
    def test_packed_signs_equal_the_product_of_signs_over_bits(self, tq, tt, symmetric, slab_bytes, seed):
        query, target = video(tq, 3, 24, seed=seed).sign(), video(tt, 5, 24, seed=seed + 1).sign()
        packed = frame_similarity(pack_signs(query), pack_signs(target), symmetric=symmetric, slab_bytes=slab_bytes)
        torch.testing.assert_close(packed, slow_frame_similarity(query, target, symmetric=symmetric) / 24)

    def test_half_precision_is_for_storage(self):
        query, target = video(5).half(), video(6, seed=1).half()
        matrix = frame_similarity(query, target)
        torch.testing.assert_close(matrix, frame_similarity(query.float(), target.float()), rtol=0, atol=0)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_autocast_multiplies_in_half_precision(self, dtype):
        query, target = video(5, 9, 64), video(6, 9, 64, seed=1)
        with torch.autocast("cpu", dtype=dtype):
            matrix = frame_similarity(query, target, symmetric=True)
        expected = frame_similarity(query.to(dtype), target.to(dtype), symmetric=True)  # of the rounded vectors
        assert matrix.dtype == torch.float32
        difference = (matrix - expected).abs().max()
        assert 0 < difference < torch.finfo(dtype).eps, "only products are rounded, by half a unit at most"

    def test_has_a_gradient_in_single_precision_too(self):
        query, target = video(4).requires_grad_(), video(5, seed=1)
        frame_similarity(query, target).sum().backward()
        twin = query.detach().clone().requires_grad_()
        slow_frame_similarity(twin, target).sum().backward()
        torch.testing.assert_close(query.grad, twin.grad)

    def test_has_the_gradient_of_the_formula(self):
        query, target = video(4, dtype=torch.float64), video(5, seed=1, dtype=torch.float64)
        assert torch.autograd.gradcheck(
            lambda q, t: frame_similarity(q, t, symmetric=True, slab_bytes=200),
            (query.requires_grad_(), target.requires_grad_()),
        )

    def test_other_dimensions_are_refused(self):
        with pytest.raises(ValueError, match=r"of one D, got \[3, 4, 8\] and \[3, 4, 16\]; encode both"):
            frame_similarity(video(3), video(3, dim=16))

    def test_packed_and_float_vectors_do_not_compare(self):
        with pytest.raises(ValueError, match=r"only with packed signs, got torch.float32 and torch.uint8"):
            frame_similarity(video(3), pack_signs(video(3, dim=64)))

    def test_a_video_without_frames_has_no_matrix(self):
        with pytest.raises(ValueError, match=r"target has no frame or region: \[0, 4, 8\]"):
            frame_similarity(video(3), video(0))

    def test_a_mask_of_another_length_is_named(self):
        with pytest.raises(ValueError, match=r"query mask must be bool \[..., 3\]"):
            frame_similarity(video(3), video(3), query_mask=torch.ones(2, dtype=torch.bool))
