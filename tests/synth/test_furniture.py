"""Two videos under the same furniture share it to the pixel and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.errors import DataError
from visil.synth.furniture import FURNITURE, furnish
from visil.synth.video_file import write_video

FPS = 8
NUM_PICTURES = 16
HEIGHT, WIDTH = 96, 128
seeds = st.integers(0, 2**32 - 1)
CLIPS = sorted(kind for kind, furniture in FURNITURE.items() if furniture.clip)


def video(first_level: int, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """Grey pictures, each 2 levels lighter than the one before."""
    return [np.full((height, width, 3), first_level + 2 * k, dtype=np.uint8) for k in range(NUM_PICTURES)]


def furnished(kind: str, seed: int, first_level: int, **size) -> np.ndarray:
    return np.stack(list(furnish(video(first_level, **size), kind, seed, fps=FPS)))  # [T, H, W, 3]


def shared_and_own(dark: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels [H, W] are the same in both, and in which each shows its own video, over all their pictures."""
    shared = (dark == light).all(axis=(0, 3))
    own = (dark == np.stack(video(60))) & (light == np.stack(video(150)))
    return shared, own.all(axis=(0, 3))


def test_every_kind_that_users_have_is_there():
    kinds = "black_lead white_lead colour_bars title_card outro channel_logo border letterbox"
    assert list(FURNITURE) == kinds.split()
    assert all((furniture.clip is None) != (furniture.edit is None) for furniture in FURNITURE.values())


@pytest.mark.parametrize("kind", CLIPS)
@given(seed=seeds)
@settings(max_examples=10)
def test_a_clip_is_the_same_in_two_videos_and_the_videos_are_unchanged(kind, seed):
    dark, light = furnished(kind, seed, 60), furnished(kind, seed, 150)
    num_added = len(dark) - NUM_PICTURES
    shortest_s, longest_s = FURNITURE[kind].strength
    assert round(shortest_s * FPS) <= num_added <= round(longest_s * FPS)
    first = 0 if FURNITURE[kind].is_after else num_added
    content = slice(first, first + NUM_PICTURES)
    np.testing.assert_array_equal(np.delete(dark, content, axis=0), np.delete(light, content, axis=0))
    np.testing.assert_array_equal(dark[content], video(60))
    np.testing.assert_array_equal(light[content], video(150))


@pytest.mark.parametrize("kind", ["border", "letterbox"])
@given(seed=seeds)
def test_a_frame_covers_the_same_edges_of_two_videos_and_leaves_the_rest(kind, seed):
    dark, light = furnished(kind, seed, 60), furnished(kind, seed, 150)
    shared, own = shared_and_own(dark, light)
    edge = shared[:, WIDTH // 2].argmin() / HEIGHT
    smallest, largest = FURNITURE[kind].strength
    assert smallest - 0.01 < edge < largest + 0.01
    across = edge if kind == "border" else 0
    assert own.mean() == pytest.approx((1 - 2 * edge) * (1 - 2 * across), abs=0.03)
    assert (shared | own).all()


@given(seed=seeds)
@settings(max_examples=10)
def test_a_logo_lies_in_one_corner_of_two_videos_and_leaves_the_rest(seed):
    _, own = shared_and_own(furnished("channel_logo", seed, 60), furnished("channel_logo", seed, 150))
    rows, columns = np.nonzero(~own)
    smallest, largest = FURNITURE["channel_logo"].strength
    assert WIDTH * smallest - 2 <= np.ptp(columns) + 1 <= WIDTH * largest + 2
    assert np.ptp(rows) < HEIGHT / 8
    assert rows.max() < HEIGHT / 2 or rows.min() > HEIGHT / 2
    assert columns.max() < WIDTH / 2 or columns.min() > WIDTH / 2


@pytest.mark.parametrize("kind", sorted(set(FURNITURE) - {"black_lead", "white_lead", "letterbox", "colour_bars"}))
def test_another_seed_is_another_furniture(kind):
    shown = [furnished(kind, seed, 60) for seed in range(3)]
    shortest = min(map(len, shown))
    assert not np.array_equal(shown[0][:shortest], shown[1][:shortest])
    assert not np.array_equal(shown[1][:shortest], shown[2][:shortest])


@pytest.mark.parametrize("kind", FURNITURE)
@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (241, 77)])
def test_it_goes_around_pictures_of_any_size(kind, height, width):
    shown = furnished(kind, 3, 60, height=height, width=width)
    assert shown.shape[1:] == (height, width, 3)
    assert shown.dtype == np.uint8


def test_plain_leads_and_bars_have_their_colours():
    assert furnished("black_lead", 0, 60)[0].max() == 0
    assert furnished("white_lead", 0, 60)[0].min() == 255
    bars = furnished("colour_bars", 0, 60)[0][HEIGHT // 4]  # [W, 3]
    colours = [tuple((pixel > 127).tolist()) for pixel in bars[WIDTH // 14 :: WIDTH // 7][:7]]
    assert len(set(colours)) == 7
    assert colours[0] == (True, True, True)
    bars = furnished("letterbox", 0, 60)
    assert bars[:, : HEIGHT // 10].max() == bars[:, -(HEIGHT // 10) :].max() == 0


def test_the_logo_of_the_outro_moves_in():
    outro = furnished("outro", 1, 60)[NUM_PICTURES:]
    assert not np.array_equal(outro[0], outro[-1])
    np.testing.assert_array_equal(outro[-2], outro[-1])


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for kind in FURNITURE:
        for name in ("a.mp4", "b.mp4"):
            write_video(tmp_path / name, furnish(video(60), kind, 4, fps=FPS), FPS)
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes(), kind


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(DataError, match=r"no furniture 'sofa', use one of black_lead, .*letterbox"):
        next(furnish(video(60), "sofa", 0, fps=FPS))


def test_nothing_cannot_be_furnished():
    with pytest.raises(ValueError, match="no pictures to put a border around"):
        next(furnish([], "border", 0, fps=FPS))
