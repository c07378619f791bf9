"""The kinds of cases of the S2VS specification: features, views, labels, network, losses, schedule.

Each function gives the arrays of its case's expected.npz from the case's inputs, by the code of visil.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from tests.parity.harness import Arrays, Case, case
from visil.media.preprocessing import PRESETS
from visil.model.network import NetworkSettings, SimilarityNetwork
from visil.model.regions import region_vectors
from visil.model.similarity import chamfer_similarity, symmetric_chamfer_similarity
from visil.model.whitening import Whitening
from visil.s2vs.labels import same_video, video_shares
from visil.s2vs.losses import clip_info_nce, hardest_negative, self_similarity, similarity_regularisation
from visil.s2vs.pair_scores import score_all_pairs
from visil.s2vs.schedule import CosineSchedule
from visil.s2vs.temporal import (
    BLACK,
    NOISE,
    SHOWN,
    Timeline,
    crop,
    fast_forward,
    num_offsets,
    pause,
    reverse,
    show,
    shuffle_dropout,
    slow_motion,
)
from visil.s2vs.video_in_video import Mixture, donor_box, mix

STRIDES = (4, 8, 16, 32)  # of the four stages of a ResNet
SETTINGS = {"attention": "sigmoid", "comparator_padding": "zeros"}

# Published names of tensors: ours.
PREFIXES = {"visil_head.": "comparator.", "binarization.W": "binarization.projection"}


def named(name: str) -> str:
    """Our name of a published tensor."""
    return next(
        (ours + name.removeprefix(theirs) for theirs, ours in PREFIXES.items() if name.startswith(theirs)), name
    )


def network_of(case: Case, **settings: object) -> SimilarityNetwork:
    """The network of a case, in evaluation mode."""
    network = SimilarityNetwork(NetworkSettings(**{**SETTINGS, **settings}), case.params["dims"])
    network.load_state_dict({named(name): torch.from_numpy(array) for name, array in case.weights.items()})
    return network.eval()


# --- features -----------------------------------------------------------------------------------------------


@case("s2vs", "video_normalizer")
def video_normalizer(case: Case) -> Arrays:
    preset = PRESETS["paper-s2vs"]
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (preset.mean, preset.std))
    pictures = rearrange(case.tensor("u8"), "n h w c -> n c h w") / 255
    return {"u8": (pictures - mean) / std, "f": (case.tensor("f") - mean) / std}


@case("s2vs", "limac_regions")
def limac_regions(case: Case) -> Arrays:
    maps = [case.tensor(f"layer{number}") for number in (1, 2, 3, 4)]
    return {"regions": region_vectors(maps, "limac", strides=STRIDES)}


@case("s2vs", "pca_whitening")
def pca_whitening(case: Case) -> Arrays:
    mean, d, v = (case.tensor(name) for name in ("mean", "d", "V"))
    whitening = Whitening.from_eigen(mean, d, v, case.params["n_components"])
    return {"DVt": whitening.projection, "y": whitening(case.tensor("x"))}


# --- views --------------------------------------------------------------------------------------------------


@case("s2vs", "tt_crop")
def temporal_crop(case: Case) -> Arrays:
    num_frames, length = case.params["T"], case.params["window"]
    whole = Timeline.of(torch.arange(num_frames))
    return {
        "index": crop(whole, length, int(case.inputs["offset"])).frames,
        "n_offsets": np.int64(num_offsets(num_frames, length)),
    }


@case("s2vs", "tt_fast_forward_fixed", "tt_fast_forward_range")
def temporal_fast_forward(case: Case) -> Arrays:
    return {"index": fast_forward(case.params["T"], int(case.inputs["step"])).frames}


@case("s2vs", "tt_slow_motion")
def temporal_slow_motion(case: Case) -> Arrays:
    return {"index": slow_motion(case.params["T"], int(case.inputs["factor"])).frames}


@case("s2vs", "tt_reverse")
def temporal_reverse(case: Case) -> Arrays:
    return {"index": reverse(int(case.inputs["T"])).frames}


@case("s2vs", "tt_pause")
def temporal_pause(case: Case) -> Arrays:
    start, duration = (int(case.inputs[name]) for name in ("start", "duration"))
    return {"index": pause(case.params["T"], start=start, duration=duration).frames}


@case("s2vs", "tt_tsd_blocked", "tt_tsd_content", "tt_tsd_plain", "tt_tsd_short", "tt_tsd_shuffle_drop")
def temporal_shuffle_dropout(case: Case) -> Arrays:
    params, clip = case.params, case.tensor("video")
    timeline = shuffle_dropout(
        len(clip),
        window=int(case.inputs["window_size"]),
        order=case.tensor("permutation"),
        is_dropped=case.tensor("drop_u") < params["p_dropout"],
        is_filled=case.tensor("content_u") > params["p_content"],
    )
    is_filled = timeline.fills != SHOWN
    fills = timeline.fills.clone()
    fills[is_filled] = torch.where(case.tensor("black_u") > 0.5, BLACK, NOISE).to(torch.uint8)
    noise = (255 * case.tensor("noise")).floor().to(torch.uint8)
    return {
        "index": timeline.frames,
        "content_frames": timeline.frames[is_filled],
        "video": show(Timeline(timeline.frames, fills), clip, noise),
    }


@case("s2vs", "viv_geometry")
def viv_geometry(case: Case) -> Arrays:
    names = ("H", "W", "lam", "cy", "cx")
    boxes = [
        donor_box(int(height), int(width), float(share), (int(row), int(column)))
        for height, width, share, row, column in zip(*(case.inputs[name] for name in names), strict=True)
    ]
    sides = {"yl": "top", "yh": "bottom", "xl": "left", "xh": "right"}
    return {name: np.array([getattr(box, side) for box in boxes]) for name, side in sides.items()}


@case("s2vs", "viv_mix")
def viv_mix(case: Case) -> Arrays:
    hosts, shares = case.tensor("host"), case.tensor("lam")
    centres = torch.stack([case.tensor("cy"), case.tensor("cx")], dim=1)
    mixed = video_shares(hosts, shares)
    return {
        "videos": mix(case.tensor("videos"), Mixture(hosts, shares, centres)),
        "mix_labels": mixed,
        "labels": same_video(mixed).float(),
    }


@case("s2vs", "labels_viv_chain", "labels_viv_none", "labels_viv_shared_host")
def labels_viv(case: Case) -> Arrays:
    return {"labels": same_video(case.tensor("mix_labels")).float()}


# --- network ------------------------------------------------------------------------------------------------


def training_losses(case: Case, network: SimilarityNetwork, vectors: Tensor) -> dict[str, Tensor]:
    """What a step of the paper asks for, and its total."""
    is_same = case.tensor("labels").bool()
    scores = score_all_pairs(network, vectors)
    params = case.params
    losses = {
        "infonce": clip_info_nce(scores.similarity, *parted(is_same), temperature=params["temperature"]),
        "hardneg": hardest_negative(scores.similarity, ~is_same),
        "self": self_similarity(scores.similarity),
    }
    sshn = params["lambda_parameter"] * (losses["hardneg"] + losses["self"])
    total = losses["infonce"] + sshn + params["r_parameter"] * scores.regularisation
    return {"similarity": scores.similarity, "reg_loss": scores.regularisation, **losses, "total": total}


def parted(is_same: Tensor) -> tuple[Tensor, Tensor]:
    """Positives and negatives of a published label matrix."""
    return is_same & ~torch.eye(len(is_same), dtype=torch.bool), ~is_same


@case("s2vs", "net_train_attention", "net_train_attention_norm", "net_train_plain", "net_train_symmetric")
def net_train(case: Case) -> Arrays:
    kind = {"net_train_attention_norm": "linear_normalised", "net_train_plain": None}.get(case.name, "sigmoid")
    network = network_of(case, attention=kind, symmetric=case.name == "net_train_symmetric").train()
    vectors = case.tensor("features").requires_grad_()
    indexed = network.index(vectors)
    matrices = network.pair_matrices(indexed, indexed)[0]
    assert network.comparator is not None
    arrays = {
        "indexed": indexed,
        "f2f": rearrange(matrices[:4], "b i j -> b 1 i j"),
        "head": rearrange(network.comparator(matrices), "b i j -> b 1 i j"),
        **training_losses(case, network, vectors),
    }
    arrays["total"].backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    for name in case.weights:
        gradient = gradients[named(name)]
        assert gradient is not None
        arrays |= {f"grad.{name}": gradient, f"gradnorm.{name}": gradient.norm()}
    assert vectors.grad is not None
    with np.load(
        case.folder / "expected.npz"
    ) as expected:  # it has no gradients of the large kernels, just their norms
        return {name: array for name, array in {**arrays, "grad_features": vectors.grad}.items() if name in expected}


@case("s2vs", "net_masks_mult4", "net_masks_odd")
def net_masks(case: Case) -> Arrays:
    scores = score_all_pairs(network_of(case), case.tensor("features"), case.tensor("masks").bool())
    return {"similarity": scores.similarity, "reg_loss": scores.regularisation}


@case("s2vs", "net_binarized")
def net_binarized(case: Case) -> Arrays:
    network = network_of(case, attention=None, bits=case.params["bits"])
    vectors = case.tensor("features")
    codes = network.index(vectors)
    scores = score_all_pairs(network, vectors)
    return {
        "codes": codes,
        "codes_train": network.train().index(vectors),
        "f2f": rearrange(network.pair_matrices(codes, codes)[0][:4], "b i j -> b 1 i j"),
        "similarity": scores.similarity,
        "reg_loss": scores.regularisation,
    }


@case("s2vs", "net_eval")
def net_eval(case: Case) -> Arrays:
    network, raw_query, raw_targets = network_of(case), case.tensor("query")[None], case.tensor("target")
    unpooled = network_of(case, comparator_padding="replicate", pooling=False)
    query, targets = network.index(raw_query), network.index(raw_targets)
    matrices = network.pair_matrices(query, targets)[0]
    assert unpooled.comparator is not None

    def with_channel(maps: Tensor) -> Tensor:
        return rearrange(maps, "b i j -> b 1 i j")

    return {
        "similarity": network.score_matrix(query, targets),
        "similarity_reversed": network.score_matrix(targets, query),
        "similarity_features_only": chamfer_similarity(matrices)[None],
        "similarity_raw_features_only": chamfer_similarity(network.pair_matrices(raw_query, raw_targets)[0])[None],
        "similarity_no_pooling": unpooled.score_matrix(query, targets),
        "matrix": with_channel(network.refine(matrices)),
        "matrix_normalized": with_channel(network.refine(matrices) / 2 + 0.5),
        "f2f": with_channel(matrices),
        "head_no_pooling": with_channel(unpooled.comparator(matrices)),
        "matrix_batched": with_channel(network.refine(matrices[:1])),
        "f2f_batched": with_channel(matrices[:1]),
    }


@case("s2vs", "eval_long_target_chunks")
def eval_long_target_chunks(case: Case) -> Arrays:
    network = network_of(case)
    query, target = (network.index(case.tensor(name)) for name in ("query", "target"))
    return {"similarity": network.score(query, target)[None]}


@case("s2vs", "chamfer")
def chamfer(case: Case) -> Arrays:
    matrix = case.tensor("matrix")
    real = case.tensor("mask").bool()
    masks = {"query_mask": real.any(dim=-1), "target_mask": real.any(dim=-2)}
    return {
        "plain_sym0": chamfer_similarity(matrix),
        "masked_sym0": chamfer_similarity(matrix, **masks),
        "plain_sym1": symmetric_chamfer_similarity(matrix),
        "masked_sym1": symmetric_chamfer_similarity(matrix, **masks),
    }


# --- losses and schedule ------------------------------------------------------------------------------------


@case("s2vs", "infonce_all_mixed", "infonce_overflow", "infonce_pairs", "infonce_row_without_positive")
@case("s2vs", "infonce_triples_t007", "infonce_viv")
def infonce(case: Case) -> Arrays:
    similarity = case.tensor("similarity").requires_grad_()
    loss = clip_info_nce(similarity, *parted(case.tensor("labels").bool()), temperature=case.params["temperature"])
    loss.backward()
    return {"loss": loss, "grad_similarity": similarity.grad}


@case("s2vs", "sshn_all_mixed", "sshn_pairs", "sshn_row_without_negative", "sshn_saturated")
@case("s2vs", "sshn_triples_t007", "sshn_viv")
def sshn(case: Case) -> Arrays:
    arrays: dict[str, Tensor] = {}
    for name, loss in (
        ("hardneg", lambda s: hardest_negative(s, ~case.tensor("labels").bool())),
        ("self", self_similarity),
    ):
        similarity = case.tensor("similarity").requires_grad_()
        arrays[f"{name}_loss"] = loss(similarity)
        arrays[f"{name}_loss"].backward()
        assert similarity.grad is not None
        arrays[f"grad_{name}"] = similarity.grad
    return arrays


@case("s2vs", "simreg_mean", "simreg_sum", "simreg_sum_inside")
def simreg(case: Case) -> Arrays:
    similarity = case.tensor("similarity").requires_grad_()
    loss = similarity_regularisation(similarity, case.params["reduction"])
    loss.backward()
    return {"loss": loss, "grad_similarity": similarity.grad}


@case("s2vs", "lr_schedule")
def lr_schedule(case: Case) -> Arrays:
    params = case.params
    schedule = CosineSchedule(
        rate=params["learning_rate"],
        steps=params["iter_epochs"],
        warmup_steps=params["warmup_iters"],
        first_share=params["warmup_lr_init"],
        final_share=params["final_lr"],
    )
    return {"lr": np.array([schedule.rate_of(int(step)) for step in case.inputs["step"]], dtype=np.float32)}
