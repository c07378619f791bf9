"""The network that is trained gives the vectors of the bundle that is made of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from visil.model.backbone import BackboneSettings
from visil.model.pyramid import region_boxes
from visil.model.similarity import frame_similarity
from visil.model.whitening import Whitening
from visil.s2vs.backbone.student import Student, region_matches


def made_student(dim=6):
    torch.manual_seed(3)
    return Student(BackboneSettings("test_resnet", (2, 3)), levels=(1, 2), dim=dim).eval()


def unit(*shape, seed):
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_best_matches_average_to_the_similarity_of_frames():
    query, target = unit(3, 5, 8, seed=0), unit(4, 7, 8, seed=1)
    torch.testing.assert_close(region_matches(query, target).mean(dim=1), frame_similarity(query, target))


def test_a_best_match_is_that_of_one_region_in_one_target():
    query, target = unit(3, 5, 8, seed=0), unit(4, 7, 8, seed=1)
    assert region_matches(query, target).shape == (3, 5, 4)
    torch.testing.assert_close(region_matches(query, target)[2, 4, 1], (target[1] @ query[2, 4]).max())


def test_the_projection_is_that_of_a_whitening():
    student = made_student()
    with torch.no_grad():
        student.mean.uniform_(-0.1, 0.1)
        pooled = unit(2, 5, len(student.mean), seed=2)
        whitening = Whitening(student.mean, student.projection)
        torch.testing.assert_close(student.project(pooled), whitening(pooled))


def test_windows_of_the_pyramid_are_its_regions():
    student = made_student()
    maps = [torch.rand(2, channels, 6, 6) for channels in student.backbone.feature_info.channels()]
    found = student.pooled_windows(maps, region_boxes((1, 2)).expand(2, -1, -1))
    torch.testing.assert_close(found, student.pooled(maps))


def test_it_begins_with_all_directions_alike():
    """A whitening of what the random backbone sees: cosines lie around 0, and no direction has most of the variance."""
    student = made_student()
    scale = torch.linspace(1, 0.2, len(student.mean))
    pooled = F.normalize(3 + scale * torch.randn(500, len(scale), generator=torch.Generator().manual_seed(4)), dim=-1)
    size = student.projection.norm()
    student.whiten(pooled)
    with torch.no_grad():
        projected = student.project(pooled)
    assert (projected @ projected.T).mean().abs() < 0.01
    variance = projected.var(dim=0)
    assert variance.max() < 1.5 * variance.min()
    torch.testing.assert_close(student.projection.norm(), size)
