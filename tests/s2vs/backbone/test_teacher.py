"""The teacher's vectors: read from a file, and in fewer dimensions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from visil.errors import DataError
from visil.s2vs.backbone.teacher import ORIGIN, TeacherVectors

NUM_PICTURES, DIM = 40, 6


def made_teacher(rank=DIM):
    """Of pictures with two windows each; in so many directions."""
    generator = torch.Generator().manual_seed(6)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.8, 0.7]]).expand(NUM_PICTURES, 2, 4).contiguous()
    vectors = torch.randn(NUM_PICTURES, 2, rank, generator=generator) @ torch.randn(rank, DIM, generator=generator)
    return TeacherVectors(boxes, F.normalize(vectors, dim=-1).half())


class TestReading:
    def written(self, folder, **changed):
        tensors = {name: tensor for name, tensor in (made_teacher().tensors() | changed).items() if tensor is not None}
        save_file(tensors, folder / "teacher.safetensors", {ORIGIN: "a digest"})
        return folder / "teacher.safetensors"

    def test_what_was_written(self, tmp_path):
        read = TeacherVectors.read(self.written(tmp_path), "a digest")
        assert read.boxes.equal(made_teacher().boxes)
        assert read.vectors.equal(made_teacher().vectors)
        assert read.origin == read.through(read.leading(3)).origin == "a digest"

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
    def test_a_truncated_file(self, tmp_path, share):
        path = self.written(tmp_path)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        with pytest.raises(DataError, match="delete it and let it be made again") as caught:
            TeacherVectors.read(path, "a digest")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "changed",
        [
            {"vectors": None},
            {"boxes": torch.zeros(NUM_PICTURES, 4)},
            {"vectors": torch.zeros(NUM_PICTURES, 14)},
            {"vectors": torch.zeros(NUM_PICTURES, 2, 0)},
            {"vectors": torch.zeros(NUM_PICTURES, 2, 6, dtype=torch.int64)},
            {"boxes": torch.full((NUM_PICTURES, 2, 4), torch.nan)},
            {"boxes": torch.full((NUM_PICTURES, 2, 4), -1.0)},
            {"boxes": torch.full((NUM_PICTURES, 2, 4), 5.0)},
            {"boxes": torch.zeros(NUM_PICTURES, 2, 4)},
        ],
        ids=[
            "without vectors",
            "one box a picture",
            "one vector a box",
            "vectors without dimensions",
            "whole numbers",
            "boxes that are no numbers",
            "boxes before the picture",
            "boxes larger than the picture",
            "boxes without an area",
        ],
    )
    def test_another_file(self, tmp_path, changed):
        with pytest.raises(DataError, match=r"no readable file of the teacher.s vectors .*(vectors|boxes)"):
            TeacherVectors.read(self.written(tmp_path, **changed), "a digest")


def test_vectors_of_other_pictures_are_refused(tmp_path):
    save_file(made_teacher().tensors(), tmp_path / "teacher.safetensors", {ORIGIN: "a digest"})
    with pytest.raises(
        DataError,
        match=r"wanted are .*Give the same pictures and --seed as before, or delete it and let it be made again",
    ):
        TeacherVectors.read(tmp_path / "teacher.safetensors", "another")


class TestFewerDimensions:
    def fewer(self, teacher, dim):
        return teacher.through(teacher.leading(dim)).vectors.flatten(0, 1)

    def test_cosines_stay_where_the_directions_suffice(self):
        teacher = made_teacher(rank=3)
        flat, found = teacher.vectors.flatten(0, 1).float(), self.fewer(teacher, 3)
        assert found.shape == (2 * NUM_PICTURES, 3)
        torch.testing.assert_close(found @ found.T, flat @ flat.T, atol=5e-3, rtol=0)

    def test_no_other_directions_keep_more(self):
        teacher = made_teacher()
        flat, found = teacher.vectors.flatten(0, 1).float(), self.fewer(teacher, 2)
        left, values, _ = torch.linalg.svd(flat, full_matrices=False)
        leading = F.normalize(left[:, :2] * values[:2], dim=-1)
        torch.testing.assert_close(found @ found.T, leading @ leading.T, atol=1e-3, rtol=0)

    def test_they_lie_in_memory_as_a_checkpoint_restores_them(self):
        """Else products round otherwise after a run was resumed, on some processors."""
        assert made_teacher().leading(3).is_contiguous()

    def test_vectors_are_unit(self):
        lengths = self.fewer(made_teacher(), 4).norm(dim=-1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
