"""The comparator network: size of its output, padding of its convolutions, padded batches."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.model.comparator import MIN_FRAMES, PADDINGS, Comparator

few = settings(deadline=None, max_examples=15)
ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-12}
FORMS = [(padding, pooling) for padding in PADDINGS for pooling in (True, False)]
lengths = st.lists(st.tuples(st.integers(4, 14), st.integers(4, 14)), min_size=1, max_size=4)


def comparator_of(padding: str, pooling: bool, dtype=torch.float32) -> Comparator:
    """A random comparator with biases and an output of about 1."""
    torch.manual_seed(3)
    comparator = Comparator(padding, pooling=pooling)
    for parameter in comparator.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, -0.1, 0.1)
    return comparator.to(dtype).eval().requires_grad_(False)


def matrices_of(sizes, dtype=torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(*size, generator=generator, dtype=dtype) * 2 - 1 for size in sizes]


def padded(matrices: list[torch.Tensor], value: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """One batch, and the lengths of its members."""
    rows, columns = (torch.tensor([m.shape[side] for m in matrices]) for side in (0, 1))
    height, width = int(rows.max()) + 3, int(columns.max()) + 2
    batch = [F.pad(m, (0, width - m.shape[1], 0, height - m.shape[0]), value=value) for m in matrices]
    return torch.stack(batch), {"query_lengths": rows, "target_lengths": columns}


def slow_comparator(comparator: Comparator, matrix: torch.Tensor) -> torch.Tensor:
    """The table of layers, one after the other, for one matrix."""
    mode = {"replicate": "replicate", "zeros": "constant"}[comparator.padding]
    x = matrix[None, None]
    for conv in (comparator.conv1, comparator.conv2):
        x = F.relu(conv(F.pad(x, (1, 1, 1, 1), mode=mode)))
        x = F.max_pool2d(x, kernel_size=2, stride=2) if comparator.pooling else x
    x = F.relu(comparator.conv3(F.pad(x, (1, 1, 1, 1), mode=mode)))
    return comparator.fconv(x)[0, 0]


@pytest.mark.parametrize(("padding", "pooling"), FORMS)
class TestEveryForm:
    @pytest.mark.parametrize("dtype", ROUNDING)
    @given(lengths)
    @few
    def test_padding_never_changes_a_map(self, padding, pooling, dtype, sizes):
        comparator = comparator_of(padding, pooling, dtype)
        matrices = matrices_of(sizes, dtype)
        for value in (0.0, 9.0):
            batch, real = padded(matrices, value)
            refined = comparator(batch, **real)
            for item, matrix in zip(refined, matrices, strict=True):
                alone = comparator(matrix[None])[0]
                height, width = alone.shape
                scale = max(1.0, float(alone.abs().max()))
                torch.testing.assert_close(item[:height, :width], alone, rtol=0, atol=scale * ROUNDING[dtype])
                assert item[height:].eq(0).all() and item[:, width:].eq(0).all()

    def test_not_even_nan_leaks_from_padding(self, padding, pooling):
        comparator, matrices = comparator_of(padding, pooling), matrices_of([(5, 9), (8, 4)])
        batch, real = padded(matrices, float("nan"))
        clean, _ = padded(matrices, 0.0)
        torch.testing.assert_close(comparator(batch, **real), comparator(clean, **real), rtol=0, atol=0)

    def test_no_convolution_is_given_what_lies_in_padding(self, padding, pooling):
        # Fast convolutions (Winograd) work on tiles: they would mix it into the rounding of real cells.
        comparator, matrices = comparator_of(padding, pooling), matrices_of([(5, 9), (8, 4)])
        given_to_first: list[torch.Tensor] = []
        comparator.conv1.register_forward_pre_hook(lambda _, inputs: given_to_first.extend(inputs))
        batch, real = padded(matrices, float("nan"))
        comparator(batch, **real)
        assert given_to_first[0].isfinite().all()

    def test_equals_its_table_of_layers(self, padding, pooling):
        comparator = comparator_of(padding, pooling)
        for matrix in matrices_of([(4, 4), (5, 9), (13, 22), (30, 5)]):
            expected = slow_comparator(comparator, matrix)
            torch.testing.assert_close(comparator(matrix[None])[0], expected, rtol=1e-5, atol=1e-6)

    def test_tiles_of_a_long_matrix_give_the_map_of_the_whole(self, padding, pooling, monkeypatch):
        module = comparator_of(padding, pooling)
        for shape in ((37, 41), (64, 33), (65, 66), (5, 100), (32, 36), (34, 35), (35, 69)):
            matrix = torch.rand(2, *shape, generator=torch.Generator().manual_seed(sum(shape)))
            whole = module(matrix)
            monkeypatch.setattr("visil.model.comparator.TILE_FRAMES", 32)
            torch.testing.assert_close(module(matrix), whole, atol=2e-6, rtol=0)
            monkeypatch.undo()

    def test_order_of_a_batch_does_not_matter(self, padding, pooling):
        comparator, matrices = comparator_of(padding, pooling), matrices_of([(5, 9), (8, 4), (11, 7)])
        batch, real = padded(matrices, 0.0)
        turned = comparator(batch.flip(0), **{side: length.flip(0) for side, length in real.items()})
        torch.testing.assert_close(turned.flip(0), comparator(batch, **real), rtol=0, atol=2e-6)

    def test_lengths_of_one_side_are_enough(self, padding, pooling):
        comparator, (matrix,) = comparator_of(padding, pooling), matrices_of([(7, 9)])
        refined = comparator(F.pad(matrix, (0, 0, 0, 4))[None], query_lengths=torch.tensor([7]))[0]
        alone = comparator(matrix[None])[0]
        torch.testing.assert_close(refined[: len(alone)], alone, rtol=0, atol=2e-6)

    def test_gradients_of_a_padded_batch_are_those_of_its_members(self, padding, pooling):
        comparator = comparator_of(padding, pooling, torch.float64).requires_grad_(True)
        matrices = matrices_of([(5, 9), (8, 4)], torch.float64)
        batch, real = padded(matrices, 9.0)
        comparator(batch, **real).sum().backward()
        together = [parameter.grad.clone() for parameter in comparator.parameters()]
        comparator.zero_grad()
        sum(comparator(matrix[None]).sum() for matrix in matrices).backward()
        for grad, parameter in zip(together, comparator.parameters(), strict=True):
            torch.testing.assert_close(grad, parameter.grad)

    def test_the_input_is_left_as_it_is(self, padding, pooling):
        batch, real = padded(matrices_of([(5, 9), (8, 4)]), 9.0)
        before = batch.clone()
        comparator_of(padding, pooling)(batch, **real)
        torch.testing.assert_close(batch, before, rtol=0, atol=0)


class TestComparator:
    def test_has_the_published_number_of_parameters(self):
        assert sum(parameter.numel() for parameter in Comparator().parameters()) == 92_801

    @given(st.integers(4, 30), st.integers(4, 30))
    @few
    def test_output_is_a_quarter_of_the_input(self, tq, tt):
        assert Comparator()(torch.zeros(1, tq, tt)).shape == (1, tq // 4, tt // 4)
        assert Comparator(pooling=False)(torch.zeros(1, tq, tt)).shape == (1, tq, tt)

    def test_replicated_edges_make_a_constant_matrix_a_constant_map(self):
        flat = torch.full((1, 16, 24), 0.5)
        replicated = comparator_of("replicate", True)(flat)
        torch.testing.assert_close(replicated, replicated[:, :1, :1].expand(1, 4, 6), rtol=0, atol=2e-6)
        assert comparator_of("zeros", True)(flat).std() > 1e-3

    @pytest.mark.parametrize("size", [(3, 9), (9, 3)])
    def test_fewer_frames_than_two_poolings_need_are_refused(self, size):
        with pytest.raises(ValueError, match=rf"at least {MIN_FRAMES} frames on both sides, got .*repeat_short"):
            Comparator()(torch.zeros(1, *size))

    def test_one_frame_is_enough_without_pooling(self):
        assert Comparator(pooling=False)(torch.zeros(1, 1, 1)).shape == (1, 1, 1)

    @pytest.mark.parametrize("length", [3, 9])
    def test_lengths_outside_the_matrix_are_refused(self, length):
        with pytest.raises(ValueError, match=r"between 4 and the sides of the matrix \[8, 8\], got"):
            Comparator()(torch.zeros(1, 8, 8), query_lengths=torch.tensor([length]))

    def test_an_unknown_padding_is_refused(self):
        with pytest.raises(ValueError, match="one of replicate, zeros, got 'reflect'"):
            Comparator("reflect")
