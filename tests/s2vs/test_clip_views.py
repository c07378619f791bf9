"""Weak and strong views: shapes, what is drawn once a clip and what once a frame, seeds, the page that shows them."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visil.cli.main import run as visil
from visil.errors import DataError
from visil.s2vs import overlay_assets
from visil.s2vs.clip_views import GlobalTransforms, PictureCrop, StrongView, WeakView
from visil.s2vs.frame_transforms import Blur, EmojiOverlay, FrameTransforms, TextOverlay
from visil.s2vs.overlay_assets import FONT_FAMILIES, augly_assets
from visil.s2vs.temporal import Reverse

SIDE = 64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def clip(num_frames=12, height=80, width=100):
    """Frame k is of the level 20 k, with a bright corner."""
    frames = (
        torch.arange(num_frames, dtype=torch.uint8)[:, None, None, None].mul(20).expand(-1, height, width, 3).clone()
    )
    frames[:, :20, :20] = 255
    return frames


def levels(view):
    """Of the middle of each frame."""
    return [int(frame[SIDE // 2, SIDE // 2, 0]) for frame in view]


class TestWeakView:
    def test_consecutive_frames_in_one_window(self):
        view = WeakView(5, SIDE, PictureCrop((0.8, 1.0), mirrored=0.0)).draw(clip(), seeded())
        assert view.shape == (5, SIDE, SIDE, 3)
        assert view.dtype == torch.uint8
        found = levels(view)
        assert [b - a for a, b in pairwise(found)] == [20] * 4
        corners = (view == 255).all(dim=-1).float()
        assert corners.amax() == 1
        assert (corners == corners[0]).all()

    def test_a_view_is_mirrored_as_a_whole(self):
        sides = Counter()
        for seed in range(40):
            view = WeakView(3, SIDE, PictureCrop((1.0, 1.0), aspect=(1.0, 1.0))).draw(clip(width=80), seeded(seed))
            is_left = (view[:, 2, 2] == 255).all(dim=-1)
            assert is_left.all() or not is_left.any()
            sides[bool(is_left[0])] += 1
        assert min(sides.values()) > 8

    @pytest.mark.parametrize("area", [(0.25, 0.25), (1.0, 1.0)])
    def test_the_window_has_its_share_of_the_picture(self, area):
        ramp = torch.arange(100, dtype=torch.uint8)[None, None, :, None].expand(1, 100, 100, 3).contiguous()
        view = WeakView(1, SIDE, PictureCrop(area, aspect=(1.0, 1.0), mirrored=0.0)).draw(ramp, seeded())
        seen = int(view[0, 5, -1, 0]) - int(view[0, 5, 0, 0])
        assert seen == pytest.approx(100 * area[0] ** 0.5, abs=4)


class TestStrongView:
    def test_everything_at_once_keeps_the_shape_and_the_seed_says_all(self):
        view = StrongView(8, SIDE)
        drawn = [view.draw(clip(), seeded(3)) for _ in range(2)]
        assert drawn[0].shape == (8, SIDE, SIDE, 3)
        assert drawn[0].equal(drawn[1])
        assert not drawn[0].equal(view.draw(clip(), seeded(4)))

    def test_torch_s_own_random_numbers_go_on_as_if_nothing_had_been_drawn(self):
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        StrongView(4, SIDE).draw(clip(), seeded())
        assert torch.rand(3).equal(expected)

    def test_time_comes_first(self):
        view = StrongView(12, SIDE, PictureCrop((1.0, 1.0), mirrored=0.0), Reverse(), None, None, None).draw(
            clip(), seeded()
        )
        assert levels(view) == [20 * (11 - number) for number in range(12)]

    def test_what_is_left_out_changes_nothing(self):
        bare = StrongView(12, SIDE, PictureCrop((1.0, 1.0), mirrored=0.0), None, None, None, None)
        assert levels(bare.draw(clip(), seeded())) == [20 * number for number in range(12)]

    def test_a_short_clip_is_repeated_or_the_view_is_shorter(self):
        assert StrongView(8, SIDE, frames=None).draw(clip(3), seeded()).shape[0] == 8
        assert StrongView(8, SIDE, temporal=None, frames=None, repeats=False).draw(clip(3), seeded()).shape[0] == 3


class TestGlobalTransforms:
    def test_all_frames_get_the_same(self):
        frames = torch.randint(256, (1, 3, SIDE, SIDE), generator=seeded(), dtype=torch.uint8).expand(4, -1, -1, -1)
        for seed in range(20):
            changed = GlobalTransforms().draw(frames.contiguous(), seeded(seed))
            assert (changed == changed[:1]).all()

    def test_they_differ_from_clip_to_clip(self):
        frames = torch.randint(256, (1, 3, SIDE, SIDE), generator=seeded(), dtype=torch.uint8)
        kinds = {GlobalTransforms().draw(frames, seeded(seed)).numpy().tobytes() for seed in range(30)}
        assert len(kinds) > 10


class TestFrameTransforms:
    FRAMES = torch.full((400, 32, 48, 3), 128, dtype=torch.uint8)

    @pytest.mark.parametrize("step", [TextOverlay(), EmojiOverlay()], ids=["text", "emoji"])
    def test_so_many_frames_have_an_overlay_somewhere(self, step):
        changed = FrameTransforms((step,)).draw(self.FRAMES, seeded())
        is_changed = (changed != self.FRAMES).flatten(1)
        share = is_changed.any(dim=1).float().mean().item()
        assert 0.2 < share <= 0.35  # of a text nothing may be left to see: no letter fits
        covered = is_changed[is_changed.any(dim=1)].float().mean(dim=1)
        assert covered.min() < 0.05
        assert covered.max() < 0.6

    def test_frames_draw_for_themselves(self):
        changed = FrameTransforms((EmojiOverlay(chance=1.0),)).draw(self.FRAMES[:5], seeded())
        assert len({frame.numpy().tobytes() for frame in changed}) == 5

    def test_emoji_are_cut_out_and_no_black_squares(self):
        """Published: those without an alpha band are pasted with their black ground."""
        white = torch.full((60, 72, 72, 3), 255, dtype=torch.uint8)
        changed = FrameTransforms((EmojiOverlay(chance=1.0, size=(1.0, 1.0), opacity=(1.0, 1.0)),)).draw(
            white, seeded()
        )
        corners = changed[:, [0, 0, -1, -1], [0, -1, 0, -1]].float().mean(dim=(1, 2))
        assert corners.median() == 255
        assert (corners < 60).float().mean() < 0.1

    def test_blur_takes_the_detail_of_half_of_the_frames(self):
        frames = torch.randint(256, (200, 32, 32, 3), generator=seeded(), dtype=torch.uint8)
        changed = FrameTransforms((Blur(),)).draw(frames, seeded(1))
        is_changed = (changed != frames).flatten(1).any(dim=1)
        assert is_changed.float().mean().item() == pytest.approx(0.5, abs=0.1)
        detail = changed.float().std(dim=(1, 2)).mean(dim=1)
        assert detail[is_changed].mean() < 0.7 * detail[~is_changed].mean()

    def test_the_order_is_text_emoji_blur(self):
        assert [type(step) for step in FrameTransforms().steps] == [TextOverlay, EmojiOverlay, Blur]

    def test_a_tiny_frame_stays_as_it_is(self):
        tiny = torch.full((20, 1, 1, 3), 7, dtype=torch.uint8)
        steps = (TextOverlay(chance=1.0), EmojiOverlay(chance=1.0))
        assert FrameTransforms(steps).draw(tiny, seeded()).equal(tiny)


class TestAssets:
    def test_only_fonts_under_the_open_font_license(self):
        assets = augly_assets()
        assert len(assets.fonts) > 100
        assert all(file.name.startswith(FONT_FAMILIES) for file in assets.fonts)
        assert len(assets.emoji) == 872

    @pytest.fixture
    def elsewhere(self):
        overlay_assets.augly_assets.cache_clear()
        yield
        overlay_assets.augly_assets.cache_clear()

    def test_without_the_package_it_says_what_to_install(self, monkeypatch, elsewhere):
        monkeypatch.setattr(overlay_assets.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(DataError, match=r'pip install "visil\[train\]"'):
            augly_assets()

    def test_another_version(self, monkeypatch, elsewhere, tmp_path):
        package = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
        monkeypatch.setattr(overlay_assets.importlib.util, "find_spec", lambda name: package)
        with pytest.raises(DataError, match=r"holds no fonts or no emoji"):
            augly_assets()


class TestPreview:
    @pytest.mark.parametrize("kind", ["video", "frames"])
    def test_a_page_with_all_views(self, clips, frames_folder, tmp_path, kind):
        source = clips / "clip_0.mp4" if kind == "video" else frames_folder / "clip7"
        page = tmp_path / "views.html"
        assert visil(["s2vs", "preview", str(source), "--out", str(page)]) == 0
        text = page.read_text(encoding="utf-8")
        assert text.count("<img") == 6
        assert text.count("data:image/jpeg;base64,") == 6
        assert "http" not in text

    def test_names_are_data(self, frames_folder, tmp_path):
        import shutil

        folder = Path(shutil.copytree(frames_folder / "clip0", tmp_path / "<b>&x"))
        visil(["s2vs", "preview", str(folder), "--out", str(tmp_path / "views.html")])
        text = (tmp_path / "views.html").read_text(encoding="utf-8")
        assert "<b>&x" not in text
        assert "&lt;b&gt;&amp;x" in text

    def test_what_is_no_clip(self, tmp_path, capsys):
        assert visil(["s2vs", "preview", str(tmp_path / "absent"), "--out", str(tmp_path / "x.html")]) == 2
        assert "absent: no such file or folder" in capsys.readouterr().err
        Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
        (tmp_path / "empty").mkdir()
        assert visil(["s2vs", "preview", str(tmp_path / "empty"), "--out", str(tmp_path / "x.html")]) == 2
        assert "holds no frames" in capsys.readouterr().err
