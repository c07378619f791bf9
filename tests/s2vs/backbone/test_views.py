"""Views for training: what is drawn, and that every edit does what it says."""

from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from visil.s2vs.backbone.draws import Draw
from visil.s2vs.backbone.overlays import Stickers
from visil.s2vs.backbone.views import UNEDITED, Views, ViewSettings, draw_views

SIDE = 32
NUM = 12
KINDS = Draw.KINDS


def smooth_pictures(num: int = NUM, side: int = 40, seed: int = 0) -> Tensor:
    """Different soft colour patterns, uint8 [num, 3, side, side]."""
    coarse = torch.rand(num, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    fine = F.interpolate(coarse, (side, side), mode="bicubic").clamp(0.05, 0.95)
    return (255 * fine).round().to(torch.uint8)


def plain_pictures(num: int = NUM, side: int = 40) -> Tensor:
    """Pictures of one colour each, red rising with the index, so that they are told apart."""
    pictures = torch.full((num, 3, side, side), 128, dtype=torch.uint8)
    pictures[:, 0] = (20 * torch.arange(num) + 10)[:, None, None]
    return pictures


def whole(num: int = NUM) -> Tensor:
    return torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(num, 1)


def green_stickers() -> Stickers:
    """Opaque squares of pure green, so that they are found again."""
    green = torch.zeros(2, 8, 8, 4, dtype=torch.uint8)
    green[..., 1::2] = 255
    return Stickers(captions=green, logos=green.clone(), emoji=green.clone())


NO_STICKERS = Stickers(*[torch.zeros(0, 8, 8, 4, dtype=torch.uint8)] * 3)


def drawn(
    settings: ViewSettings | None = None,
    pictures: Tensor | None = None,
    *,
    boxes: Tensor | None = None,
    stickers: Stickers | None = None,
    side: int = SIDE,
    seed: int = 0,
) -> Views:
    pictures = smooth_pictures() if pictures is None else pictures
    boxes = whole(len(pictures)) if boxes is None else boxes
    generator = torch.Generator().manual_seed(seed)
    return draw_views(pictures, boxes, stickers or green_stickers(), side, generator, settings or ViewSettings())


def only(kind: str, **changes: object) -> ViewSettings:
    """This edit on every picture, nothing else."""
    weights = {f"{name}_weight": float(name == kind) for name in KINDS}
    return replace(UNEDITED, num_edits=(0.0, 1.0), **{**weights, **changes})  # type: ignore[arg-type]


class TestViews:
    def test_have_the_shapes_and_the_range_that_is_promised(self):
        for seed in range(5):
            views = drawn(replace(ViewSettings(), num_edits=(0.0, 0.0, 0.0, 0.5, 0.5)), seed=seed)
            assert views.query.shape == views.target.shape == (NUM, 3, SIDE, SIDE)
            assert views.query.dtype == views.target.dtype == torch.float32
            assert views.host.shape == (NUM,)
            assert views.host.dtype == torch.int64
            for pixels in (views.query, views.target):
                assert pixels.isfinite().all()
                assert pixels.min() >= 0
                assert pixels.max() <= 1

    def test_the_same_seed_gives_the_same_bytes(self):
        first, again, other = drawn(seed=3), drawn(seed=3), drawn(seed=4)
        assert torch.equal(first.query, again.query)
        assert torch.equal(first.target, again.target)
        assert torch.equal(first.host, again.host)
        assert not torch.equal(first.query, other.query)

    def test_the_order_of_bytes_in_memory_does_not_matter(self):
        pictures = smooth_pictures()
        turned = pictures.to(memory_format=torch.channels_last)
        assert torch.equal(drawn(pictures=pictures).query, drawn(pictures=turned).query)

    def test_pictures_are_not_changed_in_place(self):
        pictures = smooth_pictures()
        kept = pictures.clone()
        drawn(pictures=pictures)
        assert torch.equal(pictures, kept)

    def test_without_edits_both_views_are_the_window(self):
        pictures = smooth_pictures(side=64)
        boxes = torch.tensor([0.25, 0.5, 0.5, 0.5]).repeat(NUM, 1)
        views = drawn(UNEDITED, pictures, boxes=boxes)
        torch.testing.assert_close(views.target, pictures[:, :, 16:48, 32:].float() / 255)
        assert torch.equal(views.query, views.target)
        assert (views.host == -1).all()

    def test_a_picture_of_the_size_of_the_view_stays_as_it_is(self):
        pictures = smooth_pictures(side=SIDE)
        torch.testing.assert_close(drawn(UNEDITED, pictures).target, pictures.float() / 255)

    def test_strong_reductions_are_averaged(self):
        board = torch.zeros(NUM, 3, 8 * SIDE, 8 * SIDE, dtype=torch.uint8)
        board[:, :, ::2, ::2] = board[:, :, 1::2, 1::2] = 255  # what is sampled without averaging is black or white
        target = drawn(UNEDITED, board).target
        torch.testing.assert_close(target, torch.full_like(target, 0.5))

    def test_targets_change_mildly(self):
        pictures = smooth_pictures(num=48, side=SIDE)
        target = drawn(pictures=pictures).target
        difference = (target - pictures.float() / 255).abs().mean(dim=(1, 2, 3))
        assert 0.2 < (difference > 1e-3).float().mean() < 0.9
        assert difference.max() < 0.15

    def test_some_queries_are_left_alone_and_some_have_several_edits(self):
        draw = Draw(2000, torch.Generator().manual_seed(0), ViewSettings())
        edits = torch.stack([draw.has(kind) for kind in KINDS]).sum(dim=0)
        assert 0.06 < (edits == 0).float().mean() < 0.14
        assert (edits >= 3).float().mean() > 0.15
        assert edits.max() == 4

    def test_all_kinds_are_drawn_about_as_often_as_their_weights_say(self):
        settings = replace(ViewSettings(), num_edits=(0.0, 1.0))
        draw = Draw(20_000, torch.Generator().manual_seed(0), settings)
        weights = torch.tensor([getattr(settings, f"{kind}_weight") for kind in KINDS])
        shares = torch.stack([draw.has(kind) for kind in KINDS]).float().mean(dim=1)
        torch.testing.assert_close(shares, weights / weights.sum(), atol=0.01, rtol=0)

    def test_every_weight_is_a_kind_of_edit(self):
        names = {field.name.removesuffix("_weight") for field in fields(ViewSettings) if field.name.endswith("_weight")}
        assert names == set(KINDS)

    def test_many_edits_are_milder(self):
        one, four = (
            Draw(4000, torch.Generator().manual_seed(0), replace(ViewSettings(), num_edits=edits))
            for edits in ((0.0, 1.0), (0.0, 0.0, 0.0, 0.0, 1.0))
        )
        assert one.strength((0.0, 1.0)).mean() > four.strength((0.0, 1.0)).mean() + 0.1

    @pytest.mark.parametrize(
        ("pictures", "boxes", "side", "message"),
        [
            (smooth_pictures().float(), whole(), SIDE, r"uint8 \[B, 3, S, S\], got torch.float32"),
            (smooth_pictures(), whole(3), SIDE, r"a box for each of 12 pictures, got \[3, 4\]"),
            (smooth_pictures(), whole(), 20, "multiple of 16 px, got 20"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, pictures, boxes, side, message):
        with pytest.raises(ValueError, match=message):
            drawn(pictures=pictures, boxes=boxes, side=side)

    def test_a_batch_without_stickers_and_a_batch_of_one_are_fine(self):
        strong = replace(ViewSettings(), num_edits=(0.0, 0.0, 0.0, 0.0, 1.0))
        for seed in range(10):
            views = drawn(strong, smooth_pictures(1), stickers=NO_STICKERS, seed=seed)
            assert views.query.isfinite().all()
            assert views.host.tolist() == [-1]

    def test_views_are_made_on_the_device_of_the_pictures(self):
        """On `meta`, where tensors have no values, an operation across devices fails as it does on an accelerator."""
        for seed in range(10):
            views = drawn(pictures=smooth_pictures().to("meta"), seed=seed)
            assert {views.query.device.type, views.target.device.type, views.host.device.type} == {"meta"}

    def test_stickers_of_another_kind_are_refused(self):
        with pytest.raises(ValueError, match=r"logos: expected uint8 \[K, h, w, 4\], got torch.uint8 \[2, 8, 8, 3\]"):
            replace(NO_STICKERS, logos=torch.zeros(2, 8, 8, 3, dtype=torch.uint8))


class TestGeometry:
    def test_a_mirrored_query_is_the_target_with_left_and_right_exchanged(self):
        views = drawn(replace(UNEDITED, mirrored=1.0))
        torch.testing.assert_close(views.query, views.target.flip(-1), atol=1e-5, rtol=0)

    def test_a_crop_is_a_part_of_the_window(self):
        ramp = torch.arange(64, dtype=torch.uint8).mul(4).expand(NUM, 3, 64, 64)  # the value says the column
        query = drawn(only("crop", crop_area=(0.25, 0.25)), ramp).query
        width = (query[:, 0, 0, -1] - query[:, 0, 0, 0]) * 255 / 4 / 64 * SIDE / (SIDE - 1)
        torch.testing.assert_close(width, torch.full((NUM,), 0.5), atol=0.01, rtol=0)
        assert query[:, 0, 0, 0].unique().numel() > NUM // 2  # anywhere

    def test_a_window_around_contains_the_target_s(self):
        ramp = torch.arange(64, dtype=torch.uint8).mul(4).expand(NUM, 3, 64, 64)
        views = drawn(replace(UNEDITED, around=1.0), ramp, boxes=torch.tensor([0.4, 0.4, 0.2, 0.2]).repeat(NUM, 1))
        assert (views.query[:, 0, 0, 0] <= views.target[:, 0, 0, 0] + 0.01).all()
        assert (views.query[:, 0, 0, -1] >= views.target[:, 0, 0, -1] - 0.01).all()

    def test_a_rotation_turns_about_the_middle_and_leaves_black_corners(self):
        settings = only("rotation", rotation_degrees=(45.0, 45.0), aspect=(1.0, 1.0), reflected=0.0, black=1.0)
        query = drawn(settings, plain_pictures()).query
        assert (query[:, :, ::31, ::31] == 0).all()  # the four corners
        assert (query[:, 1, 16, 16] > 0.4).all()
        share = (query[:, 1] > 0.4).float().mean(dim=(1, 2))
        torch.testing.assert_close(share, torch.full((NUM,), 2 * (2**0.5 - 1)), atol=0.03, rtol=0)  # an octagon

    def test_corners_can_be_filled_with_the_picture_reflected(self):
        settings = only("rotation", rotation_degrees=(45.0, 45.0), reflected=1.0)
        views = drawn(settings, plain_pictures())
        torch.testing.assert_close(views.query, views.target, atol=1e-5, rtol=0)

    def test_perspective_leaves_the_free_part_black(self):
        query = drawn(only("perspective", perspective=(0.4, 0.4), black=1.0), plain_pictures()).query
        share = (query[:, 1] > 0.4).float().mean(dim=(1, 2))
        assert ((share > 0.2) & (share < 0.95)).all()
        assert (query[:, 1, 16, 16] > 0.4).all()

    def test_bars_take_their_share_on_two_sides(self):
        query = drawn(only("bars", bars=(0.5, 0.5), black=1.0), plain_pictures()).query
        is_black = query[:, 1] == 0
        assert is_black.float().mean(dim=(1, 2)).eq(0.5).all()
        assert (is_black[:, 0].all(dim=1) ^ is_black[:, :, 0].all(dim=1)).all()  # above and below, or at the sides

    def test_a_border_surrounds_the_whole_picture(self):
        pictures = smooth_pictures()
        views = drawn(only("border", border=(0.25, 0.25)), pictures)
        inner = F.interpolate(views.target, (SIDE // 2, SIDE // 2), mode="area")
        torch.testing.assert_close(views.query[:, :, 8:24, 8:24], inner, atol=0.1, rtol=0)


class TestOtherPictures:
    def test_an_inset_lies_in_its_host(self):
        settings = only("inset", inset=(0.5, 0.5), target_contrast=(1.0, 1.0))
        views = drawn(settings, plain_pictures())
        own, host = views.target[:, 0, 0, 0], views.target[views.host, 0, 0, 0]
        is_own = (views.query[:, 0] - own[:, None, None]).abs() < 1e-3
        is_host = (views.query[:, 0] - host[:, None, None]).abs() < 1e-3
        assert (is_own ^ is_host).all()
        torch.testing.assert_close(is_own.float().mean(dim=(1, 2)), torch.full((NUM,), 0.25), atol=0.04, rtol=0)

    def test_nothing_is_its_own_host(self):
        for seed in range(20):
            host = drawn(only("inset"), seed=seed).host
            assert (host >= 0).all()
            assert (host < NUM).all()
            assert (host != torch.arange(NUM)).all()

    @pytest.mark.parametrize(("own_share", "is_host"), [(0.6, True), (0.8, False)])
    def test_a_blend_is_the_weighted_mean_and_names_a_host_that_is_seen(self, own_share, is_host):
        settings = only("blend", blend=(own_share, own_share), target_contrast=(1.0, 1.0), host_share=0.3)
        views = drawn(settings, plain_pictures())
        assert (views.host >= 0).all().item() == is_host
        if is_host:
            mixed = own_share * views.target + (1 - own_share) * views.target[views.host]
            torch.testing.assert_close(views.query, mixed, atol=1e-4, rtol=0)

    def test_a_patch_covers_a_part_with_another_picture(self):
        views = drawn(only("patch", patch=(0.5, 0.5)), plain_pictures())
        kept = ((views.query - views.target).abs().amax(dim=1) < 1e-3).float().mean(dim=(1, 2))
        assert ((kept > 0.55) & (kept < 0.95)).all()
        assert (views.host >= 0).all()
        assert (drawn(only("patch", patch=(0.2, 0.2)), plain_pictures()).host == -1).all()


class TestColours:
    def test_grayscale_is_the_luma(self):
        views = drawn(only("grayscale"))
        luma = torch.einsum("bchw,c->bhw", views.target, torch.tensor([0.299, 0.587, 0.114]))
        torch.testing.assert_close(views.query, luma[:, None].expand_as(views.query), atol=1e-5, rtol=0)

    def test_contrast_changes_about_a_level(self):
        views = drawn(only("contrast", contrast=(2.0, 2.0), contrast_level=(0.5, 0.5)))
        raised, lowered = (0.5 + gain * (views.target - 0.5) for gain in (2.0, 0.5))
        errors = torch.stack(
            [(views.query - other.clamp(0, 1)).abs().amax(dim=(1, 2, 3)) for other in (raised, lowered)]
        )
        assert (errors.amin(dim=0) < 1e-5).all()
        assert errors.argmin(dim=0).unique().numel() == 2  # both ways

    def test_gamma_is_a_power(self):
        views = drawn(only("gamma", gamma=(2.0, 2.0)))
        errors = torch.stack([(views.query - views.target**power).abs().amax(dim=(1, 2, 3)) for power in (2.0, 0.5)])
        assert (errors.amin(dim=0) < 1e-5).all()

    def test_a_negative_is_inverted(self):
        views = drawn(only("negative"))
        torch.testing.assert_close(views.query, 1 - views.target, atol=1e-5, rtol=0)

    def test_swapped_channels_are_the_same_planes_in_another_order(self):
        views = drawn(only("swap"))
        torch.testing.assert_close(views.query.sort(dim=1).values, views.target.sort(dim=1).values, atol=1e-5, rtol=0)
        assert ((views.query - views.target).abs().amax(dim=(1, 2, 3)) > 0.05).all()

    def test_a_tint_leaves_grey_grey_where_the_gains_are_even(self):
        grey = torch.full((NUM, 3, 40, 40), 100, dtype=torch.uint8)
        views = drawn(only("tint", tint=(0.0, 0.0)), grey)
        torch.testing.assert_close(views.query, views.target, atol=1e-5, rtol=0)
        assert (drawn(only("tint", tint=(0.4, 0.4)), grey).query[:, :, 0, 0].std(dim=1) > 0.005).all()


class TestSharpness:
    def test_blur_keeps_lightness_and_loses_detail(self):
        lines = torch.zeros(NUM, 3, SIDE, SIDE, dtype=torch.uint8)
        lines[..., ::2] = 255
        query = drawn(only("blur", blur_lines=(8.0, 8.0)), lines).query
        torch.testing.assert_close(query, torch.full_like(query, 0.5), atol=1e-4, rtol=0)

    def test_noise_has_its_deviation(self):
        grey = torch.full((NUM, 3, 64, 64), 128, dtype=torch.uint8)
        views = drawn(only("noise", noise=(20.0, 20.0), noise_grey=0.5), grey, side=64)
        deviation = 255 * (views.query - views.target).flatten(1).std(dim=1)
        torch.testing.assert_close(deviation, torch.full((NUM,), 20.0), atol=1.5, rtol=0)
        is_grey = (views.query.std(dim=1) < 1e-6).all(dim=2).all(dim=1)
        assert 0 < is_grey.sum() < NUM
        assert not torch.equal(views.query[0], views.query[1])

    @pytest.mark.parametrize("lines", [32, 64])
    def test_compression_is_worse_with_larger_steps(self, lines):
        pictures = smooth_pictures(side=64)
        errors = []
        for step in (1.0, 20.0, 200.0):
            settings = only("compression", compression_step=(step, step), compression_lines=(lines,))
            views = drawn(settings, pictures, side=64)
            errors.append((views.query - views.target).square().mean().sqrt().item())
        assert errors[0] < 0.03
        assert errors[0] < errors[1] < errors[2] < 0.3


class TestStickers:
    @pytest.mark.parametrize(
        ("kind", "settings", "least", "most"),
        [
            ("text", {"text": (0.5, 0.5)}, 0.25, 0.55),
            ("logo", {"logo": (0.5, 0.5), "aspect": (1.0, 1.0)}, 0.1, 0.3),
            ("emoji", {"emoji": (0.5, 0.5)}, 0.15, 0.5),
        ],
    )
    def test_cover_a_part_and_leave_the_rest_alone(self, kind, settings, least, most):
        views = drawn(only(kind, **settings), plain_pictures())
        change = views.query - views.target
        is_greener = (change[:, 1] > 0.2) & (change[:, ::2] < 0).all(dim=1)
        share = is_greener.float().mean(dim=(1, 2))
        assert (share >= least).all()
        assert (share <= most).all()
        kept = (change.abs().amax(dim=1) < 1e-3).float().mean(dim=(1, 2))
        assert (kept + share > 0.8).all()  # soft edges lie between

    def test_text_lies_at_the_lower_edge_or_at_both(self):
        query = drawn(only("text", text=(0.5, 0.5)), plain_pictures()).query
        lower, upper = (((query[:, 1, row] > 0.9).any(dim=1)) for row in (-1, 0))
        assert lower.sum() >= NUM // 2
        assert 0 < (lower & upper).sum() < NUM

    def test_transparent_parts_show_the_picture(self):
        stickers = green_stickers()
        stickers.logos[..., 3] = 0
        views = drawn(only("logo"), stickers=stickers)
        torch.testing.assert_close(views.query, views.target, atol=1e-5, rtol=0)
