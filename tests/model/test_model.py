"""A model encodes a video the same way however it arrives, and compares two as the papers do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from visil.defaults import DEFAULT_BUNDLE
from visil.errors import DataError, MediaError, ModelError
from visil.media.decoding import read_frames
from visil.media.preprocessing import PRESETS
from visil.model.backbone import BackboneSettings
from visil.model.bundle import Bundle, BundleSettings, RegionSettings, load_bundle
from visil.model.catalogue import find_bundle
from visil.model.making import make_bundle
from visil.model.model import CHECK_TOLERANCE, Model, VideoEncoder, load_model
from visil.model.network import NetworkSettings, SimilarityNetwork
from visil.model.pyramid import num_regions
from visil.values import EncodedVideo, Frames, VideoInfo

ROOT = Path(__file__).parents[2]
RESNET_WEIGHTS = ROOT.parent / "shared" / "weights" / "resnet50_in1k_l123.safetensors"

SIDE = 224
INFO = VideoInfo((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE), 0, "raw", 0.0)


@pytest.fixture(autouse=True, scope="module")
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(find_bundle(DEFAULT_BUNDLE))


@pytest.fixture(scope="module")
def model(bundle: Bundle) -> Model:
    return Model(bundle, device="cpu")


def with_network(bundle: Bundle, network: NetworkSettings, **settings: object) -> Bundle:
    """The same backbone and whitening under another network, of random weights."""
    dim = bundle.tensors["whitening.projection"].shape[1]
    torch.manual_seed(0)
    parts = SimilarityNetwork(network, dim).state_dict()
    changed = replace(bundle.settings, network=network, **settings)  # type: ignore[arg-type]
    return Bundle(changed, {**bundle.tensors, **parts})


def pictures(count: int, *, seed: int = 0) -> np.ndarray:
    """uint8 [T, S, S, 3]: smooth, textured, each another."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 12, 12, generator=generator)
    return (F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1) * 255).byte().movedim(1, -1).numpy()


BLACK = np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8)


def encode(model: Model, images: np.ndarray, chunks: Sequence[int] | None = None) -> EncodedVideo:
    """As a reader would hand it over: one sample a second, in chunks of these lengths."""
    encoder = VideoEncoder(model)
    edges = np.cumsum([0, *(chunks or [len(images)])])
    assert edges[-1] == len(images)
    for start, end in pairwise(edges):
        encoder.add(Frames(images[start:end], np.arange(start, end, dtype=np.float64), INFO, float(end)))
    return encoder.finish()


def write_video(path: Path, images: np.ndarray, *, fps: int = 2) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


