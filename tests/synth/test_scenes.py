import numpy as np
import pytest

from visil.synth.camera import moving_crop
from visil.synth.lettering import lettering
from visil.synth.scenes import distinct_scenes, look_alike, scene_pictures
from visil.synth.textures import TEXTURES, draw_palette, draw_still, procedural_pictures

SIZE_PX = (96, 54)


def pictures_of(scene, duration_s: float = 1.0) -> np.ndarray:
    return np.stack(list(scene_pictures(scene, duration_s=duration_s, fps=4, size_px=SIZE_PX)))


def test_a_scene_lasts_as_long_as_asked_and_moves():
    (scene,) = distinct_scenes(np.random.default_rng(0), 1)
    pictures = pictures_of(scene, duration_s=7.5)
    assert pictures.shape == (30, 54, 96, 3)
    assert pictures.dtype == np.uint8
    assert (np.abs(np.diff(pictures.astype(int), axis=0)).mean(axis=(1, 2, 3)) > 1).all()


def test_the_same_seed_gives_the_same_scenes_and_another_seed_others():
    first, again, other = (
        [pictures_of(scene) for scene in distinct_scenes(np.random.default_rng(seed), 3)] for seed in (7, 7, 8)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_no_two_scenes_are_of_one_texture_while_they_last():
    scenes = distinct_scenes(np.random.default_rng(0), len(TEXTURES))
    assert {scene.texture for scene in scenes} == set(TEXTURES)


def test_a_look_alike_shares_texture_and_colours_but_no_picture():
    rng = np.random.default_rng(0)
    (scene,) = distinct_scenes(rng, 1)
    other = look_alike(scene, rng)
    assert other.texture == scene.texture
    assert np.array_equal(other.palette, scene.palette)
    difference = np.abs(pictures_of(scene)[:, None].astype(int) - pictures_of(other)[None])  # every pair
    assert difference.mean(axis=(2, 3, 4)).min() > 10


@pytest.mark.parametrize("texture", TEXTURES)
def test_every_texture_fills_every_size_with_structure(texture):
    for size_px in ((96, 54), (31, 64), (8, 8)):
        rng = np.random.default_rng(3)
        still = draw_still(rng, texture, draw_palette(rng, 0.3), size_px)
        assert still.shape == (size_px[1], size_px[0], 3)
    assert draw_still(rng, texture, draw_palette(rng, 0.3), (96, 54)).std() > 5


def test_procedural_pictures_vary_and_follow_their_seed():
    first, again = (procedural_pictures(np.random.default_rng(5), count=8, size_px=(64, 48)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({picture.tobytes() for picture in first}) == 8
    assert {picture.shape for picture in first} == {(48, 64, 3)}


def test_a_moving_crop_glides_over_the_still_in_the_wanted_size():
    still = np.arange(200, dtype=np.uint8)[None, :, None] * np.ones((100, 1, 3), dtype=np.uint8)
    pictures = list(moving_crop(still, np.random.default_rng(1), num_pictures=20, size_px=(64, 48)))
    assert [picture.shape for picture in pictures] == [(48, 64, 3)] * 20
    steps = np.abs(np.diff([float(picture.mean()) for picture in pictures]))
    assert 0 < steps.max() < 20  # it moves, without jumps


def test_letters_are_drawn_as_in_the_font():
    assert ["".join(".#"[int(bit)] for bit in row) for row in lettering("L1", 7)] == [
        "#.......#...",
        "#......##...",
        "#.......#...",
        "#.......#...",
        "#.......#...",
        "#.......#...",
        "#####..###..",
    ]
