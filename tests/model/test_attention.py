"""The learned weight of a region vector."""

import pytest
import torch
from torch.nn.functional import normalize

from visil.model.attention import KINDS, Attention, unit_norm


@pytest.fixture(params=KINDS)
def attention(request) -> Attention:
    torch.manual_seed(0)
    return Attention(8, request.param).eval()


def unit_vectors(*shape: int) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(1)), dim=-1)


class TestAttention:
    def test_weights_of_unit_vectors_lie_between_0_and_1(self, attention):
        weights = attention.weights(unit_vectors(50, 9, 8))
        assert weights.shape == (50, 9, 1)
        assert ((weights >= 0) & (weights <= 1)).all()

    def test_vectors_are_scaled_and_not_normalised_again(self, attention):
        vectors = unit_vectors(5, 9, 8)
        weighted = attention(vectors)
        torch.testing.assert_close(weighted.norm(dim=-1, keepdim=True), attention.weights(vectors))
        torch.testing.assert_close(normalize(weighted, dim=-1), vectors)

    def test_regions_do_not_see_each_other(self, attention):
        vectors = unit_vectors(5, 9, 8)
        order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
        torch.testing.assert_close(attention(vectors[:, order]), attention(vectors)[:, order])

    def test_linear_weights_by_hand(self):
        linear, normalised = Attention(2, "linear"), Attention(2, "linear_normalised")
        for module in (linear, normalised):
            module.load_state_dict({"context_vector.weight": torch.tensor([[0.6, 0.0]])})
        same, opposite, across = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
        assert linear.weights(same).item() == pytest.approx(0.8)
        assert linear.weights(opposite).item() == pytest.approx(0.2)
        assert linear.weights(across).item() == pytest.approx(0.5)
        assert normalised.weights(same).item() == pytest.approx(1.0)
        assert normalised.weights(opposite).item() == pytest.approx(0.0)

    def test_sigmoid_weight_by_hand(self):
        module = Attention(2, "sigmoid")
        module.load_state_dict(
            {
                "transform.weight": 2 * torch.eye(2),
                "transform.bias": torch.tensor([0.0, 1.0]),
                "context_vector.weight": torch.tensor([[3.0, 0.0]]),
            }
        )
        expected = torch.sigmoid(3 * torch.tanh(torch.tensor(2 * 0.5)))
        torch.testing.assert_close(module.weights(torch.tensor([0.5, 0.1]))[0], expected)

    def test_a_new_linear_context_vector_has_length_1(self):
        torch.testing.assert_close(Attention(64).context_vector.weight.norm(), torch.tensor(1.0))

    def test_an_unknown_kind_is_refused(self):
        with pytest.raises(ValueError, match="one of linear, linear_normalised, sigmoid, got 'softmax'"):
            Attention(8, "softmax")


class TestUnitNorm:
    def test_gives_length_1(self):
        torch.testing.assert_close(unit_norm(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))

    def test_zero_stays_zero(self):
        assert unit_norm(torch.zeros(1, 4)).eq(0).all()