class TestEncode:
    IMAGES = pictures(12)

    def test_gives_unit_region_vectors_times_and_descriptors(self, model: Model) -> None:
        video = encode(model, self.IMAGES)
        vectors = video.region_vectors.vectors
        assert (vectors.shape, vectors.dtype) == (
            (12, num_regions(model.settings.regions.levels), model.stored_dim),
            np.float16,
        )
        norms = np.linalg.norm(vectors.astype(np.float32), axis=-1)
        np.testing.assert_allclose(norms, 1, atol=2**-11)  # half precision
        assert video.region_vectors.times_s.tolist() == list(range(12))
        assert (video.num_samples, video.duration_s, video.video) == (12, 12.0, INFO)
        assert (video.descriptors.shape, video.descriptors.dtype) == ((1, model.dim), np.float32)
        np.testing.assert_allclose(np.linalg.norm(video.descriptors, axis=1), 1, atol=1e-6)

    @pytest.mark.parametrize("chunks", [[5, 7], [1] * 12, [11, 1], [4, 0, 8]])
    def test_does_not_depend_on_where_the_reader_cuts(self, chunks: list[int], model: Model) -> None:
        whole, cut = encode(model, self.IMAGES), encode(model, self.IMAGES, chunks)
        a, b = whole.region_vectors.vectors, cut.region_vectors.vectors
        one_step = np.spacing(np.maximum(abs(a), abs(b)))
        assert (abs(a.astype(np.float32) - b) <= one_step).all()
        np.testing.assert_array_equal(cut.region_vectors.times_s, whole.region_vectors.times_s)
        np.testing.assert_allclose(cut.descriptors, whole.descriptors, atol=1e-6)
        assert (cut.num_samples, cut.duration_s) == (whole.num_samples, whole.duration_s)

    def test_is_the_same_twice(self, model: Model) -> None:
        a, b = (encode(model, self.IMAGES).region_vectors.vectors for _ in range(2))
        np.testing.assert_array_equal(a, b)

    def test_leaves_out_frames_without_content(self, model: Model) -> None:
        grey, white = BLACK + np.uint8(128), BLACK + np.uint8(255)
        images = np.concatenate([BLACK, self.IMAGES[:2], grey, white, self.IMAGES[2:3]])
        video = encode(model, images, [2, 2, 2])
        assert video.region_vectors.times_s.tolist() == [1, 2, 5]
        assert video.num_samples == 6
        alone = encode(model, self.IMAGES[:3]).region_vectors.vectors
        np.testing.assert_allclose(video.region_vectors.vectors, alone, atol=2**-11)

    def test_keeps_them_where_the_bundle_says_so(self, bundle: Bundle) -> None:
        keeping = replace(bundle.settings.preprocessing, blank="keep")
        model = Model(Bundle(replace(bundle.settings, preprocessing=keeping), bundle.tensors), device="cpu")
        assert len(encode(model, np.concatenate([BLACK, self.IMAGES[:1]])).region_vectors) == 2

    def test_a_video_of_nothing_else_has_no_content(self, model: Model) -> None:
        video = encode(model, np.repeat(BLACK, 5, axis=0), [2, 3])
        assert not video.has_content
        assert (video.num_samples, len(video.region_vectors), video.descriptors.shape) == (5, 0, (0, model.dim))

    def test_a_video_without_frames_is_an_error(self, model: Model) -> None:
        with pytest.raises(MediaError, match="no frame was decoded"):
            VideoEncoder(model).finish()

    def test_one_descriptor_a_part(self, bundle: Bundle) -> None:
        by_part = {
            size: encode(
                Model(Bundle(replace(bundle.settings, part_samples=size), bundle.tensors), device="cpu"), self.IMAGES
            ).descriptors
            for size in (None, 4, 1)
        }
        assert {size: len(d) for size, d in by_part.items()} == {None: 1, 4: 3, 1: 12}
        direction = by_part[1][:4].astype(np.float64).sum(axis=0)  # frames weigh by the length of their mean: not exact
        assert by_part[4][0] @ direction / np.linalg.norm(direction) > 0.99

    def test_a_file_is_encoded_from_the_frames_of_its_reader(self, model: Model, tmp_path: Path) -> None:
        path = write_video(tmp_path / "clip.mp4", self.IMAGES)  # 6 s, 2 frames a second
        video = model.encode(path)
        encoder = VideoEncoder(model)
        for frames in read_frames(path, model.settings.preprocessing):
            encoder.add(frames)
        np.testing.assert_array_equal(video.region_vectors.vectors, encoder.finish().region_vectors.vectors)
        assert video.duration_s == pytest.approx(6.0)
        assert video.num_samples >= model.settings.preprocessing.min_samples

    def test_what_is_no_video_is_an_error_that_names_the_file(self, model: Model, tmp_path: Path) -> None:
        (tmp_path / "notes.mp4").write_text("not a video")
        with pytest.raises(MediaError, match=r"notes\.mp4"):
            model.encode(tmp_path / "notes.mp4")

    def test_stores_packed_signs_where_the_bundle_binarizes(self, bundle: Bundle) -> None:
        model = Model(with_network(bundle, NetworkSettings(bits=64)), device="cpu")
        vectors = encode(model, self.IMAGES[:2]).region_vectors.vectors
        assert (vectors.shape, vectors.dtype) == ((2, num_regions(model.settings.regions.levels), 8), np.uint8)
        assert (model.stored_dim, model.stored_dtype) == (8, np.uint8)

    def test_stores_vectors_after_attention(self, bundle: Bundle, model: Model) -> None:
        attended = Model(with_network(bundle, NetworkSettings(attention="sigmoid")), device="cpu")
        plain = torch.from_numpy(encode(model, self.IMAGES[:2]).region_vectors.vectors).float()
        with torch.inference_mode():
            expected = attended.network.index(plain)
        stored = encode(attended, self.IMAGES[:2]).region_vectors.vectors
        np.testing.assert_allclose(stored, expected, atol=1e-3)


