"""The kinds of cases of the DnS specification: features, students, selector, training functions, the funnel.

Each function gives the arrays of its case's expected.npz from the case's inputs, by the code of visil.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from tests.parity.harness import Arrays, Case, case
from visil.dns.coarse_student import CoarseSettings, CoarseStudent
from visil.dns.frame_matrix import combined_matrix, fine_matrix, symmetric_matrix
from visil.dns.funnel import merged_scores, num_fine, selector_order
from visil.dns.itq import itq_rotation, quantisation_loss, signs
from visil.dns.losses import distillation_loss, selector_labels, selector_loss
from visil.dns.netvlad import NetVLAD
from visil.dns.selector import Selector, SelectorSettings
from visil.dns.temporal_augmentation import augmented_frames
from visil.evaluation.metrics import RankedQuery, average_precision
from visil.model.attention import Attention
from visil.model.binarization import ERF_VARIANCE, Binarization
from visil.model.network import NetworkSettings, SimilarityNetwork
from visil.model.regions import region_vectors
from visil.model.whitening import Whitening
from visil.s2vs.losses import similarity_regularisation, triplet_loss

STRIDES = (4, 8, 16, 32)  # of the four stages of a ResNet
LABELS = {"DSVR": ("ND", "DS"), "CSVR": ("ND", "DS", "CS"), "ISVR": ("ND", "DS", "CS", "IS")}

# Published names of tensors: ours.
RENAMED = {
    "visil_head.": "comparator.",
    "binarization.W": "binarization.projection",
    "netvlad.centroids": "netvlad.centres",
    "netvlad.conv.weight": "netvlad.assignment",
    "netvlad.reduction_layer.": "netvlad.reduction.",
    "mlp.model.": "mlp.",
}


def named(name: str) -> str:
    """Our name of a published tensor."""
    return next((ours + name.removeprefix(theirs) for theirs, ours in RENAMED.items() if name.startswith(theirs)), name)


def loaded(module: nn.Module, weights: Mapping[str, np.ndarray], prefix: str = "") -> Any:
    """A module with the published weights below a prefix, in evaluation mode."""
    state = module.state_dict()
    tensors = {named(n.removeprefix(prefix)): torch.from_numpy(a) for n, a in weights.items() if n.startswith(prefix)}
    module.load_state_dict({name: tensor.reshape(state[name].shape) for name, tensor in tensors.items()})
    return module.eval()


def fine_student(case: Case, dim: int, *, prefix: str = "", **settings: object) -> SimilarityNetwork:
    """The fine student of a case, with attention or binarization as its weights have it."""
    code = case.weights.get(f"{prefix}binarization.W")
    kind: dict[str, Any] = {"attention": "sigmoid"} if code is None else {"bits": code.shape[1]}
    network = SimilarityNetwork(NetworkSettings(**{**kind, "comparator_padding": "zeros", **settings}), dim)
    student: SimilarityNetwork = loaded(network, case.weights, prefix)
    return student


# --- building blocks ----------------------------------------------------------------------------------------


@case("dns", "region_vectors_square", "region_vectors_wide")
def regions(case: Case) -> Arrays:
    maps = [case.tensor(f"layer{number}") for number in (1, 2, 3, 4)]
    return {"regions": region_vectors(maps, "limac", strides=STRIDES)}


@case("dns", "pca_whitening")
def pca_whitening(case: Case) -> Arrays:
    mean, d, v = (torch.from_numpy(case.weights[name]) for name in ("mean", "d", "V"))
    return {"x": Whitening.from_eigen(mean, d, v, case.params["n_components"])(case.tensor("x"))}


@case("dns", "attention", "attention_norm")
def attention(case: Case) -> Arrays:
    kind = "linear" if case.params["norm"] else "sigmoid"
    module = loaded(Attention(case.params["dims"], kind), case.weights)
    x = case.tensor("x")
    return {"x": module(x), "weights": module.weights(x)}


@case("dns", "binarization_eval")
def binarization_eval(case: Case) -> Arrays:
    module = Binarization(case.params["dims"], case.params["bits"]).eval()
    module.load_state_dict({"projection": torch.from_numpy(case.weights["W"])})
    return {"x": module(case.tensor("x"))}


@case("dns", "binarization_train", "binarization_train_wide")
def binarization_train(case: Case) -> Arrays:
    module = Binarization(case.params["dims"], case.params["bits"], variance=case.params.get("sigma", ERF_VARIANCE))
    module.load_state_dict({"projection": torch.from_numpy(case.weights["W"])})
    x = case.tensor("x").requires_grad_()
    codes = module.train()(x)
    (codes * case.tensor("cotangent")).sum().backward()
    return {"x": codes, "grad_x": x.grad, "grad_W": module.projection.grad}


@case("dns", "itq")
def itq(case: Case) -> Arrays:
    vectors, rotation = (case.tensor(name).double() for name in ("v", "initial_rotation"))
    first = itq_rotation(vectors, rotation, 1)
    losses = [quantisation_loss(vectors, rotation)]
    for _ in range(case.params["iterations"]):
        rotation = itq_rotation(vectors, rotation, 1)
        losses.append(quantisation_loss(vectors, rotation))
    codes = signs(vectors @ rotation).to(torch.int8)
    return {"rotation_1": first, "rotation_n": rotation, "codes_n": codes, "quantization_loss": torch.stack(losses)}


@case("dns", "netvlad", "netvlad_no_reduction")
def netvlad(case: Case) -> Arrays:
    params = case.params
    weights = {f"netvlad.{name}": array for name, array in case.weights.items()}
    holder = nn.Module()
    holder.netvlad = NetVLAD(params["dims"], params["clusters"], params["outdims"])
    module = loaded(holder, weights).netvlad
    x = case.tensor("x")
    mask = case.tensor("mask").bool()[..., None].expand(-1, -1, x.shape[3])
    vectors = rearrange(x, "b d t r -> b (t r) d")
    return {"no_mask": module(vectors), "with_mask": module(vectors, rearrange(mask, "b t r -> b (t r)"))}


# --- fine-grained students ----------------------------------------------------------------------------------


@case("dns", "fine_att_unpadded", "fine_bin_unpadded")
def fine_unpadded(case: Case) -> Arrays:
    network = fine_student(case, case.params["dims"])
    query, target = (network.index(case.tensor(name)) for name in ("query", "target"))
    matrix = network.frame_similarity(query, target)[None]
    assert network.comparator is not None
    return {
        "query_index": query,
        "target_index": target,
        "frame_matrix": matrix,
        "comparator": network.comparator(matrix),
        "similarity_matrix": network.refine(matrix),
        "similarity": network.score(query, target).reshape(1, 1),
        "similarity_swapped": network.score(target, query).reshape(1, 1),
    }


@case("dns", "fine_att_batch", "fine_bin_batch")
def fine_batch(case: Case) -> Arrays:
    network = fine_student(case, case.params["dims"])
    queries, targets = (network.index(case.tensor(name)) for name in ("queries", "targets"))
    return {"similarity": network.score_matrix(queries, targets)}


@case("dns", "fine_att_padded", "fine_att_padded4", "fine_bin_padded", "fine_bin_padded4")
def fine_padded(case: Case) -> Arrays:
    network = fine_student(case, case.params["dims"])
    query_mask, target_mask = (case.tensor(name).bool() for name in ("query_mask", "target_mask"))
    queries, targets = (network.index(case.tensor(name)) for name in ("queries", "targets"))
    return {
        "query_index": queries * query_mask[..., None, None],
        "target_index": targets * target_mask[..., None, None],
        "similarity": network.score_matrix(queries, targets, query_mask=query_mask, target_mask=target_mask),
    }


@case("dns", "fine_att_long_target", "fine_bin_long_target")
def fine_long_target(case: Case) -> Arrays:
    network = fine_student(case, case.params["dims"])
    query, target = (network.index(case.tensor(name)) for name in ("query", "target"))
    return {"similarity": network.score(query, target).reshape(1, 1)}


@case("dns", "fine_train_forward", "fine_train_forward_ragged")
def fine_train_forward(case: Case) -> Arrays:
    params = case.params
    network = fine_student(case, params["dims"]).train()
    videos, mask = network.index(case.tensor("videos")), case.tensor("masks").bool()
    count = params["triplets"]
    anchors, positives, negatives = videos.split(count)
    masks = mask.split(count)
    similarities, penalty = [], videos.new_zeros(())
    assert network.comparator is not None
    for others, other_mask in ((positives, masks[1]), (negatives, masks[2])):
        of_pairs = []
        for k in range(count):
            matrices, rows, columns = network.pair_matrices(
                anchors[k : k + 1], others[k : k + 1], query_mask=masks[0][k : k + 1], target_mask=other_mask[k : k + 1]
            )
            maps = network.comparator(matrices, query_lengths=rows, target_lengths=columns)
            penalty = penalty + similarity_regularisation(maps)
            refined = F.hardtanh(maps)
            of_pairs.append(network.scores_of_refined(refined, query_lengths=rows, target_lengths=columns))
        similarities.append(torch.cat(of_pairs))
    positive, negative = similarities
    distillation = distillation_loss(torch.stack([positive, negative], dim=1), case.tensor("teacher"))
    total = distillation + params["r_parameter"] * penalty
    total.backward()
    arrays: dict[str, Any] = {
        "positive": positive[:, None],
        "negative": negative[:, None],
        "regularization": penalty[None],
        "distillation": distillation[None],
        "total": total[None],
    }
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    arrays |= {f"grad/{name}": gradients[named(name)] for name in case.weights}
    with np.load(case.folder / "expected.npz") as expected:  # it has no gradients of the large kernels
        return {name: array for name, array in arrays.items() if name in expected}


# --- coarse-grained student ---------------------------------------------------------------------------------


def coarse_student(case: Case, params: Mapping[str, Any], *, prefix: str = "") -> CoarseStudent:
    """The coarse student of a case."""
    has_netvlad, has_transformer = params.get("netvlad", True), params.get("transformer", True)
    settings = CoarseSettings(
        attention=params.get("attention", True),
        layers=params.get("transformer_layers", 1) if has_transformer else 0,
        heads=params.get("transformer_heads", 1),
        feedforward=params.get("transformer_feedforward_dims", 1),
        centres=params["netvlad_clusters"] if has_netvlad else 0,
        out_dim=params["netvlad_outdims"] if has_netvlad else 1,
    )
    student: CoarseStudent = loaded(CoarseStudent(settings, params["dims"]), case.weights, prefix)
    return student


@case("dns", "coarse_index")
def coarse_index(case: Case) -> Arrays:
    student, x = coarse_student(case, case.params), case.tensor("x")[None]
    frames = student.frame_vectors(x)
    return {"frame_vectors": frames, "transformer": student.encode_frames(frames), "index": student(x)}


@case("dns", "coarse_index_padded", "coarse_index_mean", "coarse_index_plain")
def coarse_index_padded(case: Case) -> Arrays:
    return {"index": coarse_student(case, case.params)(case.tensor("x"), case.tensor("mask").bool())}


@case("dns", "coarse_similarity")
def coarse_similarity(case: Case) -> Arrays:
    queries, targets = case.tensor("queries"), case.tensor("targets")
    similarity = queries @ targets.T
    rows = torch.arange(len(queries))
    pairs = torch.stack([similarity[rows, rows], similarity[rows, rows + 2]], dim=1)
    return {
        "similarity": similarity,
        "positive": pairs[:, :1],
        "negative": pairs[:, 1:],
        "distillation": distillation_loss(pairs, case.tensor("teacher") / 2 + 0.5)[None],
    }


# --- selector -----------------------------------------------------------------------------------------------


@case("dns", "selector_index")
def selector_index(case: Case) -> Arrays:
    selector, x = selector_of(case, case.params["dims"]), case.tensor("x")[None]
    return {"frame_matrix": selector.frame_similarity(x), "index": selector.video_values(x)[:, None]}


@case("dns", "selector_index_padded", "selector_index_padded4")
def selector_index_padded(case: Case) -> Arrays:
    lengths = case.tensor("mask").sum(dim=1).long()
    return {"index": selector_of(case, case.params["dims"]).video_values(case.tensor("x"), lengths)[:, None]}


def selector_of(case: Case, dim: int, *, prefix: str = "", hidden: int = 100) -> Selector:
    """The selector of a case, whose weights may lack the part that is not asked for."""
    selector = Selector(SelectorSettings(hidden=hidden), dim)
    own = {named(name.removeprefix(prefix)) for name in case.weights if name.startswith(prefix)}
    rest = {f"{prefix}{n}": t.numpy() for n, t in selector.state_dict().items() if n not in own}
    whole: Selector = loaded(selector, {**rest, **case.weights}, prefix)
    return whole


@case("dns", "selector_forward")
def selector_forward(case: Case) -> Arrays:
    selector = selector_of(case, 8, hidden=case.params["hidden_size"])
    columns = case.tensor("features").unbind(dim=1)
    scores = selector(*columns)
    selector.train()
    for part in selector.mlp:
        if isinstance(part, nn.Dropout):
            part.eval()
    after = {"score_batch_statistics": selector(*columns)[:, None]}
    state = selector.state_dict()
    for index in (1, 5):
        for name in ("running_mean", "running_var"):
            after[f"after/mlp.model.{index}.{name}"] = state[f"mlp.{index}.{name}"]
    order = selector_order(scores.detach().numpy()[None])[0]
    return {"score": scores[:, None], "order": order, **after}


# --- training functions -------------------------------------------------------------------------------------


@case("dns", "losses")
def losses(case: Case) -> Arrays:
    positive, negative = case.tensor("positive"), case.tensor("negative")
    labels = selector_labels(case.tensor("fine"), case.tensor("coarse"), case.params["label_threshold"])
    return {
        "regularization": similarity_regularisation(case.tensor("matrix"))[None],
        "l1": distillation_loss(positive, negative)[None],
        "triplet_similarity": triplet_loss(positive, negative, case.params["gamma"])[None],
        "triplet_distance": triplet_loss(negative, positive, case.params["gamma"])[None],
        "labels": labels,
        "bce": selector_loss(case.tensor("prediction"), labels)[None],
    }


@case("dns", "temporal_augmentation")
def temporal_augmentation(case: Case) -> Arrays:
    rows = case.inputs["seed_and_length"]
    return {
        f"frames_{k}": augmented_frames(int(length), np.random.RandomState(seed)).astype(np.int32)
        for k, (seed, length) in enumerate(rows)
    }


# --- search and evaluation ----------------------------------------------------------------------------------


@case("dns", "merged_ranking")
def merged_ranking(case: Case) -> Arrays:
    available = case.inputs["available"]
    coarse, fine = (case.inputs[name][:, available] for name in ("coarse", "fine"))
    merged, counts = [], []
    for share in case.params["percentages"]:
        scores = np.zeros_like(case.inputs["coarse"])
        scores[:, available] = merged_scores(coarse, fine, case.inputs["selector_order"], share)
        merged.append(scores)
        counts.append(num_fine(share, coarse.shape[1]))
    return {"similarities": np.stack(merged), "replaced": np.array(counts)}


@case("dns", "evaluation")
def evaluation(case: Case) -> Arrays:
    params = case.params
    dim = params["dims"]
    fine = fine_student(case, dim, prefix="fine.")
    coarse = coarse_student(case, {**params, "transformer_layers": 1}, prefix="coarse.")
    selector = selector_of(case, dim, prefix="selector.", hidden=params["hidden_size"])
    videos = {}
    for name in case.inputs:
        vectors = case.tensor(name).float()
        vectors = vectors[:, None] if vectors.ndim == 2 else vectors
        videos[name.removeprefix("video/").replace("|", "/")] = fine.repeat_short(vectors)
    available = np.array([name in videos for name in params["database"]])
    names = [name for name in params["database"] if name in videos]
    codes = {name: fine.index(vectors) for name, vectors in videos.items()}
    described = {name: coarse(vectors[None])[0] for name, vectors in videos.items()}
    values = {name: selector.video_values(vectors[None])[0] for name, vectors in videos.items()}
    with torch.no_grad():
        fine_scores = np.array(
            [[fine.score(codes[q], codes[v]).item() / 2 + 0.5 for v in names] for q in params["queries"]]
        )
        coarse_scores = np.array([[(described[q] @ described[v]).item() for v in names] for q in params["queries"]])
        chances = np.stack(
            [
                selector(
                    values[q].expand(len(names)),
                    torch.stack([values[v] for v in names]),
                    torch.from_numpy(row).float(),
                ).numpy()
                for q, row in zip(params["queries"], coarse_scores, strict=True)
            ]
        )
    order = selector_order(chances)
    shares = [round(0.05 * step, 2) for step in range(21)]
    merged = [merged_scores(coarse_scores, fine_scores, order, share) for share in shares]

    def whole(scores: np.ndarray) -> np.ndarray:
        spread = np.zeros((len(scores), len(available)))
        spread[:, available] = scores
        return spread

    arrays: dict[str, Any] = {
        "fine": whole(fine_scores),
        "coarse": whole(coarse_scores),
        "selector_order": order,
        "available": available,
        "merged": np.stack([whole(scores) for scores in merged]),
    }
    for task, labels in LABELS.items():
        arrays[task] = np.array([mean_precision(params, names, scores, labels) for scores in merged])
    return arrays


def mean_precision(params: Mapping[str, Any], names: list[str], scores: np.ndarray, labels: tuple[str, ...]) -> float:
    """mAP over the queries, of videos that are there."""
    precisions = []
    for query, row in zip(params["queries"], scores, strict=True):
        relevant = {name for label in labels for name in params["annotation"][query].get(label, [])} & set(names)
        ranked = RankedQuery.of(dict(zip(names, row.tolist(), strict=True)), relevant, {query})
        precisions.append(average_precision(ranked))
    return float(np.mean(precisions))


@case("dns", "vsc_matrix_att", "vsc_matrix_bin")
def vsc_matrix(case: Case) -> Arrays:
    network = fine_student(case, case.params["dims"], comparator_padding="replicate", pooling=False)
    indexed = [network.index(case.tensor(name)) for name in ("query", "target")]
    if network.binarization is None:
        stored = [vectors.half() for vectors in indexed]
        query, target = (vectors.float() for vectors in stored)
    else:
        stored = [codes > 0 for codes in indexed]
        query, target = (2 * bits.float() - 1 for bits in stored)
    symmetric = symmetric_matrix(network, query, target)
    return {
        "query_stored": stored[0],
        "target_stored": stored[1],
        "matrix": fine_matrix(network, query, target),
        "symmetric": symmetric,
        "combined": combined_matrix(symmetric, case.tensor("query_coarse"), case.tensor("target_coarse")),
    }
