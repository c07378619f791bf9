"""The whole network: variants, short videos, packed codes, all pairs of two batches."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import visil.model.network as network_module
from visil.model.binarization import pack_signs
from visil.model.comparator import HALO_FRAMES
from visil.model.network import NetworkSettings, RunningScore, SimilarityNetwork
from visil.model.similarity import chamfer_similarity, frame_similarity

few = settings(deadline=None, max_examples=15)
DIM = 16
VARIANTS = {
    "visil_f": NetworkSettings(),
    "visil_v": NetworkSettings(attention="linear", comparator_padding="replicate"),
    "visil_symmetric": NetworkSettings(attention="linear", comparator_padding="replicate", symmetric=True),
    "dns_attention": NetworkSettings(attention="sigmoid", comparator_padding="zeros"),
    "dns_binary": NetworkSettings(bits=24, comparator_padding="zeros"),
    "s2vs_unpooled": NetworkSettings(attention="sigmoid", comparator_padding="replicate", pooling=False),
}
ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-12}
seeds = st.integers(0, 50)
frame_counts = st.lists(st.integers(1, 11), min_size=1, max_size=3)


def network_of(variant: str, dtype=torch.float32) -> SimilarityNetwork:
    torch.manual_seed(0)
    return SimilarityNetwork(VARIANTS[variant], DIM).to(dtype).eval().requires_grad_(False)


def video(frames: int, *, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 * frames + seed)
    return F.normalize(torch.randn(frames, 5, DIM, generator=generator, dtype=dtype), dim=-1)


def batch_of(videos: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Videos padded with large values, and which frames are real."""
    longest = max(map(len, videos)) + 2
    padded = [F.pad(v, (0, 0, 0, 0, 0, longest - len(v)), value=9.0) for v in videos]
    mask = torch.arange(longest) < torch.tensor([[len(v)] for v in videos])
    return torch.stack(padded), mask


@pytest.mark.parametrize("variant", VARIANTS)
class TestEveryVariant:
    def test_scores_lie_between_minus_1_and_1(self, variant):
        network = network_of(variant)
        score = network.score(network.index(video(12)), network.index(video(9)))
        assert score.shape == () and -1 <= score <= 1

    @pytest.mark.parametrize("dtype", ROUNDING)
    @given(frame_counts, frame_counts)
    @few
    def test_a_padded_batch_gives_the_scores_of_its_members(self, variant, dtype, query_frames, target_frames):
        network = network_of(variant, dtype)
        queries = [network.index(video(n, seed=1, dtype=dtype)) for n in query_frames]
        targets = [network.index(video(n, seed=2, dtype=dtype)) for n in target_frames]
        (query_batch, query_mask), (target_batch, target_mask) = batch_of(queries), batch_of(targets)
        scores = network.score_matrix(query_batch, target_batch, query_mask=query_mask, target_mask=target_mask)
        alone = torch.stack([torch.stack([network.score(q, t) for t in targets]) for q in queries])
        torch.testing.assert_close(scores, alone, rtol=0, atol=ROUNDING[dtype])

    @pytest.mark.parametrize("frames", [1, 3, 8])
    def test_a_batch_without_masks_is_full(self, variant, frames):
        network = network_of(variant)
        queries = torch.stack([network.index(video(frames, seed=k)) for k in range(2)])
        targets = torch.stack([network.index(video(7, seed=k)) for k in range(3)])
        scores = network.score_matrix(queries, targets)
        torch.testing.assert_close(scores[1, 2], network.score(queries[1], targets[2]), rtol=0, atol=2e-6)

    def test_stretches_of_a_long_target_may_be_joined_before_the_comparator(self, variant):
        network = network_of(variant)
        query, target = network.index(video(6)), network.index(video(23))
        matrix = torch.cat([network.frame_similarity(query, part) for part in target.split(5)], dim=-1)
        (joined,) = network.scores_of_similarity([matrix])
        torch.testing.assert_close(joined, network.score(query, target), rtol=0, atol=2e-6)

    @pytest.mark.parametrize("dtype", ROUNDING)
    @given(st.integers(1, 9), st.lists(st.integers(1, 19), max_size=9), st.sampled_from([1, 150, 2**15]))
    @few
    def test_neither_batches_nor_their_order_change_a_score(self, variant, dtype, query_frames, lengths, cells):
        network = network_of(variant, dtype)
        query = network.index(video(query_frames, dtype=dtype))
        targets = [network.index(video(n, seed=1, dtype=dtype)) for n in lengths]
        matrices = [network.frame_similarity(query, target) for target in targets]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(network_module, "BATCH_CELLS", cells)
            scores = network.scores_of_similarity(matrices)
        alone = [network.score(query, target) for target in targets]
        assert scores.tolist() == pytest.approx([float(score) for score in alone], abs=ROUNDING[dtype])

    @pytest.mark.parametrize("frames", [1, 2, 3])
    def test_a_short_video_scores_as_its_repetition(self, variant, frames):
        network = network_of(variant)
        short, other = network.index(video(frames)), network.index(video(10))
        repeated = network.repeat_short(short)
        torch.testing.assert_close(network.score(short, other), network.score(repeated, other))
        torch.testing.assert_close(network.score(other, short), network.score(other, repeated))