class TestCompare:
    FILM = pictures(12, seed=1)

    def test_a_video_with_itself_is_1(self, model: Model) -> None:
        """To 1e-5 as computed; half precision storage may change the length of a vector by 2^-11."""
        vectors = model.region_vectors(self.FILM)
        with torch.inference_mode():
            assert float(model.network.score(vectors, vectors)) == pytest.approx(1, abs=1e-5)
        video = encode(model, self.FILM)
        compared = model.compare(video, video)
        assert compared.score == pytest.approx(1, abs=2**-11)
        assert compared.reverse_score == compared.score

    def test_packed_signs_with_themselves_are_1(self, bundle: Bundle) -> None:
        model = Model(with_network(bundle, NetworkSettings(bits=128)), device="cpu")
        video = encode(model, self.FILM)
        assert model.compare(video, video).score == 1

    def test_a_clip_scores_high_against_the_film_it_is_from_and_not_the_film_against_the_clip(
        self, model: Model
    ) -> None:
        clip, film = encode(model, self.FILM[3:7]), encode(model, self.FILM)
        compared = model.compare(clip, film)
        assert compared.score == pytest.approx(1, abs=1e-3)
        assert compared.reverse_score < compared.score - 0.05
        assert compared.similarity.shape == (4, 12)
        assert compared.similarity.argmax(axis=1).tolist() == [3, 4, 5, 6]
        turned = model.compare(film, clip)
        assert (turned.score, turned.reverse_score) == (compared.reverse_score, compared.score)

    def test_other_footage_scores_lower(self, model: Model) -> None:
        film, other = encode(model, self.FILM), encode(model, pictures(12, seed=2))
        assert model.compare(film, other).score < 0.9

    def test_is_the_score_of_the_network_moved_to_0_1(self, bundle: Bundle) -> None:
        network = NetworkSettings(attention="linear", comparator_padding="replicate")
        model = Model(with_network(bundle, network), device="cpu")
        a, b = encode(model, self.FILM[:5]), encode(model, self.FILM[5:])
        query, target = (torch.from_numpy(v.region_vectors.vectors).float() for v in (a, b))
        with torch.inference_mode():
            there, back = float(model.network.score(query, target)), float(model.network.score(target, query))
        compared = model.compare(a, b)
        assert (compared.score, compared.reverse_score) == pytest.approx((there / 2 + 0.5, back / 2 + 0.5), abs=1e-6)
        assert there != back

    @pytest.mark.parametrize("length", [1, 2, 3])
    def test_takes_videos_shorter_than_the_comparator_reads(self, length: int, bundle: Bundle) -> None:
        model = Model(with_network(bundle, NetworkSettings(comparator_padding="zeros")), device="cpu")
        short, film = encode(model, self.FILM[:length]), encode(model, self.FILM)
        compared = model.compare(short, film)
        assert 0 <= compared.score <= 1
        assert compared.similarity.shape == (length, 12)

    def test_a_blank_video_has_no_score(self, model: Model) -> None:
        blank, film = encode(model, BLACK), encode(model, self.FILM[:1])
        for pair in ((blank, film), (film, blank)):
            with pytest.raises(DataError, match="every frame is blank, so it has no score"):
                model.compare(*pair)

    def test_takes_files(self, model: Model, tmp_path: Path) -> None:
        film, clip = write_video(tmp_path / "film.mp4", self.FILM), write_video(tmp_path / "clip.mp4", self.FILM[4:8])
        assert model.compare(clip, film).score > 0.9
        blank = write_video(tmp_path / "blank.mp4", np.repeat(BLACK, 4, axis=0))
        with pytest.raises(DataError, match=r"blank\.mp4: every frame is blank"):
            model.compare(film, blank)

    def test_needs_no_backbone_for_encoded_videos(self, bundle: Bundle, model: Model) -> None:
        fresh = Model(bundle, device="cpu")
        video = encode(model, self.FILM[:2])
        fresh.compare(video, video)
        assert "backbone" not in vars(fresh)  # timm takes seconds to import


class TestCheck:
    def test_passes_for_the_shipped_bundle(self, model: Model) -> None:
        assert model.check() <= CHECK_TOLERANCE

    def test_sees_a_changed_setting(self, bundle: Bundle) -> None:
        changed = replace(bundle.settings, preprocessing=replace(bundle.settings.preprocessing, mean=(0.5, 0.5, 0.5)))
        assert Model(Bundle(changed, bundle.tensors), device="cpu").check() > CHECK_TOLERANCE

    @pytest.mark.parametrize("shape", [(1, 5, 384), (1, 0, 384), (1, 14, 5)])
    def test_of_other_regions_or_dimensions_is_refused(
        self, shape: tuple[int, ...], bundle: Bundle, model: Model
    ) -> None:
        changed = {**bundle.tensors, "check.region_vectors": torch.ones(shape)}
        expected = rf"14 regions of 384 dimensions here, {shape[1]} of {shape[2]} in the bundle; get it again"
        with pytest.raises(ModelError, match=expected):
            Model(Bundle(bundle.settings, changed), device="cpu").check()


