"""scripts/pack_pictures.py over a small data folder: what is taken, what shows the same, what is written down."""

from __future__ import annotations

import csv
import importlib.util
import io
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from visil.errors import DataError
from visil.s2vs.backbone.pictures import PackedPictures
from visil.synth.video_file import write_video

pytest.importorskip("imagehash")
from PIL import Image  # it comes with imagehash

SCRIPT = Path(__file__).parents[3] / "scripts" / "pack_pictures.py"
SIDE = 32
# split, ship_ok, source, path, what it shows; the tables' other columns do not matter here
STILLS = {
    "000003.jpg": ("train", "yes", "hills", "a.jpg", 1),
    "000004.jpg": ("train", "no", "hills", "b.jpg", 2),
    "000005.jpg": ("train", "yes", "comic", "page.jpg#0", 3),
    "000006.jpg": ("train", "yes", "comic", "page.jpg#1", 4),
    "000007.jpg": ("train", "yes", "sea", "c.jpg", -1),  # mirror image of the first
    "000008.jpg": ("train", "yes", "sea", "d.jpg", 5),  # repeats the one of the test split
    "000010.jpg": ("val", "yes", "sea", "e.jpg", 6),
    "000011.jpg": ("test", "yes", "sea", "f.jpg", 5),
}
VIDEOS = {
    "walk.mp4": ("7", "train", "yes", 11),
    "walk__part.mp4": ("7", "train", "yes", 12),
    "swim.mp4": ("8", "train", "no", 13),
    "run.mp4": ("9", "test", "yes", 14),
}
FOOTAGE = {
    "sky_1.mp4": ("sky", "train", "yes", 15),
    "sky_2.mp4": ("sky", "train", "yes", 16),
    "7.mp4": ("7", "train", "yes", 17),  # a component of another folder than the videos' one of that name
    "lab.mp4": ("lab", "train", "no", 18),
    "road.mp4": ("road", "val", "yes", 19),
    "echo.mp4": ("7", "train", "yes", 14),  # shows what a video of the test split shows; others of its component stay
}
MOST_FRAMES = 8  # of a component


def pattern(number: int) -> np.ndarray:
    """uint8 [60, 80, 3]: coarse noise, one for every number; a negative number is the mirror image of its picture."""
    cells = np.random.default_rng(abs(number)).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = cells.repeat(10, axis=0).repeat(10, axis=1)
    return picture[:, ::-1] if number < 0 else picture


def write_table(path, columns, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    images = folder / "images"
    images.mkdir()
    with tarfile.open(images / "images-000.tar", "w") as shard:
        for name, (*_, shown) in STILLS.items():
            content = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(pattern(shown))).save(content, "JPEG", quality=90)
            member = tarfile.TarInfo(name)
            member.size = content.tell()
            shard.addfile(member, io.BytesIO(content.getvalue()))
    write_table(
        images / "index.csv",
        ["shard", "name", "split", "ship_ok", "source", "licence", "category", "path"],
        [
            ["images-000.tar", name, split, ship_ok, source, f"licence of {source}", "", path]
            for name, (split, ship_ok, source, path, _) in STILLS.items()
        ],
    )
    for kind, rows in (("videos", VIDEOS), ("footage", FOOTAGE)):
        clips = folder / kind
        clips.mkdir()
        for name, (*_, shown) in rows.items():
            write_video(clips / name, [pattern(shown)] * 10, fps=2)
        write_table(
            clips / "split.csv",
            ["file", "component", "split", "train_licence_ok", "ship_ok"],
            [[name, component, split, "yes", ship_ok] for name, (component, split, ship_ok, _) in rows.items()],
        )
        table = [[name, "CC0", f"maker of {kind}"] for name in rows]
        write_table(clips / "manifest.csv", ["file", "license", "repository"], table)
    return folder


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pack_pictures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack_pictures"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    module.MAX_FRAMES_PER_COMPONENT = MOST_FRAMES
    yield module
    del sys.modules["pack_pictures"]


@pytest.fixture(scope="module")
def facts_and_file(script, data, tmp_path_factory):
    file = tmp_path_factory.mktemp("packed") / "pictures.safetensors"
    return script.pack(data, file, side_px=SIDE), file


@pytest.fixture(scope="module")
def packed(facts_and_file):
    return PackedPictures.read(facts_and_file[1])


def shown_in(packed):
    """Numbers of the patterns that the packed pictures are nearest to, in their order."""
    known = [shown for rows in (STILLS, VIDEOS, FOOTAGE) for *_, shown in rows.values()]
    small = [np.asarray(Image.fromarray(np.ascontiguousarray(pattern(n))).resize((SIDE, SIDE))) for n in known]
    apart = (packed.pictures[:, None].float() - torch.tensor(np.stack(small)).float()).abs().mean(dim=(2, 3, 4))
    assert apart.amin(dim=1).max() < 15
    return [known[i] for i in apart.argmin(dim=1).tolist()]


def test_train_rows_that_may_ship_are_taken_but_for_repeats_of_other_splits(packed):
    shown = shown_in(packed)
    assert shown[:4] == [1, 3, 4, -1]
    assert set(shown[4:]) == {11, 12, 15, 16, 17}
    assert shown.count(17) == MOST_FRAMES / 2  # the other half of its component repeats one of the test split