class TestVariants:
    def test_a_plain_video_scores_1_with_itself(self):
        same = video(20)
        assert network_of("visil_f").score(same, same).item() == pytest.approx(1.0, abs=1e-5)

    def test_without_a_comparator_the_score_is_the_chamfer_of_the_matrix(self):
        query, target = video(5), video(9)
        expected = chamfer_similarity(frame_similarity(query, target))
        torch.testing.assert_close(network_of("visil_f").score(query, target), expected)

    def test_regions_count_by_their_weights(self):
        query, target = video(12), video(9)
        weights = [0.5, 0.3, 0.1, 0.1, 0.0]
        network = SimilarityNetwork(NetworkSettings(), DIM, region_weights=weights)
        expected = chamfer_similarity(frame_similarity(query, target, weights=weights))
        torch.testing.assert_close(network.score(query, target), expected)
        assert (network.score(query, target) - network_of("visil_f").score(query, target)).abs() > 1e-3

    def test_the_mean_of_a_frame_is_that_of_its_regions_by_their_weights(self):
        frames = video(3)
        weights = [0.5, 0.3, 0.1, 0.1, 0.0]
        weighted = SimilarityNetwork(NetworkSettings(), DIM, region_weights=weights).frame_mean(frames)
        torch.testing.assert_close(weighted, (frames * torch.tensor(weights)[:, None]).sum(dim=1))
        torch.testing.assert_close(network_of("visil_f").frame_mean(frames), frames.mean(dim=1))

    def test_symmetric_holds_without_a_comparator_only(self):
        query, target = video(12), video(9)
        plain = SimilarityNetwork(NetworkSettings(symmetric=True), DIM)
        torch.testing.assert_close(plain.score(query, target), plain.score(target, query))
        compared = network_of("visil_symmetric")
        assert (compared.score(query, target) - compared.score(target, query)).abs() > 1e-5

    def test_refined_maps_are_clipped(self):
        network = network_of("visil_v")
        network.comparator.fconv.weight.mul_(1000)
        matrix = frame_similarity(video(12), video(9))
        assert network.comparator(matrix[None]).abs().max() > 1
        refined = network.refine(matrix)
        assert refined.shape == (3, 2) and refined.abs().max() <= 1

    def test_packed_codes_score_as_unpacked_ones(self):
        network = network_of("dns_binary")
        query, target = network.index(video(12)), network.index(video(9))
        assert set(query.unique().tolist()) == {-1.0, 1.0}
        packed = network.score(pack_signs(query), pack_signs(target))
        torch.testing.assert_close(packed, network.score(query, target), rtol=0, atol=2e-6)

    def test_packed_batches_score_as_unpacked_ones(self):
        network = network_of("dns_binary")
        videos = [network.index(video(n)) for n in (2, 9, 5)]
        batch, mask = batch_of(videos)
        scores = network.score_matrix(batch, batch, query_mask=mask, target_mask=mask)
        packed = pack_signs(batch)
        torch.testing.assert_close(
            network.score_matrix(packed, packed, query_mask=mask, target_mask=mask), scores, rtol=0, atol=2e-6
        )

    def test_only_the_parts_of_a_variant_have_tensors(self):
        assert not network_of("visil_f").state_dict()
        parts = {name.split(".")[0] for name in network_of("dns_attention").state_dict()}
        assert parts == {"attention", "comparator"}


