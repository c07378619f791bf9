"""What each edit does to a picture: sizes, places, colours; the same for every picture of a video."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.synth import picture_edits
from visil.synth.stickers import OPAQUE, Sticker, caption, emoji, logo

HEIGHT, WIDTH = 90, 160
MAKERS = {
    maker.__name__: (maker, strength)
    for maker, strength in [
        (picture_edits.crop, 0.4),
        (picture_edits.mirror, 1),
        (picture_edits.rotation, 20),
        (picture_edits.perspective, 0.3),
        (picture_edits.letterbox, 0.3),
        (picture_edits.aspect, 1.5),
        (picture_edits.grayscale, 1),
        (picture_edits.brightness_contrast, 2),
        (picture_edits.blur, 20),
        (picture_edits.noise, 40),
        (picture_edits.shrink, 144),
        (picture_edits.text, 0.4),
        (picture_edits.logo_in_corner, 0.4),
        (picture_edits.emojis, 0.3),
        (picture_edits.border, 0.15),
        (picture_edits.turn, 90),
        (picture_edits.vertical_blurred, 0.6),
        (picture_edits.screen_filmed, 0.3),
    ]
}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def gradient() -> np.ndarray:
    """Red grows to the right, green downwards."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 250 / WIDTH, y * 250 / HEIGHT, np.full_like(x, 90)], axis=-1).astype(np.uint8)


def plain(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, dtype=np.uint8)


@pytest.mark.parametrize("name", MAKERS)
def test_an_edit_is_the_same_for_every_picture_and_changes_none_in_place(name):
    maker, strength = MAKERS[name]
    edit = maker(generator(), HEIGHT, WIDTH, strength)
    picture = gradient()
    first, second = edit(picture), edit(picture)
    assert np.array_equal(picture, gradient())
    assert first.dtype == np.uint8
    if name != "noise":
        assert np.array_equal(first, second)
    assert np.array_equal(first, maker(generator(), HEIGHT, WIDTH, strength)(picture))


def test_a_crop_keeps_its_share_of_the_area_and_the_aspect():
    cropped = picture_edits.crop(generator(), HEIGHT, WIDTH, 0.3)(gradient())
    assert cropped.shape[0] * cropped.shape[1] == pytest.approx(0.3 * HEIGHT * WIDTH, rel=0.03)
    assert cropped.shape[1] / cropped.shape[0] == pytest.approx(WIDTH / HEIGHT, rel=0.03)
    corner = cropped[0, 0].astype(int)
    top, left = round(corner[1] * HEIGHT / 250), round(corner[0] * WIDTH / 250)
    assert np.abs(cropped.astype(int) - gradient()[top:, left:][: cropped.shape[0], : cropped.shape[1]]).max() <= 3


def test_mirror_exchanges_left_and_right():
    assert np.array_equal(picture_edits.mirror(generator(), HEIGHT, WIDTH, 1)(gradient()), gradient()[:, ::-1])


def test_rotation_by_90_degrees_turns_a_square_exactly_one_way_or_the_other():
    square = gradient()[:, :HEIGHT]
    turned = {picture_edits.rotation(generator(seed), HEIGHT, HEIGHT, 90)(square).tobytes() for seed in range(8)}
    assert turned == {np.ascontiguousarray(np.rot90(square, k)).tobytes() for k in (1, 3)}