def test_of_a_component_so_many_frames_are_taken_spread_over_its_files(packed):
    shown = shown_in(packed)
    assert shown.count(11) + shown.count(12) == shown.count(15) + shown.count(16) == MOST_FRAMES
    assert shown.count(11) == shown.count(15) == MOST_FRAMES / 2


def test_what_shows_the_same_is_a_group(packed):
    first, panel, other_panel, mirrored, *frames = packed.groups.tolist()
    assert first == mirrored  # by its hash
    assert panel == other_panel  # by its path
    walks, skies, others = frames[:MOST_FRAMES], frames[MOST_FRAMES : 2 * MOST_FRAMES], frames[2 * MOST_FRAMES :]
    assert [len(set(group)) for group in (walks, skies, others)] == [1, 1, 1]  # by the component of their folder
    assert len({first, panel, walks[0], skies[0], others[0]}) == 5


def test_sources_and_rule_are_written_down(packed, facts_and_file):
    facts, _ = facts_and_file
    assert {(s.name, s.licence): s.num_pictures for s in packed.sources} == {
        ("maker of videos", "CC0"): 8,
        ("maker of footage", "CC0"): 12,
        ("comic", "licence of comic"): 2,
        ("hills", "licence of hills"): 1,
        ("sea", "licence of sea"): 1,
    }
    assert facts["pictures"] == len(packed) == 24
    assert packed.num_stills == 4
    assert facts["repeats_left_out"] == 5  # a still and four frames
    assert packed.side == SIDE
    assert "ship_ok = yes" in packed.rule


def test_stickers_are_pictures_with_transparency(packed):
    for kind, drawn in vars(packed.stickers).items():
        alpha = drawn[..., 3]
        assert alpha.max() == 255
        assert (alpha.amax(dim=(1, 2)) > 170).all()
        covered = drawn[alpha > 0][:, :3].float()
        assert covered.std(dim=0).min() > 30, kind  # of many colours
        assert len({sticker.numpy().tobytes() for sticker in drawn}) > 20
    emoji = packed.stickers.emoji[..., 3]
    assert (emoji[:, 0, 0] == 0).all()  # as drawn, not its memory in another order
    assert (emoji[:, 32, 32] == 255).all()


def test_the_same_data_give_the_same_file(script, data, facts_and_file, tmp_path):
    script.pack(data, tmp_path / "again.safetensors", side_px=SIDE)
    assert (tmp_path / "again.safetensors").read_bytes() == facts_and_file[1].read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"shard,name,split,ship_ok,source,licence,path\n../a.tar,0.jpg,train,yes,s,l,p\n",
            "is not the name of a file",
        ),
        (b"shard,name,split,ship_ok,source,licence\n", "lacks the column 'path'"),
        (b"\xff\xfe", "cannot be read as a table in UTF-8"),
        (b"", "lacks the column"),
    ],
)
def test_a_table_that_cannot_be_used_ends_with_one_line(script, tmp_path, content, said):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "index.csv").write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        script.pack(tmp_path, tmp_path / "packed.safetensors", side_px=SIDE)
    assert "index.csv" in str(caught.value)


class TestBadData:
    """Every message names the file."""

    @pytest.fixture
    def broken(self, data, tmp_path):
        shutil.copytree(data, tmp_path / "data")
        return tmp_path / "data"

    def test_a_shard_that_is_cut_short(self, script, broken, tmp_path):
        shard = broken / "images/images-000.tar"
        shard.write_bytes(shard.read_bytes()[:3000])
        with pytest.raises(DataError, match=r"images-000\.tar: is no whole tar file \(.*\); get it again"):
            script.pack(broken, tmp_path / "out")

    def test_a_shard_that_lacks_a_picture(self, script, broken, tmp_path):
        """Also where it ends between two of them, which tar does not notice."""
        shard, *others = (broken / "images").glob("*.tar")
        assert not others
        with tarfile.open(shard) as tar:
            second = tar.getmembers()[1]
        shard.write_bytes(shard.read_bytes()[: second.offset])
        with pytest.raises(DataError, match=r"images-000\.tar: has no .*, which index\.csv names .*; get it again"):
            script.pack(broken, tmp_path / "out")

    def test_a_shard_that_is_something_else(self, script, broken, tmp_path):
        (broken / "images/images-000.tar").write_text("nothing")
        with pytest.raises(DataError, match=r"^[^\n]*images-000\.tar: is no whole tar file \([^\n]*\); get it again$"):
            script.pack(broken, tmp_path / "out")

    def test_a_picture_that_is_none(self, script, broken, tmp_path):
        name = next(iter(STILLS))
        with tarfile.open(broken / "images/images-000.tar", "w") as shard:
            member = tarfile.TarInfo(name)
            member.size = 7
            shard.addfile(member, io.BytesIO(b"nothing"))
        with pytest.raises(DataError, match=rf"images-000\.tar: {name} cannot be read as a picture"):
            script.pack(broken, tmp_path / "out")

    def test_tables_without_rows(self, script, broken, tmp_path):
        for table in ("images/index.csv", "videos/split.csv", "footage/split.csv"):
            (broken / table).write_text((broken / table).read_text().splitlines()[0] + "\n")
        with pytest.raises(DataError, match="no row is of the train split and may ship"):
            script.pack(broken, tmp_path / "out")