class TestRepeatShort:
    @pytest.mark.parametrize(("frames", "repeated"), [(1, 4), (2, 4), (3, 6), (4, 4), (5, 5)])
    def test_the_whole_sequence_is_doubled_until_there_are_four_frames(self, frames, repeated):
        short = video(frames)
        longer = network_of("visil_v").repeat_short(short)
        assert len(longer) == repeated
        torch.testing.assert_close(longer, short[torch.arange(repeated) % frames], rtol=0, atol=0)

    @pytest.mark.parametrize("variant", ["visil_f", "s2vs_unpooled"])
    def test_nothing_is_repeated_where_nothing_is_pooled(self, variant):
        assert len(network_of(variant).repeat_short(video(1))) == 1

    def test_a_video_without_frames_is_refused(self):
        with pytest.raises(ValueError, match=r"without frames has no score: \[0, 5, 16\]; leave it out"):
            network_of("visil_v").repeat_short(video(0))


class TestErrors:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"attention": "linear", "bits": 8}, "attention and bits exclude each other"),
            ({"attention": "softmax"}, "attention must be one of linear, .*, got 'softmax'"),
            ({"bits": 0}, "bits must lie between 1 and 8192, got 0"),
            ({"comparator_padding": "zero"}, "padding must be one of replicate, zeros, got 'zero'"),
        ],
    )
    def test_settings_that_mean_nothing_are_refused(self, wrong, message):
        with pytest.raises(ValueError, match=message):
            NetworkSettings(**wrong)

    def test_vectors_of_another_dimension_are_refused(self):
        with pytest.raises(ValueError, match=r"vectors of 16 dimensions, got \[3, 5, 8\]"):
            network_of("visil_f").index(torch.zeros(3, 5, 8))

    def test_a_mask_with_gaps_is_refused(self):
        mask = torch.tensor([[True, False, True, True]])
        with pytest.raises(ValueError, match=r"bool \[1, 4\] with the real frames first"):
            network_of("visil_f").score_matrix(video(4)[None], video(4)[None], query_mask=mask)

    def test_a_member_without_frames_is_refused(self):
        mask = torch.zeros(1, 4, dtype=torch.bool)
        with pytest.raises(ValueError, match="without frames has no score; leave it out of the batch"):
            network_of("visil_v").score_matrix(video(4)[None], video(4)[None], target_mask=mask)


@pytest.mark.parametrize("variant", VARIANTS)
class TestRunningScore:
    @given(st.integers(1, 30), st.lists(st.integers(1, 40), min_size=1, max_size=8), seeds)
    @few
    def test_pieces_of_a_target_give_the_score_of_the_whole(self, variant, query_frames, pieces, seed):
        network = network_of(variant)
        query, target = network.index(video(query_frames)), network.index(video(sum(pieces), seed=seed))
        matrix = network.frame_similarity(query, target)
        running = RunningScore(network)
        for number, columns in enumerate(matrix.split(pieces, dim=1), start=1):
            running.add(columns, is_last=number == len(pieces))
        torch.testing.assert_close(running.score(), network.score(query, target), rtol=0, atol=2e-6)

    def test_what_it_keeps_does_not_grow(self, variant):
        network = network_of(variant)
        running = RunningScore(network)
        for _ in range(5):
            running.add(torch.rand(6, 50), is_last=False)
            assert running._columns.shape[1] <= 2 * HALO_FRAMES + 3
