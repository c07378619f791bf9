"""Sign codes, their packing to bits, and the distances between them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.model.binarization import Binarization, hamming_distances, pack_signs, unpack_signs

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**16)


def random_signs(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0


class TestBinarization:
    def test_codes_are_the_signs_of_the_projection(self):
        module = Binarization(3, 3).eval()
        module.load_state_dict({"projection": torch.eye(3)})
        assert module(torch.tensor([2.0, -0.1, 0.0])).tolist() == [1.0, -1.0, 0.0]

    def test_length_of_a_vector_does_not_matter(self):
        module, vectors = Binarization(8, 16).train(), 1e-3 * torch.randn(5, 9, 8)
        torch.testing.assert_close(module(8 * vectors), module(vectors), rtol=0, atol=1e-3)

    def test_a_zero_vector_has_a_zero_code(self):
        module = Binarization(8, 16)
        assert module.eval()(torch.zeros(8)).eq(0).all()
        assert module.train()(torch.zeros(8)).eq(0).all()

    def test_training_codes_have_a_gradient_and_agree_with_the_signs(self):
        torch.manual_seed(0)
        module, vectors = Binarization(8, 16), torch.randn(50, 8)
        soft = module.train()(vectors)
        soft.sum().backward()
        assert module.projection.grad is not None
        sharp = (torch.nn.functional.normalize(vectors, dim=-1) @ module.projection).abs() > 0.01
        torch.testing.assert_close(soft[sharp], module.eval()(vectors)[sharp])

    def test_a_new_projection_is_a_rotation(self):
        projection = Binarization(16, 16).projection
        torch.testing.assert_close(projection.T @ projection, torch.eye(16), rtol=0, atol=1e-5)


class TestPacking:
    def test_by_hand(self):
        codes = torch.tensor([1.0, -1, -1, -1, -1, -1, -1, 1, -1, 1, 1, 1, 1, 1, 1, -1])
        assert pack_signs(codes).tolist() == [0b10000001, 0b01111110]

    def test_zero_packs_as_negative(self):
        assert pack_signs(torch.zeros(8)).tolist() == [0]

    @given(st.integers(0, 4), st.integers(1, 5), seeds)
    @few
    def test_round_trip(self, rows, num_bytes, seed):
        codes = random_signs(rows, 3, 8 * num_bytes, seed=seed)
        packed = pack_signs(codes)
        assert packed.shape == (rows, 3, num_bytes) and packed.dtype == torch.uint8
        torch.testing.assert_close(unpack_signs(packed), codes, rtol=0, atol=0)

    @given(seeds)
    @few
    def test_numpy_and_torch_give_the_same_bytes(self, seed):
        codes = random_signs(4, 24, seed=seed)
        packed = pack_signs(codes.numpy())
        assert isinstance(packed, np.ndarray) and packed.dtype == np.uint8
        np.testing.assert_array_equal(packed, pack_signs(codes).numpy())
        np.testing.assert_array_equal(unpack_signs(packed), codes.numpy())
        assert unpack_signs(packed).dtype == np.float32

    def test_a_code_that_does_not_fill_its_bytes_is_refused(self):
        with pytest.raises(ValueError, match="multiple of 8 dimensions, got 12"):
            pack_signs(torch.ones(2, 12))


class TestHammingDistances:
    @given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 3, 4, 8, 9, 16, 64]), seeds)
    @few
    def test_two_of_them_are_what_a_product_of_signs_lacks_of_its_maximum(self, m, n, num_bytes, seed):
        query = random_signs(m, 8 * num_bytes, seed=seed).numpy()
        target = random_signs(n, 8 * num_bytes, seed=seed + 1).numpy()
        distances = hamming_distances(pack_signs(query), pack_signs(target))
        assert distances.dtype == np.int32
        np.testing.assert_array_equal(8 * num_bytes - 2 * distances, query @ target.T)

    def test_strides_of_the_codes_do_not_matter(self):
        query, target = (pack_signs(random_signs(n, 64, seed=n).numpy()) for n in (10, 12))
        strided = hamming_distances(query[::2], target[1::3])
        np.testing.assert_array_equal(strided, hamming_distances(query, target)[::2, 1::3])
