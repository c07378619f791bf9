"""Scores of all pairs in training: those of search, in any blocks, with their gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from visil.model.network import NetworkSettings, SimilarityNetwork
from visil.s2vs.losses import similarity_regularisation
from visil.s2vs.pair_scores import score_all_pairs

DIM = 6
NETWORKS = {
    "plain": NetworkSettings(),
    "paper": NetworkSettings(attention="sigmoid", comparator_padding="zeros"),
    "symmetric": NetworkSettings(attention="linear", comparator_padding="replicate", symmetric=True),
    "unpooled": NetworkSettings(comparator_padding="replicate", pooling=False),
    "binary": NetworkSettings(bits=8, comparator_padding="zeros"),
}
LENGTHS = torch.tensor([8, 5, 3, 7, 1])  # shorter ones than the comparator reads among them


def network_of(name):
    torch.manual_seed(3)
    network = SimilarityNetwork(NETWORKS[name], DIM)
    if network.comparator is not None:
        with torch.no_grad():
            network.comparator.fconv.bias.fill_(0.99)  # some cells lie beyond 1
    return network


def clips(num_clips=5, num_frames=8, num_regions=3):
    vectors = torch.randn(num_clips, num_frames, num_regions, DIM, generator=torch.Generator().manual_seed(1))
    return F.normalize(vectors, dim=-1)


@pytest.mark.parametrize("name", NETWORKS)
def test_they_are_the_scores_of_search(name):
    network, vectors = network_of(name).eval(), clips()
    found = score_all_pairs(network, vectors, torch.arange(8) < LENGTHS[:, None]).similarity
    for i, rows in enumerate(LENGTHS):
        for j, columns in enumerate(LENGTHS):
            score = network.score(network.index(vectors[i, :rows]), network.index(vectors[j, :columns]))
            assert found[i, j].item() == pytest.approx(score.item() / 2 + 0.5, abs=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("block_bytes", [1, 2**15, 2**40])
@pytest.mark.parametrize("is_padded", [False, True])
def test_blocks_change_neither_scores_nor_gradients(name, block_bytes, is_padded):
    mask = torch.arange(8) < LENGTHS[:, None] if is_padded else None

    def run(block_bytes):
        network, vectors = network_of(name).train(), clips().requires_grad_()
        scores = score_all_pairs(network, vectors, mask, block_bytes=block_bytes)
        weights = torch.rand(5, 5, generator=torch.Generator().manual_seed(2))
        ((scores.similarity * weights).sum() + scores.regularisation).backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        return scores, [vectors.grad, *gradients]

    (whole, of_whole), (blocks, of_blocks) = run(2**60), run(block_bytes)
    torch.testing.assert_close(blocks.similarity, whole.similarity, atol=2e-6, rtol=0)
    torch.testing.assert_close(blocks.regularisation, whole.regularisation, atol=1e-4, rtol=1e-5)
    for a, b in zip(of_blocks, of_whole, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_the_penalty_is_of_all_unclipped_maps():
    network, vectors = network_of("paper"), clips()
    indexed = network.index(vectors)
    maps = [network.comparator(network.frame_similarity(a, b)[None]) for a in indexed for b in indexed]
    expected = sum(similarity_regularisation(raw) for raw in maps)
    assert expected > 0
    torch.testing.assert_close(score_all_pairs(network, vectors).regularisation, expected)


def test_a_network_without_a_comparator_has_no_penalty():
    assert score_all_pairs(network_of("plain"), clips()).regularisation == 0


def test_what_is_kept_for_the_gradient_does_not_grow_with_the_square_of_the_batch():
    def kept(num_clips):
        storages = {}

        def note(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        network, vectors = network_of("paper"), clips(num_clips).requires_grad_()
        with saved_tensors_hooks(note, lambda tensor: tensor):
            scores = score_all_pairs(network, vectors, block_bytes=2**16)
        assert scores.similarity.requires_grad
        return sum(storages.values())

    assert kept(16) < 6 * kept(4)  # products alone would be 16 times as many
