"""The two views of a clip: a weak one, hardly changed, and a strong one.

    64 frames ─► crop in time to 32 ─► crop, flip ──────────────────────────────► weak view
              └► temporal ─► crop in time to 32 ─► crop, flip ─► global ─► frame ─► strong view ─► video in video

Both are uint8 [32, S, S, 3]; global draws once a clip, frame once a frame. Video in video mixes the strong views of a
batch afterwards. Source: S2VS (CVPRW 2023), "Augmentations", and its code (specification, sections 3 and 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Generator, Tensor

from visil.model.backbone import import_timm
from visil.s2vs.frame_transforms import FrameTransforms
from visil.s2vs.shared_furniture import SharedFurniture
from visil.s2vs.temporal import OneOf, TemporalTransformation, Timeline, draw_crop, draw_noise, show
from visil.s2vs.video_in_video import VideoInVideo


@dataclass(frozen=True)
class PictureCrop:
    """One window of all frames, resized to a square, and perhaps mirrored.

    Attributes:
        area: of the window, share of the picture.
        aspect: of the window, width to height; drawn by its logarithm.
        mirrored: chance.
    """

    area: tuple[float, float]
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    mirrored: float = 0.5

    def draw(self, frames: Tensor, side_px: int, generator: Generator) -> Tensor:
        """uint8 [T, 3, H, W] -> uint8 [T, 3, side_px, side_px]."""
        transforms = _torchvision()
        crop = transforms.RandomResizedCrop(side_px, scale=self.area, ratio=self.aspect, antialias=True)
        with _seeded(generator):
            shown: Tensor = transforms.RandomHorizontalFlip(self.mirrored)(crop(frames))
        return shown


@dataclass(frozen=True)
class GlobalTransforms:
    """RandAugment, one draw for all frames.

    Attributes:
        count: operations, one after the other.
        magnitude: of 31 bins.
    """

    count: int = 2
    magnitude: int = 9

    def draw(self, frames: Tensor, generator: Generator) -> Tensor:
        """uint8 [T, 3, H, W] -> the same."""
        with _seeded(generator):
            changed: Tensor = _torchvision().RandAugment(self.count, self.magnitude)(frames)
        return changed


@dataclass(frozen=True)
class WeakView:
    """Hardly changed.

    Attributes:
        length: frames.
        side_px: of the pictures.
        crop: of them.
        repeats: a clip of fewer frames is repeated (published); otherwise the view has fewer.
    """

    length: int = 32
    side_px: int = 224
    crop: PictureCrop = PictureCrop((0.8, 1.0))
    repeats: bool = True

    def draw(self, clip: Tensor, generator: Generator) -> Tensor:
        """uint8 [N, H, W, 3] -> uint8 [length, side_px, side_px, 3]."""
        timeline = _crop(Timeline.of(torch.arange(len(clip))), self.length, self.repeats, generator)
        frames = _channels_first(clip[timeline.frames])
        return _channels_last(self.crop.draw(frames, self.side_px, generator))


@dataclass(frozen=True)
class StrongView:
    """Each part is left out by None.

    Attributes:
        length, side_px, crop, repeats: as of `WeakView`.
        temporal, pictures, frames, mixing: the groups TT, GT, FT and ViV of the published code; the last one applies to
            a batch, see `video_in_video.mix`.
    """

    length: int = 32
    side_px: int = 224
    crop: PictureCrop = PictureCrop((0.5, 1.0))
    temporal: TemporalTransformation | None = field(default_factory=OneOf)
    pictures: GlobalTransforms | None = field(default_factory=GlobalTransforms)
    frames: FrameTransforms | None = field(default_factory=FrameTransforms)
    mixing: VideoInVideo | None = field(default_factory=VideoInVideo)
    repeats: bool = True

    def draw(self, clip: Tensor, generator: Generator) -> Tensor:
        """uint8 [N, H, W, 3] -> uint8 [length, side_px, side_px, 3]."""
        whole = Timeline.of(torch.arange(len(clip)))
        timeline = self.temporal.draw(len(clip), generator) if self.temporal else whole
        timeline = _crop(timeline, self.length, self.repeats, generator)
        frames = _channels_first(show(timeline, clip, draw_noise(timeline, clip, generator)))
        frames = self.crop.draw(frames, self.side_px, generator)
        if self.pictures:
            frames = self.pictures.draw(frames, generator)
        frames = _channels_last(frames)
        return self.frames.draw(frames, generator) if self.frames else frames


@dataclass(frozen=True)
class ClipViews:
    """How the views of the clips of a cell are made.

    Attributes:
        window: consecutive frames of a clip that both views are cut from (published: twice their length).
        furniture: what views of different clips have in common; None: nothing (the paper).
    """

    weak: WeakView = field(default_factory=WeakView)
    strong: StrongView = field(default_factory=StrongView)
    window: int = 64
    furniture: SharedFurniture | None = None


def _crop(timeline: Timeline, length: int, repeats: bool, generator: Generator) -> Timeline:
    return draw_crop(timeline, length if repeats else min(length, len(timeline)), generator)


def _channels_first(frames: Tensor) -> Tensor:
    return rearrange(frames, "t h w c -> t c h w").contiguous()


def _channels_last(frames: Tensor) -> Tensor:
    return rearrange(frames, "t c h w -> t h w c").contiguous()


def _torchvision():  # type: ignore[no-untyped-def]  # a module
    import_timm()  # which makes torchvision's own import work beside any torch
    import torchvision.transforms

    return torchvision.transforms


@contextmanager
def _seeded(generator: Generator) -> Iterator[None]:
    """torchvision draws from torch's global generator: it gets a seed, and is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield
