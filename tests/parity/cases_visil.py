"""The kinds of cases of the ViSiL specification: regions, attention, similarity, comparator, sampling.

Each function gives the arrays of its case's expected.npz from the case's inputs, by the code of visil.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tests.parity.harness import Arrays, Case, case
from visil.errors import MediaError
from visil.media.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, centre_crop, output_size
from visil.media.preprocessing import resize_cubic_opencv as resize_cubic
from visil.media.pyav_reader import PyAVReader
from visil.media.sampling import ShownFrame, opencv_step, sample_as_opencv
from visil.model.attention import Attention, unit_norm
from visil.model.backbone import Backbone, BackboneSettings
from visil.model.binarization import Binarization
from visil.model.comparator import Comparator
from visil.model.network import NetworkSettings, SimilarityNetwork
from visil.model.regions import (
    gem,
    mac,
    region_vectors,
    rmac,
    spoc,
    square_region_grid,
    square_region_vectors,
)
from visil.model.similarity import chamfer_similarity, frame_similarity, symmetric_chamfer_similarity
from visil.model.whitening import Whitening
from visil.s2vs.losses import similarity_regularisation, triplet_loss

STRIDES = (4, 8, 16, 32)  # of the four stages of a ResNet
PADDINGS = {"replicate": "replicate", "zero": "zeros"}  # the cases' word: ours

# Published names of tensors, in the order in which they are looked for: ours.
PUBLISHED_PREFIXES = {
    "visil_head.attention.": "attention.",
    "visil_head.video_comperator.": "comparator.",
    "video_comperator.": "comparator.",
    "visil_head.": "comparator.",
    "binarization.W": "binarization.projection",
}


def tensors_of(weights: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, Tensor]:
    """The weights below a prefix, under the names that follow it."""
    return {k.removeprefix(prefix): torch.from_numpy(v) for k, v in weights.items() if k.startswith(prefix)}


def network_of(settings: NetworkSettings, dim: int, tensors: Mapping[str, Tensor]) -> SimilarityNetwork:
    """A network with published weights, in evaluation mode."""
    renamed = {}
    for name, tensor in tensors.items():
        start = next((prefix for prefix in PUBLISHED_PREFIXES if name.startswith(prefix)), "")
        renamed[PUBLISHED_PREFIXES.get(start, "") + name.removeprefix(start)] = tensor
    network = SimilarityNetwork(settings, dim)
    network.load_state_dict(renamed)
    return network.eval()


# --- regions ------------------------------------------------------------------------------------------------


@case("visil", "grid_pool")
def grid_pool(case: Case) -> Arrays:
    maps = [case.tensor(f"map_{k}") for k in case.indices("map")]
    return {"regions": region_vectors(maps, "visil", strides=STRIDES)}


@case("visil", "grid_pool_adaptive")
def grid_pool_adaptive(case: Case) -> Arrays:
    sizes = sorted({int(key.split("_")[1]) for key in case.inputs})
    return {
        f"regions_{k}": region_vectors(
            [case.tensor(f"map_{k}_{stage}") for stage in case.indices(f"map_{k}")], "limac", strides=STRIDES
        )
        for k in sizes
    }


@case("visil", "rpool")
def rpool(case: Case) -> Arrays:
    poolings = {
        "lmac_3": lambda stage: square_region_vectors(stage, [3]),
        "lmac_123": lambda stage: square_region_vectors(stage, [1, 2, 3]),
        "lmac_24": lambda stage: square_region_vectors(stage, [2, 4]),
        "rmac_123": lambda stage: rmac(stage, levels=[1, 2, 3]),
        "rgem_3": lambda stage: square_region_vectors(stage, [3], pool=gem),
        "rmac_grid_3": lambda stage: square_region_grid(stage, 3),
        "mac": mac,
        "spoc": spoc,
        "gem": gem,
    }
    arrays = {}
    for k in case.indices("map"):
        for name, pooling in poolings.items():
            with contextlib.suppress(ValueError):  # no region: the published code raises too, and the key is absent
                arrays[f"{name}_{k}"] = pooling(case.tensor(f"map_{k}"))
    return arrays


@case("visil", "pca_whitening")
def pca_whitening(case: Case) -> Arrays:
    x, mean, d, v = (case.tensor(name) for name in ("x", "mean", "d", "V"))
    reduced = Whitening.from_eigen(mean, d, v, case.params["n_components"])
    stored = Whitening(reduced.mean, reduced.projection.clone())  # what a published file with DVt gives
    return {
        "whitened": reduced(x),
        "whitened_full": Whitening.from_eigen(mean, d, v, len(d))(x),
        "whitened_s2vs": stored(x),
        "DVt": reduced.projection,
    }


# --- attention and binarization -----------------------------------------------------------------------------


@case("visil", "attention")
def attention(case: Case) -> Arrays:
    x = case.tensor("x")
    arrays = {"constrained_weight": unit_norm(case.tensor("raw_weight"))}
    for kind in ("linear", "linear_normalised", "sigmoid"):
        module = Attention(x.shape[-1], kind)
        module.load_state_dict(tensors_of(case.weights, f"{kind}."))
        arrays |= {f"{kind}_out": module(x), f"{kind}_weights": module.weights(x)}
    return arrays


@case("visil", "binarization")
def binarization(case: Case) -> Arrays:
    x = case.tensor("x")
    module = Binarization(*case.weights["W"].shape)
    module.load_state_dict({"projection": torch.from_numpy(case.weights["W"])})
    return {"code": module.eval()(x), "soft": module.train()(x)}


# --- Chamfer and comparator ---------------------------------------------------------------------------------


@case("visil", "f2f_chamfer")
def f2f_chamfer(case: Case) -> Arrays:
    query, target = case.tensor("q"), case.tensor("t")
    matrix = frame_similarity(query, target)
    both = frame_similarity(query, target, symmetric=True)
    return {
        "f2f": matrix,
        "f2f_symmetric": both,
        "v2v_of_f2f": chamfer_similarity(matrix),
        "v2v_of_f2f_symmetric": symmetric_chamfer_similarity(both),
    }


@case("visil", "v2v_chamfer")
def v2v_chamfer(case: Case) -> Arrays:
    s = case.tensor("s")  # [B, 1, Tq, Tt]
    real = case.tensor("mask").bool()
    masks = {"query_mask": real.any(dim=-1), "target_mask": real.any(dim=-2)}
    return {
        "chamfer": chamfer_similarity(s),
        "chamfer_symmetric": symmetric_chamfer_similarity(s),
        "chamfer_masked": chamfer_similarity(s, **masks),
        "chamfer_symmetric_masked": symmetric_chamfer_similarity(s, **masks),
    }


def comparator_of(case: Case) -> Comparator:
    comparator = Comparator(PADDINGS[case.params["padding"]], pooling=case.params.get("pooling", True))
    comparator.load_state_dict(tensors_of(case.weights))
    return comparator.eval()


@case("visil", "comparator_zero", "comparator_nopool")
def comparator_raw(case: Case) -> Arrays:
    comparator = comparator_of(case)
    return {f"raw_{k}": comparator(case.tensor(f"s_{k}")[None])[0] for k in case.indices("s")}


@case("visil", "comparator_replicate")
def comparator_replicate(case: Case) -> Arrays:
    raw = comparator_raw(case)
    return {**raw, **{key.replace("raw", "clipped"): F.hardtanh(value) for key, value in raw.items()}}


@case("visil", "comparator_masked")
def comparator_masked(case: Case) -> Arrays:
    comparator = comparator_of(case)
    real = rearrange(case.tensor("mask").bool(), "b 1 i j -> b i j")
    rows, columns = real.any(dim=-1).sum(dim=-1), real.any(dim=-2).sum(dim=-1)  # [B]
    batch = rearrange(case.tensor("s"), "b 1 i j -> b i j")
    refined = comparator(batch, query_lengths=rows, target_lengths=columns)
    stride = comparator.stride
    return {f"raw_{k}": refined[k, : rows[k] // stride, : columns[k] // stride] for k in range(len(refined))}


@case("visil", "losses")
def losses(case: Case) -> Arrays:
    sim, positive, negative = (case.tensor(name) for name in ("sim", "pos", "neg"))
    return {
        "reg_sum": similarity_regularisation(sim, "sum"),
        "reg_mean": similarity_regularisation(sim, "mean"),
        "reg_visil": similarity_regularisation(sim),  # the form of the ViSiL repository is the sum
        **{
            f"triplet_{f'{margin:g}'.replace('.', '')}": triplet_loss(positive, negative, margin)
            for margin in case.params["gamma"]
        },
    }


# --- whole similarity of two videos -------------------------------------------------------------------------


@case("visil", "v2v_visil_v", "v2v_visil_sym", "v2v_visil_f")
def v2v_visil(case: Case) -> Arrays:
    params = case.params
    settings = NetworkSettings(
        attention="linear" if params["attention"] else None,
        comparator_padding=PADDINGS[params["padding"]] if params["comparator"] else None,
        symmetric=params["symmetric"],
    )
    network = network_of(settings, params["dims"], tensors_of(case.weights))
    arrays: dict[str, Tensor] = {}
    for k in case.indices("q"):
        query, target = (network.index(case.tensor(f"{side}_{k}")) for side in "qt")
        matrix = network.frame_similarity(query, target)
        arrays |= {
            f"q_att_{k}": query,
            f"f2f_{k}": matrix,
            f"score_{k}": network.score(query, target),
            f"score_reversed_{k}": network.score(target, query),
        }
        if network.comparator is not None:
            arrays[f"raw_{k}"] = network.comparator(matrix[None])[0]
    return arrays


@case("visil", "v2v_s2vs_att")
def v2v_s2vs_att(case: Case) -> Arrays:
    dim = case.params["dims"]
    tensors = tensors_of(case.weights)
    network = network_of(NetworkSettings(attention="sigmoid", comparator_padding="zeros"), dim, tensors)
    unpooled = network_of(
        NetworkSettings(attention="sigmoid", comparator_padding="replicate", pooling=False), dim, tensors
    )
    queries, targets = (network.index(case.tensor(name)) for name in "QT")
    every = {"a": queries[:, None], "b": targets[None]}
    matrices = rearrange(network.frame_similarity(every["a"], every["b"]), "a b i j -> (a b) i j")
    own = rearrange(network.frame_similarity(every["a"], queries[None]), "a b i j -> (a b) i j")
    own_raw = network.comparator(own)
    own_scores = chamfer_similarity(F.hardtanh(own_raw) / 2 + 0.5)
    return {
        "q_indexed": queries,
        "scores": network.score_matrix(queries, targets),
        "scores_f2f_only": rearrange(chamfer_similarity(matrices), "(a b) -> a b", a=len(queries)),
        "scores_no_pooling": unpooled.score_matrix(queries, targets),
        "matrix_01": rearrange(network.refine(matrices) / 2 + 0.5, "b i j -> b 1 i j"),
        "train_scores": rearrange(own_scores, "(a b) -> a b", a=len(queries)),
        "reg_loss": similarity_regularisation(own_raw),
    }


@case("visil", "v2v_s2vs_bin")
def v2v_s2vs_bin(case: Case) -> Arrays:
    settings = NetworkSettings(bits=case.params["bits"], comparator_padding="zeros")
    network = network_of(settings, case.params["dims"], tensors_of(case.weights))
    queries, targets = (network.index(case.tensor(name)) for name in "QT")
    matrices = network.frame_similarity(queries[:, None], targets[None])
    return {
        "q_indexed": queries,
        "f2f": rearrange(matrices, "a b i j -> (a b) 1 i j"),
        "scores": network.score_matrix(queries, targets),
    }


@case("visil", "v2v_masked_s2vs", "v2v_masked_dns")
def v2v_masked(case: Case) -> Arrays:
    settings = NetworkSettings(attention="sigmoid", comparator_padding=PADDINGS[case.params["padding"]])
    network = network_of(settings, case.params["dims"], tensors_of(case.weights))
    queries, targets = (network.index(case.tensor(name)) for name in "QT")
    query_mask, target_mask = case.tensor("q_mask").bool(), case.tensor("t_mask").bool()
    matrices = frame_similarity(
        queries[:, None], targets[None], query_mask=query_mask[:, None], target_mask=target_mask[None]
    )
    # The two published codes differ in an axis of length 1 for channels.
    pattern = "a b i j -> (a b) i j" if case.name.startswith("v2v_masked_dns") else "a b i j -> (a b) 1 i j"
    return {
        "scores": network.score_matrix(queries, targets, query_mask=query_mask, target_mask=target_mask),
        "f2f_masked": rearrange(matrices, pattern),
    }


def attended_network(case: Case) -> SimilarityNetwork:
    """ViSiL_v, for cases whose inputs are features after attention."""
    settings = NetworkSettings(attention="linear", comparator_padding="replicate")
    dim = case.weights["attention.context_vector.weight"].shape[-1]
    return network_of(settings, dim, tensors_of(case.weights))


@case("visil", "chunked_targets")
def chunked_targets(case: Case) -> Arrays:
    network, query = attended_network(case), case.tensor("q")
    return {f"full_{k}": network.score(query, case.tensor(f"t_{k}")) for k in case.indices("t")}


@case("visil", "short_videos")
def short_videos(case: Case) -> Arrays:
    network, other = attended_network(case), case.tensor("t")
    arrays = {}
    for k in case.indices("f"):
        short = case.tensor(f"f_{k}")
        arrays |= {
            f"extended_{k}": network.repeat_short(short),
            f"score_as_query_{k}": network.score(short, other),
            f"score_as_target_{k}": network.score(other, short),
        }
    return arrays


# --- from pictures to scores --------------------------------------------------------------------------------


class StandIn(nn.Module):
    """The small backbone of the end-to-end cases: a stem and four stages of one convolution each."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.tensors = tensors

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu(F.conv2d(x, *self._weights("conv1"), stride=2, padding=3))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        maps = []
        for name, stride in (("layer1.0", 1), ("layer2.0", 2), ("layer3.0", 2), ("layer4.0", 2)):
            x = F.relu(F.conv2d(x, *self._weights(name), stride=stride, padding=1))
            maps.append(x)
        return maps

    def _weights(self, name: str) -> tuple[Tensor, Tensor]:
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]


def backbone_of(network: nn.Module) -> Backbone:
    """Our backbone, which normalises pictures, around another network."""
    backbone = Backbone(BackboneSettings("resnet10t", stages=(1,)), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    backbone.network = network
    return backbone


@case("visil", "e2e_visil_tiny")
def e2e_visil(case: Case) -> Arrays:
    backbone = backbone_of(StandIn(tensors_of(case.weights, "cnn.cnn.")))
    pca = tensors_of(case.weights, "cnn.pca.")
    whitening = Whitening(pca["mean"].flatten(), pca["DVt"])
    head = {k: v for k, v in tensors_of(case.weights).items() if k.startswith("visil_head.")}
    settings = NetworkSettings(attention="linear", comparator_padding="replicate")
    network = network_of(settings, case.params["dims"], head)
    regions = [region_vectors(backbone(case.tensor(f"frames_{s}")), "visil", strides=STRIDES) for s in "qt"]
    query, target = (network.index(whitening(vectors)) for vectors in regions)
    return {
        "regions_q": regions[0],
        "features_q": query,
        "features_t": target,
        "f2f": network.frame_similarity(query, target),
        "score": network.score(query, target),
    }


@case("visil", "e2e_s2vs_tiny")
def e2e_s2vs(case: Case) -> Arrays:
    backbone = backbone_of(StandIn(tensors_of(case.weights, "extractor.1.0.cnn.")))
    pca = tensors_of(case.weights, "extractor.1.1.")
    whitening = Whitening(pca["mean"].flatten(), pca["DVt"])
    settings = NetworkSettings(attention="sigmoid", comparator_padding="zeros")
    network = network_of(settings, case.params["dims"], tensors_of(case.weights, "network."))
    query, target = (
        whitening(region_vectors(backbone(case.tensor(f"frames_{s}")), "limac", strides=STRIDES)) for s in "qt"
    )
    indexed = network.index(query)
    return {
        "features_q": query,
        "features_t": target,
        "indexed_q": indexed,
        "score": network.score_matrix(indexed[None], network.index(target)[None]),
    }


@case("visil", "preprocess_opencv")
def preprocess_opencv(case: Case) -> Arrays:
    backbone = backbone_of(nn.Identity())  # normalises, and gives back the pictures
    arrays = {}
    for k in case.indices("frame"):
        frame = case.inputs[f"frame_{k}"]
        resized = resize_cubic(frame, case.params["resize_short_side"] / min(frame.shape[:2]))
        cropped = centre_crop(resized, case.params["crop"])
        normalised = backbone(torch.from_numpy(cropped.copy())[None])[0]
        arrays |= {f"resized_{k}": resized, f"cropped_{k}": cropped, f"normalised_{k}": normalised}
    return arrays


@case("visil", "sampler_opencv")
def sampler_opencv(case: Case) -> Arrays:
    rows: list[list[int]] = []
    raises = []
    for fps, num_frames, wanted in zip(*(case.inputs[n] for n in ("fps", "frames", "wanted_fps")), strict=True):
        try:
            step = opencv_step(float(fps), float(wanted))
        except ValueError:
            rows.append([])
            raises.append(True)
            continue
        numbered = (ShownFrame(k, 1, k) for k in range(int(num_frames)))
        rows.append([frame.picture for _, frame in sample_as_opencv(numbered, step)])
        raises.append(False)
    width = max(map(len, rows))
    return {
        "indices": np.array([row + [-1] * (width - len(row)) for row in rows]),
        "count": np.array([len(row) for row in rows]),
        "raises": np.array(raises),
    }


@case("visil", "sampler_files")
def sampler_files(case: Case) -> Arrays:
    settings = {
        "min_samples": 1,
        "size_rule": "short-side-even",
        "size_px": case.params["ffmpeg_resize"],
        "blank": "keep",
        "bars": "keep",
    }
    opencv, ffmpeg = (Preprocessing(sampling=sampling, **settings) for sampling in ("opencv", "ffmpeg"))
    arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        for k in case.indices("video"):
            path = Path(folder, f"{k}.mp4")
            path.write_bytes(case.inputs[f"video_{k}"].tobytes())
            with contextlib.suppress(MediaError):  # too few frames a second: the published code raises too
                arrays[f"opencv_indices_{k}"] = frame_numbers(read_images(path, opencv))
            try:
                images = read_images(path, ffmpeg)
                size = images.shape[1:3]
            except MediaError:  # shorter than half a slot: the published code gives no frame
                images = np.zeros((0, 1, 1, 3))
                height, width = case.inputs[f"size_{k}"]
                size = output_size(width, height, ffmpeg)[::-1]
            arrays[f"ffmpeg_indices_{k}"] = frame_numbers(images)
            arrays[f"ffmpeg_frame_size_{k}"] = np.array(size)
    return arrays


def read_images(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    return np.concatenate([frames.images for frames in PyAVReader().read(path, preprocessing)])


def frame_numbers(images: np.ndarray) -> np.ndarray:
    """Frame k shows its number: 8 vertical bars, bar b white when bit b is set."""
    grey = images.mean(axis=(1, 3))  # [T, W]
    width = grey.shape[1]
    centres = [(2 * b + 1) * width // 16 for b in range(8)]
    return ((grey[:, centres] > 127) << np.arange(8)).sum(axis=1)
