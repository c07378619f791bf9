"""What the teacher sees in windows of the training pictures, which the student's own vectors learn to say.

    pictures ─► scripts/train_mini.py ─► teacher.safetensors ─► [TeacherVectors, in the student's dimensions] ─► losses

The teacher describes a picture by one vector, so that of a window is what it says of the window cut out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from visil.errors import DataError

ORIGIN = "origin"  # entry of the metadata


@dataclass(frozen=True)
class TeacherVectors:
    """The teacher's vectors of some windows of every picture.

    Attributes:
        boxes: float32 [N, V, 4]: (top, left, height, width) as shares of the sides; the first is the whole picture.
        vectors: float16 or float32 [N, V, D], unit.
        origin: of which pictures, teacher and windows they are, if that is known.
    """

    boxes: Tensor
    vectors: Tensor
    origin: str | None = None

    def __post_init__(self) -> None:
        if self.boxes.ndim != 3 or self.boxes.shape[1] < 2 or self.boxes.shape[2] != 4:
            raise ValueError(f"boxes: expected [N, V, 4] with V of 2 or more, got {[*self.boxes.shape]}")
        if self.vectors.ndim != 3 or self.vectors.shape[:2] != self.boxes.shape[:2]:
            raise ValueError(f"vectors: expected [{len(self.boxes)}, V, D], got {[*self.vectors.shape]}")
        for name, tensor in self.tensors().items():
            if tensor.dtype not in (torch.float16, torch.float32) or not tensor.numel():
                raise ValueError(f"{name}: expected numbers in half or single precision, got {tensor.dtype}")
        is_share = ((self.boxes >= 0) & (self.boxes <= 1)).all()  # no NaN is
        if not (is_share and (self.boxes[..., 2:] > 0).all()):
            raise ValueError("boxes: expected shares of the sides, from 0 to 1, with an area")

    @classmethod
    def read(cls, path: Path, origin: str | None = None) -> TeacherVectors:
        """A file that `scripts/train_mini.py` makes.

        Args:
            origin: which pictures, teacher and windows it must be of; None: whichever.

        Raises:
            DataError: it is missing, truncated, of another origin, or something else.
        """
        try:
            with safe_open(path, framework="pt") as file:
                found = (file.metadata() or {}).get(ORIGIN)
                if origin is not None and found != origin:
                    raise DataError(
                        f"{path}: is of {found or 'no stated origin'}; wanted are {origin}. Give the same pictures and "
                        "--seed as before, or delete it and let it be made again"
                    )
                return cls(file.get_tensor("boxes"), file.get_tensor("vectors"), found)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{path}: no readable file of the teacher's vectors ({reason}); delete it and let it be made again"
            ) from error

    def __len__(self) -> int:
        return len(self.boxes)

    def tensors(self) -> dict[str, Tensor]:
        """What is kept in a file, by name."""
        return {"boxes": self.boxes, "vectors": self.vectors}

    def leading(self, dim: int) -> Tensor:
        """`leading_directions` of all vectors, float32 [D, dim]."""
        return leading_directions(self.vectors.flatten(0, 1).float(), dim)

    def through(self, basis: Tensor) -> TeacherVectors:
        """In other dimensions [D, dim], unit again, float32."""
        return replace(self, vectors=F.normalize(self.vectors.float() @ basis, dim=-1))


def leading_directions(vectors: Tensor, dim: int) -> Tensor:
    """The `dim` leading directions of the second moment of vectors [M, D]: [D, dim].

    No other linear map to so few dimensions keeps more of the vectors.
    """
    _, directions = torch.linalg.eigh((vectors.T @ vectors).double())  # ascending
    return directions.flip(1)[:, :dim].to(vectors).contiguous()  # products round by how a matrix lies in memory
