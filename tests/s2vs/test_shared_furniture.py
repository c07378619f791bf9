"""Furniture that different videos share: what each kind leaves, who has it, seeds."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from visil.s2vs.overlay_assets import OverlayAssets, augly_assets
from visil.s2vs.shared_furniture import SharedFurniture

SIDE = 48
ALL = SharedFurniture(chance=1.0)
KINDS = ("card", "outro", "border", "logo", "still")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def view(level, num_frames=10):
    """Frame k is of the level `level` + k."""
    frames = torch.arange(level, level + num_frames, dtype=torch.uint8)
    return frames[:, None, None, None].expand(-1, SIDE, SIDE, 3).clone()


def design(kind, furniture=ALL, seed=0):
    return getattr(furniture, f"_{kind}")(SIDE, seeded(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_shape_type_and_input_stay(kind):
    for length in (1, 2, 3, 10):
        before = view(100, length)
        after = design(kind)(before)
        assert after.shape == before.shape
        assert after.dtype == torch.uint8
        assert before.equal(view(100, length))


def test_a_card_takes_the_first_frames_and_is_the_same_in_every_video():
    laid = design("card", replace(ALL, run=(0.3, 0.3)))
    one, other = laid(view(20)), laid(view(120))
    assert one[:3].equal(other[:3])
    assert one[3:].equal(view(20)[3:])
    assert (one[0] == one[1]).all()


def test_an_outro_takes_the_last_frames():
    laid = design("outro", replace(ALL, run=(0.3, 0.3)))
    one, other = laid(view(20)), laid(view(120))
    assert one[7:].equal(other[7:])
    assert one[:7].equal(view(20)[:7])


def test_a_card_leaves_something_of_a_short_video():
    laid = design("card", replace(ALL, run=(0.9, 0.9)))
    assert laid(view(20, 4))[2:].equal(view(20, 4)[2:])
    assert laid(view(20, 2)).equal(view(20, 2))


def test_a_border_holds_the_whole_picture():
    laid = design("border", replace(ALL, margins=(0.25, 0.25)))
    one, other = laid(view(20)), laid(view(120))
    inside = slice(SIDE // 4 + 1, 3 * SIDE // 4 - 1)
    assert one[:, inside, inside].float().mean(dim=(1, 2, 3)).equal(torch.arange(20.0, 30.0))
    assert one[:, 0].equal(other[:, 0])
    assert one[:, :, 0].equal(other[:, :, 0])


def test_a_logo_lies_in_one_place_of_all_frames():
    laid = design("logo")
    one, other = laid(view(20)), laid(view(120))
    covered = (one != view(20)).any(dim=-1)
    assert covered.any()
    assert not covered.all()
    assert (covered == covered[0]).float().mean() > 0.98  # half transparent pixels can meet the level of a frame
    assert (covered[0] == (other != view(120)).any(dim=-1)[0]).float().mean() > 0.98


def test_a_still_shows_one_own_frame():
    laid = design("still", seed=3)
    shown = laid(view(20))
    assert (shown == shown[0]).all()
    assert shown[0].equal(view(20)[int(shown[0, 0, 0, 0]) - 20])


def test_a_cell_has_one_design_on_some_of_its_views():
    furniture = SharedFurniture(chance=0.5)
    views = [view(10 * k) for k in range(20)]
    for seed in range(12):
        drawn = furniture.draw(views, seeded(seed))
        changed = sum(not one.equal(other) for one, other in zip(drawn, views, strict=True))
        assert 3 <= changed <= 17
        again = furniture.draw(views, seeded(seed))
        assert all(one.equal(other) for one, other in zip(drawn, again, strict=True))
    untouched = SharedFurniture(chance=0.0).draw(views, seeded())
    assert all(one.equal(other) for one, other in zip(untouched, views, strict=True))


def test_all_kinds_come_and_some_pictures_are_nearly_black():
    levels = [float(ALL._picture(SIDE, seeded(seed)).float().mean()) for seed in range(40)]
    dark = sum(level < 40 for level in levels)
    assert 4 <= dark <= 24
    seen = set()
    for seed in range(40):
        (drawn,) = ALL.draw([view(60)], seeded(seed))
        same = [bool(one.equal(other)) for one, other in zip(drawn, view(60), strict=True)]
        seen.add("still" if (drawn == drawn[0]).all() else (same[0], same[-1]))
    assert {"still", (False, True), (True, False), (False, False)} <= seen


def test_assets_can_be_others(tmp_path):
    Image.new("RGBA", (72, 72), (255, 0, 0, 255)).save(tmp_path / "red.png")
    assets = OverlayAssets(augly_assets().fonts[:1], (tmp_path / "red.png",))
    laid = design("logo", replace(ALL, assets=lambda: assets))(view(0))
    assert (laid[..., 0] > 150).any()