class TestDevicesAndPrecision:
    @pytest.mark.parametrize("device", ["gpu", "tpu:0", "mps", "cpu:x", "", "cuda:-1", "meta"])
    def test_unknown_devices_are_refused(self, device: str, bundle: Bundle) -> None:
        with pytest.raises(ModelError, match="device must be auto, cpu, cuda or cuda:N, got"):
            Model(bundle, device=device)

    def test_devices_that_are_not_there_are_refused(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        with pytest.raises(ModelError, match=r"device 'cuda:1': CUDA devices of this machine: 1"):
            Model(bundle, device="cuda:1")

    def test_unknown_precisions_are_refused(self, bundle: Bundle) -> None:
        with pytest.raises(ModelError, match="precision must be one of fp32, bf16, fp16, got 'fp8'"):
            Model(bundle, device="cpu", precision="fp8")

    @pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
    def test_stored_vectors_are_unit_vectors_again_in_the_precision_asked_for(
        self, bundle: Bundle, model: Model, precision: str, dtype: torch.dtype
    ) -> None:
        stored = encode(model, pictures(2)).region_vectors.vectors
        vectors = Model(bundle, device="cpu", precision=precision).on_device(stored)
        assert vectors.dtype == dtype
        norms = vectors.float().norm(dim=-1)
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=torch.finfo(dtype).eps)

    def test_bf16_is_close_to_fp32(self, bundle: Bundle, model: Model) -> None:
        half = Model(bundle, device="cpu", precision="bf16")
        images, others = pictures(4), pictures(4, seed=1)
        cosine = (model.region_vectors(images) * half.region_vectors(images)).sum(dim=-1)
        assert cosine.min() > 0.98  # 8 bits of mantissa through a whitening
        scores = [m.compare(encode(m, images), encode(m, others)).score for m in (model, half)]
        assert scores[1] == pytest.approx(scores[0], abs=0.01)
        assert half.region_vectors(images).dtype == torch.float32

    def test_says_what_it_is(self, model: Model) -> None:
        assert repr(model) == f"Model('mini', {model.bundle.hash[:12]}, device=cpu, fp32)"


class TestUnfitBundles:
    def test_unknown_names_are_refused(self) -> None:
        with pytest.raises(ModelError, match=r"no-such-model: neither a bundle file nor a known name \(known: .*mini"):
            load_model("no-such-model")

    @pytest.mark.parametrize("name", ["whitening.mean", "whitening.projection"])
    def test_without_half_of_a_whitening(self, name: str, bundle: Bundle) -> None:
        tensors = {n: t for n, t in bundle.tensors.items() if n != name}
        with pytest.raises(ModelError, match="its whitening is not valid"):
            Model(Bundle(bundle.settings, tensors), device="cpu")

    def test_without_a_part_of_the_network(self, bundle: Bundle) -> None:
        changed = replace(bundle.settings, network=NetworkSettings(attention="linear"))
        with pytest.raises(ModelError, match=r"'mini': tensors do not fit its settings: .*attention") as caught:
            Model(Bundle(changed, bundle.tensors), device="cpu")
        assert "\n" not in str(caught.value)

    def test_with_a_part_too_many(self, bundle: Bundle) -> None:
        full = with_network(bundle, NetworkSettings(comparator_padding="zeros"))
        with pytest.raises(ModelError, match="do not fit its settings"):
            Model(Bundle(bundle.settings, full.tensors), device="cpu")

    @pytest.mark.parametrize("side", [1, 8, 31])
    def test_with_pictures_too_small_for_the_backbone(self, side: int, bundle: Bundle) -> None:
        changed = replace(bundle.settings, preprocessing=replace(bundle.settings.preprocessing, size_px=side))
        with pytest.raises(ModelError, match=rf"'mini': cannot encode pictures of {side} x {side} px \("):
            Model(Bundle(changed, bundle.tensors), device="cpu").check()

    def test_with_weights_of_another_backbone(self, bundle: Bundle) -> None:
        changed = replace(bundle.settings, backbone=replace(bundle.settings.backbone, name="resnet34"))
        with pytest.raises(ModelError, match="do not fit its settings"):
            Model(Bundle(changed, bundle.tensors), device="cpu").check()


@pytest.mark.skipif(not RESNET_WEIGHTS.is_file(), reason=f"no real weights at {RESNET_WEIGHTS}")
class TestRealWeights:
    def test_a_resnet_whose_stride_is_not_moved_gives_other_vectors(self) -> None:
        settings = BundleSettings(
            name="resnet",
            preprocessing=replace(PRESETS["whole-frame"], size_px=96, mean=(0.48502, 0.45796, 0.40760)),
            backbone=BackboneSettings("resnet50", stages=(1, 2, 3), stride_in_first_conv=True),
            regions=RegionSettings("adaptive", 3),
            network=NetworkSettings(),
        )
        weights: dict[str, Tensor] = load_file(RESNET_WEIGHTS)
        small = [np.ascontiguousarray(pictures(16, seed=3)[:, ::2, ::2][:, :96, :96])]
        bundle = make_bundle(settings, weights, small, dim=64)
        assert Model(bundle, device="cpu").check() <= CHECK_TOLERANCE
        unmoved = replace(settings, backbone=replace(settings.backbone, stride_in_first_conv=False))
        assert Model(Bundle(unmoved, bundle.tensors), device="cpu").check() > 10 * CHECK_TOLERANCE
