"""Windows cut out of pictures, for networks that describe a picture by one vector.

picture ─► [cut_window] ─► picture of its own ─► onnx_vectors
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cut_window(picture: Tensor, box: Tensor, side_px: int) -> Tensor:
    """A window of a picture, to the pixel, enlarged or reduced to a square.

    Args:
        picture: uint8 [3, H, W].
        box: [4], (top, left, height, width) as shares of the sides.

    Returns:
        uint8 [3, side_px, side_px].
    """
    sizes = torch.tensor(picture.shape[1:]).repeat(2)
    top, left, height, width = (box.cpu() * sizes).round().int().tolist()
    window = picture[None, :, top : top + max(1, height), left : left + max(1, width)].float()
    resized = F.interpolate(window, (side_px, side_px), mode="bicubic", antialias=True)[0]
    return resized.round().clamp(0, 255).byte()
