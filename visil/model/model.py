"""A loaded bundle: encodes videos and compares them.

    Frames ─► [encode: backbone ─► regions ─► whitening ─► index] ─► EncodedVideo
    EncodedVideo × EncodedVideo ─► [compare: frame similarity ─► comparator ─► Chamfer] ─► score

The maths lies in the modules beside this one; here they meet devices, precision and files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from visil.defaults import DEFAULT_BUNDLE, PRECISIONS
from visil.errors import DataError, MediaError, ModelError
from visil.media.blank import has_content
from visil.media.decoding import DecodeLimits, read_frames
from visil.model.backbone import Backbone
from visil.model.binarization import pack_signs
from visil.model.bundle import Bundle, check_picture, load_bundle
from visil.model.catalogue import find_bundle
from visil.model.descriptors import part_descriptors
from visil.model.network import SimilarityNetwork
from visil.model.regions import region_vectors
from visil.model.threads import independent_threads, one_thread
from visil.model.whitening import Whitening
from visil.values import Comparison, EncodedVideo, Frames, RegionVectors, VideoInfo, shown_score

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Pictures that go through the backbone at once in a thread of a CPU. Batches of 32 leave its caches, and batches of all
# lengths up to 32 leave a heap in pieces: 1.4 GB after 60 of them with ResNet-50, against 0.3 GB.
CPU_BATCH = 4
CHECK_TOLERANCE = 2e-3  # float16 storage and other convolution kernels; a wrong stride or padding differs by 0.1


def load_model(name: str | Path = DEFAULT_BUNDLE, *, device: str = "auto", precision: str = "fp32") -> Model:
    """Load a bundle by path, or by name from the package or the cache folder.

    Args:
        device: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, or `bf16` / `fp16` for networks and matrix products (faster, less exact).

    Raises:
        ModelError: no such bundle, a damaged one, or no such device.
    """
    return Model(load_bundle(find_bundle(name)), device=device, precision=precision)


class Model:
    """Encodes and compares videos as its bundle says."""

    def __init__(self, bundle: Bundle, *, device: str = "auto", precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            raise ModelError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.bundle = bundle
        self.settings = bundle.settings
        self.device = _device(device)
        self.precision = precision
        self.whitening = _whitening(bundle)
        self.dim = self._vector_dim()
        self.network = SimilarityNetwork(self.settings.network, self.dim, region_weights=self.settings.regions.weights)
        parts = {
            f"{part}.{name}": tensor
            for part in ("attention", "binarization", "comparator")
            for name, tensor in bundle.part(part).items()
        }
        load_strictly(self.network, parts, f"bundle {self.settings.name!r}")
        self.network.to(self.device).eval()
        if self.whitening is not None:
            self.whitening.to(self.device).eval()

    def __repr__(self) -> str:
        return f"Model({self.settings.name!r}, {self.bundle.hash[:12]}, device={self.device}, {self.precision})"

    @cached_property
    def backbone(self) -> Backbone:
        """Built when the first picture is encoded: importing timm takes seconds, and a search by id needs none."""
        preprocessing = self.settings.preprocessing
        mean, std = preprocessing.mean, preprocessing.std
        with one_thread():
            backbone = Backbone(self.settings.backbone, mean=mean, std=std, initialise=False)
            load_strictly(backbone.network, self.bundle.part("backbone"), f"bundle {self.settings.name!r}")
        expected = self.dim if self.whitening is None else len(self.whitening.mean)
        if backbone.dim != expected:
            raise ModelError(
                f"bundle {self.settings.name!r}: {backbone.dim} channels of its backbone, {expected} expected after it"
            )
        return backbone.to(self.device)

    @property
    def stored_dtype(self) -> np.dtype:
        """float16 region vectors, or packed signs."""
        return np.dtype(np.float16 if self.settings.network.bits is None else np.uint8)

    @property
    def stored_dim(self) -> int:
        """Length of the last axis of stored vectors."""
        bits = self.settings.network.bits
        return self.dim if bits is None else bits // 8

    def autocast(self) -> AbstractContextManager[object]:
        """Half-precision compute where it was asked for."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=AUTOCAST_TYPES[self.precision])

    def region_vectors(self, images: np.ndarray) -> Tensor:
        """Pictures uint8 [T, H, W, 3] -> whitened unit vectors float32 [T, R, D], before attention or binarization."""
        if self.device.type != "cpu":
            return self._vectors_of_batch(images)
        step = min(CPU_BATCH, -(-len(images) // torch.get_num_threads()))
        batches = [images[start : start + step] for start in range(0, len(images), step)]
        _ = self.backbone  # built once, here: each of the threads would build its own
        return torch.cat(list(self._threads.map(self._vectors_of_batch, batches)))

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        """Encode batches beside each other on a CPU."""
        return independent_threads(torch.get_num_threads())

    @torch.inference_mode()
    def _vectors_of_batch(self, images: np.ndarray) -> Tensor:
        """`region_vectors` of pictures that go through the backbone together."""
        backbone = self.backbone
        try:
            with self.autocast():
                maps = backbone(torch.tensor(images, device=self.device))
        except RuntimeError as error:
            height, width = images.shape[1:3]
            reason = " ".join(str(error).split())
            raise ModelError(
                f"bundle {self.settings.name!r}: cannot encode pictures of {width} x {height} px ({reason})"
            ) from error
        regions = self.settings.regions
        vectors = region_vectors(
            [m.float() for m in maps],
            regions.scheme,
            strides=self.backbone.strides,
            grid=regions.grid,
            levels=regions.levels,
        )  # [T, R, sum C]
        return vectors if self.whitening is None else self.whitening(vectors)

    def encode(
        self,
        path: str | Path,
        *,
        span_s: tuple[float, float] | None = None,
        stills: bool = False,
        reader: str = "pyav",
        limits: DecodeLimits = DecodeLimits(),
        progress: Callable[[float], None] | None = None,
    ) -> EncodedVideo:
        """Decode a video in a worker process and encode it; `cut_short` says if there was more than could be read.

        Args:
            span_s: (start, end) of the part to take, seconds since the first shown frame; None: all of it.
            stills: take a still picture for a video of one frame.
            reader: what decodes; see `visil.media.readers`.
            limits: what the file may cost.
            progress: see `encode_frames`.

        Raises:
            MediaError: the file is not a readable video.
        """
        preprocessing = self.settings.preprocessing
        chunks = read_frames(Path(path), preprocessing, reader=reader, limits=limits, span_s=span_s, stills=stills)
        return self.encode_frames(chunks, progress=progress)

    def encode_frames(
        self, chunks: Iterable[Frames], *, progress: Callable[[float], None] | None = None
    ) -> EncodedVideo:
        """Encode the frames of one video.

        Args:
            progress: called with the seconds of the video that are encoded, after every chunk.

        Raises:
            MediaError: there is none.
        """
        encoder = VideoEncoder(self)
        for frames in chunks:
            encoder.add(frames)
            if progress is not None:
                progress(frames.duration_s)
        return encoder.finish()

    def compare(self, query: str | Path | EncodedVideo, video: str | Path | EncodedVideo) -> Comparison:
        """Both directions of the fine score and the frame-to-frame similarity matrix of a pair.

        Raises:
            MediaError: a file is not a readable video.
            DataError: a video has no frame with content: such a pair has no score.
        """
        sides = []
        for side in (query, video):
            encoded = side if isinstance(side, EncodedVideo) else self.encode(side)
            if not encoded.has_content:
                raise DataError(f"{side}: every frame is blank, so it has no score")
            sides.append(self.on_device(encoded.region_vectors.vectors))
        similarity = self.frame_similarity(sides[0], sides[1])
        reverse = self.frame_similarity(sides[1], sides[0])
        return Comparison(
            score=shown_score(self.scores_of_similarity([similarity])[0]),
            reverse_score=shown_score(self.scores_of_similarity([reverse])[0]),
            similarity=similarity.cpu().numpy(),
        )

    @torch.inference_mode()
    def frame_similarity(self, query: Tensor, target: Tensor) -> Tensor:
        """Frame-to-frame similarity float32 [Tq, Tt] of indexed vectors [T, R, D] on the device."""
        with self.autocast():
            return self.network.frame_similarity(query, target).float()

    @torch.inference_mode()
    def scores_of_similarity(self, similarity: Sequence[Tensor]) -> list[float]:
        """Raw scores in [-1, 1] of one query, by its whole matrices [Tq, Tt] with any number of videos."""
        with self.autocast():
            return self.network.scores_of_similarity(similarity).tolist()

    def on_device(self, vectors: np.ndarray) -> Tensor:
        """Stored vectors as they are multiplied: float32 or half, as `precision` says; packed signs stay."""
        tensor = torch.as_tensor(vectors).to(self.device)
        if tensor.dtype == torch.uint8:
            return tensor
        tensor = tensor.float()
        if self.settings.network.attention is None:
            tensor = torch.nn.functional.normalize(tensor, dim=-1)  # half precision leaves norms off by 3e-5
        return tensor.to(AUTOCAST_TYPES.get(self.precision, torch.float32))

    def check(self) -> float:
        """Largest difference between the fixed picture's region vectors here and those in the bundle.

        Raises:
            ModelError: they are of other regions or dimensions, so the bundle was not made with its settings.
        """
        here = self.region_vectors(check_picture(self.settings.preprocessing)).cpu()
        noted = self.bundle.tensors["check.region_vectors"].float()
        if here.shape != noted.shape:
            raise ModelError(
                f"bundle {self.settings.name!r}: {here.shape[1]} regions of {here.shape[2]} dimensions here, "
                f"{noted.shape[1]} of {noted.shape[2]} in the bundle; get it again"
            )
        return float((here - noted).abs().max())

    def _vector_dim(self) -> int:
        if self.whitening is not None:
            return self.whitening.projection.shape[1]
        return len(self.bundle.tensors["check.region_vectors"][0, 0])


class VectorEncoder:
    """Makes one video of region vectors as they are before attention and binarization, chunk by chunk."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._vectors: list[np.ndarray] = []
        self._frame_means: list[np.ndarray] = []
        self._times_s: list[np.ndarray] = []

    @torch.inference_mode()
    def add(self, vectors: Tensor, times_s: np.ndarray) -> None:
        """The next frames: whitened unit vectors float32 [T, R, D] on the device, and their times [T]."""
        indexed = self._model.network.index(vectors)
        packed = self._model.settings.network.bits is not None
        self._vectors.append(pack_signs(indexed).cpu().numpy() if packed else indexed.half().cpu().numpy())
        self._frame_means.append(self._model.network.frame_mean(vectors).cpu().numpy())
        self._times_s.append(times_s)

    def finish(
        self, *, num_samples: int, duration_s: float, video: VideoInfo, warning: str = "", cut_short: str = ""
    ) -> EncodedVideo:
        """The encoded video; without any frame it is one that shows nothing."""
        model = self._model
        nothing = np.zeros((0, 1, model.stored_dim), dtype=model.stored_dtype)
        vectors = np.concatenate(self._vectors) if self._vectors else nothing
        means = np.concatenate([np.zeros((0, model.dim)), *self._frame_means])
        return EncodedVideo(
            region_vectors=RegionVectors(vectors, np.concatenate([np.zeros(0), *self._times_s])),
            descriptors=part_descriptors(means, model.settings.part_samples),
            num_samples=num_samples,
            duration_s=duration_s,
            video=video,
            warning=warning,
            cut_short=cut_short,
        )


class VideoEncoder:
    """Encodes one video chunk by chunk: region vectors stay, pictures go."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._encoder = VectorEncoder(model)
        self._num_samples = 0
        self._duration_s = 0.0
        self._video: VideoInfo | None = None
        self._warning = self._cut_short = ""
        self._last_image: np.ndarray | None = None
        self._last_vectors: Tensor | None = None  # [1, R, D]

    @torch.inference_mode()
    def add(self, frames: Frames) -> None:
        """Encode the next chunk; frames without content are left out where the bundle says so."""
        self._video, self._duration_s = frames.video, frames.duration_s
        self._warning, self._cut_short = frames.warning, frames.cut_short
        self._num_samples += len(frames)
        kept = has_content(frames.images, self._model.settings.preprocessing.blank)
        images, times_s = frames.images[kept], frames.times_s[kept]
        if len(images) > 0:
            self._encoder.add(self._vectors_of(images), times_s)

    def _vectors_of(self, images: np.ndarray) -> Tensor:
        """Region vectors [T, R, D]; a picture equal to the one before is not encoded again (slides, slow videos)."""
        before = [self._last_image, *images[:-1]]
        is_new = np.array([a is None or not np.array_equal(a, b) for a, b in zip(before, images, strict=True)])
        self._last_image = images[-1].copy()
        known = [] if self._last_vectors is None else [self._last_vectors]
        if is_new.any():
            known.append(self._model.region_vectors(images[is_new]))
        source = np.cumsum(is_new) - int(self._last_vectors is None)
        vectors = torch.cat(known)[torch.as_tensor(source, device=self._model.device)]
        self._last_vectors = vectors[-1:]
        return vectors

    def finish(self) -> EncodedVideo:
        """The encoded video.

        Raises:
            MediaError: there was no frame at all.
        """
        if self._video is None:
            raise MediaError("no frame was decoded")
        return self._encoder.finish(
            num_samples=self._num_samples,
            duration_s=self._duration_s,
            video=self._video,
            warning=self._warning,
            cut_short=self._cut_short,
        )


def _whitening(bundle: Bundle) -> Whitening | None:
    tensors = bundle.part("whitening")
    if not tensors:
        return None
    try:
        return Whitening(tensors["mean"], tensors["projection"], tensors.get("bias"))
    except (KeyError, ValueError) as error:
        raise ModelError(f"bundle {bundle.settings.name!r}: its whitening is not valid ({error})") from error


def load_strictly(module: torch.nn.Module, tensors: dict[str, Tensor], owner: str) -> None:
    """Fill a module with exactly these tensors; batch counters, which nothing reads, may be absent."""
    present = {
        **{n: b for n, b in module.state_dict().items() if n.endswith("num_batches_tracked")},
        **tensors,
    }
    try:
        module.load_state_dict(present, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{owner}: tensors do not fit its settings: {' '.join(str(error).split())}") from error


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device {name!r}: CUDA devices of this machine: {torch.cuda.device_count()}")
    return device