def test_rotation_keeps_the_middle_and_blackens_the_corners():
    turned = picture_edits.rotation(generator(), HEIGHT, WIDTH, 25)(gradient())
    assert np.abs(turned.astype(int) - gradient())[HEIGHT // 2, WIDTH // 2].max() <= 3
    assert sum(turned[y, x].max() == 0 for y in (0, -1) for x in (0, -1)) >= 2


def test_perspective_moves_every_corner_inwards_and_keeps_straight_lines():
    for seed in range(5):
        seen = picture_edits.perspective(generator(seed), HEIGHT, WIDTH, 0.3)(plain(200)) > 100
        assert 0.3 < seen.mean() < 0.95
        rows = seen[..., 0].any(axis=1)
        assert rows.sum() <= HEIGHT
        first, last = np.argmax(seen[..., 0], axis=1)[rows], np.argmax(seen[:, ::-1, 0], axis=1)[rows]
        inside = seen[..., 0].sum(axis=1)[rows]
        assert np.array_equal(inside, WIDTH - first - last)  # convex: every row is one run


def test_letterbox_keeps_the_whole_picture_between_black_bars():
    shapes = set()
    for seed in range(6):
        boxed = picture_edits.letterbox(generator(seed), HEIGHT, WIDTH, 0.25)(plain(200))
        shapes.add(boxed.shape)
        assert (boxed > 0).all(axis=-1).sum() == HEIGHT * WIDTH
        assert (boxed == 0).all(axis=-1).mean() == pytest.approx(0.25, abs=0.01)
    assert len(shapes) == 2  # bars above and below, or at the sides


def test_aspect_squeezes_one_side():
    shapes = {picture_edits.aspect(generator(seed), HEIGHT, WIDTH, 2)(gradient()).shape for seed in range(6)}
    assert shapes == {(HEIGHT // 2, WIDTH, 3), (HEIGHT, WIDTH // 2, 3)}


def test_grayscale_leaves_lightness_only():
    grey = picture_edits.grayscale(generator(), HEIGHT, WIDTH, 1)(gradient())
    assert (grey == grey[..., :1]).all()
    assert grey[0, -1, 0] > grey[0, 0, 0]


def test_contrast_goes_both_ways_and_keeps_the_order_of_levels():
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=-1)
    spreads = []
    for seed in range(8):
        edited = picture_edits.brightness_contrast(generator(seed), 1, 256, 2)(ramp)[0, :, 0].astype(int)
        assert (np.diff(edited) >= 0).all()
        spreads.append(int(edited[134] - edited[118]))
    assert set(spreads) == {8, 32}


def test_blur_removes_what_is_finer_than_its_lines():
    stripes = (np.arange(HEIGHT) % 2 * 200).astype(np.uint8)[:, None, None] * np.ones((1, WIDTH, 3), dtype=np.uint8)
    assert picture_edits.blur(generator(), HEIGHT, WIDTH, 15)(stripes).std() < 5 < stripes.std()
    assert np.array_equal(picture_edits.blur(generator(), HEIGHT, WIDTH, 500)(stripes), stripes)


def test_noise_has_its_deviation_and_differs_from_picture_to_picture():
    edit = picture_edits.noise(generator(), HEIGHT, WIDTH, 20)
    first, second = edit(plain(128)).astype(float), edit(plain(128)).astype(float)
    assert first.std() == pytest.approx(20, rel=0.05)
    assert first.mean() == pytest.approx(128, abs=1)
    assert (first - second).std() == pytest.approx(20 * 2**0.5, rel=0.05)


def test_text_covers_its_share_at_the_edges_and_leaves_the_middle():
    for seed in range(6):
        changed = (picture_edits.text(generator(seed), HEIGHT, WIDTH, 0.48)(plain(128)) != 128).any(axis=-1)
        assert changed[: HEIGHT // 4].any()
        assert changed[-HEIGHT // 4 :].any()
        assert not changed[int(0.3 * HEIGHT) : int(0.7 * HEIGHT)].any()
        one_line = (picture_edits.text(generator(seed), HEIGHT, WIDTH, 0.12)(plain(128)) != 128).any(axis=(1, 2))
        assert not one_line[: int(0.85 * HEIGHT)].any()


def test_a_logo_lies_in_one_of_the_corners():
    places = set()
    for seed in range(12):
        picture = picture_edits.logo_in_corner(generator(seed), HEIGHT, WIDTH, 0.3)(plain(128))
        rows, columns = np.nonzero((picture != 128).any(axis=-1))
        assert np.ptp(columns) + 1 <= 0.3 * WIDTH
        places.add((bool(rows.mean() > HEIGHT / 2), bool(columns.mean() > WIDTH / 2)))
    assert len(places) == 4


def test_emoji_add_up_to_their_share():
    changed = [
        (picture_edits.emojis(generator(seed), HEIGHT, WIDTH, 0.3)(plain(128)) != 128).any(axis=-1).mean()
        for seed in range(6)
    ]
    assert 0.1 < min(changed) <= max(changed) < 0.31  # discs in their squares, and some lie over others


def test_a_border_lies_around_the_whole_picture():
    grounds = set()
    for seed in range(12):
        framed = picture_edits.border(generator(seed), HEIGHT, WIDTH, 0.2)(gradient())
        rows, columns = round(0.6 * HEIGHT), round(0.6 * WIDTH)
        top, left = (HEIGHT - rows) // 2, (WIDTH - columns) // 2
        inner = framed[top : top + rows, left : left + columns]
        assert np.abs(inner[0, 0].astype(int) - gradient()[0, 0]).max() < 6
        assert np.abs(inner[-1, -1].astype(int) - gradient()[-1, -1]).max() < 6
        grounds.add(framed[:top].tobytes())
    assert len(grounds) > 3


def test_a_turn_by_90_degrees_goes_either_way_and_by_180_upside_down():
    turned = {picture_edits.turn(generator(seed), HEIGHT, WIDTH, 90)(gradient()).tobytes() for seed in range(8)}
    assert turned == {np.rot90(gradient(), k).tobytes() for k in (1, 3)}
    upside_down = picture_edits.turn(generator(), HEIGHT, WIDTH, 180)(gradient())
    assert np.array_equal(upside_down, gradient()[::-1, ::-1])


def test_a_wide_picture_lies_in_the_middle_of_a_vertical_one_over_a_blurred_copy():
    striped = gradient()
    striped[..., 2] = np.arange(WIDTH) % 8 // 4 * 200  # fine stripes in blue: what is blurred has none
    for kept, rows in ((1, round(HEIGHT * HEIGHT / WIDTH)), (0.6, round(HEIGHT * HEIGHT / (0.6 * WIDTH)))):
        vertical = picture_edits.vertical_blurred(generator(), HEIGHT, WIDTH, kept)(striped).astype(int)
        assert vertical.shape == (160, 90, 3)
        is_sharp = np.abs(np.diff(vertical[..., 2], axis=1)).mean(axis=1) > 40
        assert np.ptp(np.flatnonzero(is_sharp)) + 1 == is_sharp.sum() == pytest.approx(rows, abs=1)
        assert np.flatnonzero(is_sharp).mean() == pytest.approx(79.5, abs=1)
        assert np.diff(vertical[80, [5, 45, 85], 0]) == pytest.approx(
            kept * 110, abs=15
        )  # red grows over the width kept


def test_a_tall_picture_lies_in_a_wide_one():
    tall = np.ascontiguousarray(gradient().swapaxes(0, 1))
    wide = picture_edits.vertical_blurred(generator(), WIDTH, HEIGHT, 1)(tall)
    assert wide.shape == (90, 160, 3)


def test_a_filmed_screen_is_whole_soft_and_surrounded_by_a_bezel_and_a_dim_room():
    for seed in range(5):
        edit = picture_edits.screen_filmed(generator(seed), HEIGHT, WIDTH, 0.12)
        dark, bright = edit(plain(0)).astype(int), edit(plain(230)).astype(int)
        on_screen = (bright - dark).max(axis=-1) > 0
        assert 0.6 < on_screen.mean() < 0.98
        assert (bright >= dark).all()
        assert bright[on_screen].mean() > 120  # it shines
        assert bright[~on_screen].mean() < 120
    stripes = (np.arange(WIDTH) % 2 * 200).astype(np.uint8)[None, :, None] * np.ones((HEIGHT, 1, 3), dtype=np.uint8)
    assert np.abs(np.diff(edit(stripes).astype(int), axis=1))[40:50, 60:100].mean() < 30


def test_a_filmed_screen_has_a_glare_that_stays_where_it_is():
    edit = picture_edits.screen_filmed(generator(2), HEIGHT, WIDTH, 0.3)
    plain_screen = edit(plain(0)).astype(int)
    assert plain_screen.max() > 120
    assert np.array_equal(edit(plain(0)), plain_screen)


class TestStickers:
    def test_are_mixed_by_their_opacity(self):
        sticker = Sticker(np.full((2, 2, 3), 200, dtype=np.uint8), np.array([[0, OPAQUE], [OPAQUE // 2, 0]])[..., None])
        picture = np.full((2, 2, 3), 100, dtype=np.uint8)
        sticker.put_on(picture, 0, 0)
        assert picture[..., 0].tolist() == [[100, 200], [150, 100]]

    @given(st.integers(-12, 30), st.integers(-12, 30))
    @settings(deadline=None, max_examples=40)
    def test_are_cut_off_at_the_edges(self, top, left):
        sticker = Sticker(np.full((8, 8, 3), 200, dtype=np.uint8), np.full((8, 8, 1), OPAQUE, dtype=np.uint16))
        picture = np.zeros((20, 20, 3), dtype=np.uint8)
        sticker.put_on(picture, top, left)
        expected = np.zeros((60, 60), dtype=np.uint8)
        expected[20 + top : 28 + top, 20 + left : 28 + left] = 200
        assert np.array_equal(picture[..., 0], expected[20:40, 20:40])

    @pytest.mark.parametrize("size", [6, 9, 40])
    def test_of_every_kind_are_drawn_at_every_size(self, size):
        for seed in range(20):
            assert emoji(generator(seed), size).alpha.max() == OPAQUE
            assert logo(generator(seed), size).alpha.max() >= 0.6 * OPAQUE
            assert caption(generator(seed), size, 2 * size, num_lines=1).colours.shape == (size, 2 * size, 3)

    def test_of_emoji_are_of_several_kinds(self):
        assert len({emoji(generator(seed), 24).colours.tobytes() for seed in range(60)}) == 7
