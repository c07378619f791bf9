"""Furniture that different pictures of a batch have in common."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from visil.s2vs.backbone.furniture import FurnitureSettings, with_furniture
from visil.s2vs.backbone.overlays import Stickers
from visil.s2vs.backbone.views import Views

SIDE, NUM = 48, 12
ALL = FurnitureSettings(share=1.0, block_size=4, on_target=1.0)
GROUND = replace(ALL, ground=1.0, caption=0.0, logo=0.0, even=1.0)
NOTHING = torch.zeros(0, 8, 8, 4, dtype=torch.uint8)


def opaque(colour: tuple[int, int, int]) -> Tensor:
    return torch.tensor([*colour, 255], dtype=torch.uint8).expand(1, 8, 8, 4).clone()


STICKERS = Stickers(captions=opaque((0, 255, 0)), logos=opaque((0, 0, 255)), emoji=NOTHING)
NO_STICKERS = Stickers(NOTHING, NOTHING, NOTHING)


def plain_views() -> Views:
    """Queries and targets of one colour each: red rises with the number, nothing green or blue."""
    pictures = torch.zeros(NUM, 3, SIDE, SIDE)
    pictures[:, 0] = ((torch.arange(NUM) + 1) / (NUM + 1))[:, None, None]
    return Views(pictures, pictures.clone(), torch.full((NUM,), -1))


def laid(settings: FurnitureSettings, *, stickers: Stickers = NO_STICKERS, seed: int = 0) -> tuple[Views, Tensor]:
    return with_furniture(plain_views(), stickers, torch.Generator().manual_seed(seed), settings)


def changed(pictures: Tensor) -> Tensor:
    """Which pictures are not as they were, bool [B]."""
    return (pictures != plain_views().query).flatten(1).any(dim=1)


@pytest.mark.parametrize("seed", range(5))
def test_pictures_of_a_block_have_the_same_ground_around_them(seed):
    views, _ = laid(GROUND, seed=seed)
    corners = views.query[:, :, 0, 0]  # within the smallest margin
    alike = (corners[:, None] - corners[None]).abs().amax(dim=2) < 1e-6
    assert alike.sum(dim=1).tolist() == [4] * NUM


def test_inside_of_a_ground_lies_the_whole_picture_made_smaller():
    striped = torch.zeros(NUM, 3, SIDE, SIDE)
    striped[..., SIDE // 2 :] = 1
    views, _ = with_furniture(
        Views(striped, striped.clone(), torch.full((NUM,), -1)),
        NO_STICKERS,
        torch.Generator().manual_seed(1),
        replace(GROUND, margins=(0.2, 0.2)),
    )
    middle = views.query[:, :, SIDE // 2]  # a row through the middle
    assert (middle[..., 12 : SIDE // 2 - 1] == 0).all() and (middle[..., SIDE // 2 + 1 : -12] == 1).all()


def test_the_target_has_what_its_query_has():
    views, on_target = laid(replace(ALL, caption=1.0, logo=1.0), stickers=STICKERS)
    torch.testing.assert_close(views.target, views.query, rtol=0, atol=0)
    assert on_target.all()


@pytest.mark.parametrize("on_target", [0.0, 0.5])
def test_targets_without_furniture_stay_as_they_are_and_are_named(on_target):
    views, named = laid(replace(GROUND, on_target=on_target))
    assert torch.equal(changed(views.target), named)
    assert changed(views.query).all()
    assert named.sum() == 0 if on_target == 0 else 0 < named.sum() < NUM


def test_pictures_outside_of_the_blocks_stay_as_they_are():
    views, _ = laid(replace(GROUND, share=0.7))
    assert changed(views.query).sum() == 8  # two blocks of four fit into 0.7 * 12


def test_a_picture_in_another_one_has_none():
    given = plain_views()
    hosted = torch.arange(NUM) < 5
    views = Views(given.query, given.target, torch.where(hosted, NUM - 1, -1))
    found, named = with_furniture(views, NO_STICKERS, torch.Generator().manual_seed(0), GROUND)
    assert changed(found.query).sum() == 4  # of seven without a host
    assert not (changed(found.query) & hosted).any() and not (named & hosted).any()


def test_nothing_is_shared_without_a_share():
    views, named = laid(replace(GROUND, share=0.0))
    assert not changed(views.query).any() and not named.any()


@pytest.mark.parametrize(("kind", "channel"), [("caption", 1), ("logo", 2)])
def test_stickers_of_a_block_lie_at_one_place(kind, channel):
    settings = replace(ALL, ground=0.0, caption=0.0, logo=0.0)
    views, _ = laid(replace(settings, **{kind: 1.0}), stickers=STICKERS)
    covered = views.query[:, channel] > 0.5  # [B, side, side]
    assert covered.flatten(1).any(dim=1).all()
    alike = (covered[:, None] == covered[None]).flatten(2).all(dim=2)
    assert alike.sum(dim=1).tolist() == [4] * NUM


def test_a_design_without_stickers_at_hand_is_a_ground():
    views, _ = laid(replace(ALL, ground=0.0, caption=1.0, logo=1.0), stickers=NO_STICKERS)
    assert changed(views.query).all()


def test_equal_seeds_give_equal_views_and_the_given_ones_stay():
    given = plain_views()
    first, second = (
        with_furniture(given, STICKERS, torch.Generator().manual_seed(3), FurnitureSettings()) for _ in range(2)
    )
    assert torch.equal(first[0].query, second[0].query) and torch.equal(first[0].target, second[0].target)
    assert not torch.equal(first[0].query, laid(FurnitureSettings(), stickers=STICKERS, seed=4)[0].query)
    assert torch.equal(given.query, plain_views().query)


def test_values_stay_colours():
    noise = torch.rand(NUM, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    views, _ = with_furniture(
        Views(noise, noise.clone(), torch.full((NUM,), -1)), STICKERS, torch.Generator().manual_seed(0), ALL
    )
    for pictures in (views.query, views.target):
        assert pictures.min() >= -1e-6 and pictures.max() <= 1 + 1e-6
        assert F.mse_loss(pictures, noise) > 0
