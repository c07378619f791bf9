"""The kinds of cases of the SSCD specification: the head of the network.

Each function gives the arrays of its case's expected.npz from the case's inputs, by the code of visil.
"""

from __future__ import annotations

import torch

from tests.parity.harness import Arrays, Case, case
from visil.model.regions import gem, region_vectors
from visil.model.whitening import Whitening


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
