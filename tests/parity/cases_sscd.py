"""The kinds of cases of the SSCD specification: the head of the network, and the losses.

Each function gives the arrays of its case's expected.npz from the case's inputs, by the code of visil.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tests.parity.harness import Arrays, Case, case
from visil.model.regions import gem, region_vectors
from visil.model.whitening import Whitening
from visil.s2vs.losses import koleo, share_a_picture, sscd_info_nce


@case("sscd", "gem")
def generalised_mean(case: Case) -> Arrays:
    powers = case.params["p"]
    return {f"pooled_{k}": gem(case.tensor(f"map_{k}"), power=powers[k]) for k in case.indices("map")}


@case("sscd", "head")
def head(case: Case) -> Arrays:
    projection, bias = (torch.from_numpy(case.weights[f"fc.{name}"]) for name in ("weight", "bias"))
    last = Whitening(torch.zeros(projection.shape[1]), projection.T, bias)
    arrays = {}
    for k in case.indices("map"):
        arrays[f"embedding_{k}"] = last(region_vectors([case.tensor(f"map_{k}")], "whole", strides=(32,)))[:, 0]
    return arrays


@case("sscd", "losses_t002", "losses_t005")
def losses(case: Case) -> Arrays:
    ids = case.tensor("instance_ids")
    return losses_of(case, ids[:, None] == ids[None])


@case("sscd", "losses_mixed")
def losses_mixed(case: Case) -> Arrays:
    return losses_of(case, share_a_picture(case.tensor("shares")))


def losses_of(case: Case, is_same: Tensor) -> Arrays:
    params = case.params
    vectors = case.tensor("embeddings").requires_grad_()
    nce = sscd_info_nce(
        vectors @ vectors.T, is_same, temperature=params["temperature"], mixed=params.get("mixed", False)
    )
    entropy = params["entropy_weight"] * koleo(vectors, ~is_same)
    (nce + entropy).backward()
    return {"infonce": nce, "entropy": entropy, "loss": nce + entropy, "gradient": vectors.grad}
