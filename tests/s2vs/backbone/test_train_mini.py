"""The recipe of `mini`: windows, the teacher, stages, the bundle, and what it says when something is missing."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock
from safetensors.torch import save_file

from visil.errors import DataError
from visil.model.bundle import load_bundle
from visil.model.catalogue import find_bundle
from visil.model.model import Model
from visil.s2vs.backbone.furniture import FurnitureSettings
from visil.s2vs.backbone.overlays import Stickers
from visil.s2vs.backbone.pictures import FORMAT, PackedPictures
from visil.s2vs.backbone.teacher import TeacherVectors
from visil.s2vs.backbone.training import Training
from visil.s2vs.backbone.training_settings import TrainingSettings
from visil.values import Frames, VideoInfo

SCRIPT = Path(__file__).parents[3] / "scripts" / "train_mini.py"
NUM_PICTURES, SIDE = 12, 48
SETTINGS = TrainingSettings(
    backbone="test_resnet",
    dim=8,
    sides_px=((0.0, 32),),
    steps=2,
    batch_size=8,
    frame_share=0.2,
    hard_share=0.25,
    furniture=FurnitureSettings(share=0.8, block_size=2),
    bank_size=20,
    num_friends=2,
    precision="fp32",
    learning_rate=5e-3,
)


@pytest.fixture(scope="module")
def train_mini():
    spec = importlib.util.spec_from_file_location("train_mini", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_mini"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["train_mini"]


@pytest.fixture(scope="module")
def pictures():
    coarse = torch.rand(NUM_PICTURES, 3, 5, 5, generator=torch.Generator().manual_seed(5))
    shown = F.interpolate(coarse, size=SIDE, mode="bilinear").movedim(1, -1).mul(255).to(torch.uint8).contiguous()
    stickers = Stickers(*torch.zeros(3, 1, 8, 8, 4, dtype=torch.uint8))
    return PackedPictures(shown, torch.arange(NUM_PICTURES), stickers, NUM_PICTURES - 2, (), "made up")


@pytest.fixture(scope="module")
def student(pictures, tmp_path_factory):
    boxes = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(NUM_PICTURES, 2, 4).contiguous()
    vectors = F.normalize(torch.randn(NUM_PICTURES, 2, 12, generator=torch.Generator().manual_seed(1)), dim=-1)
    training = Training(
        SETTINGS, pictures, TeacherVectors(boxes, vectors), tmp_path_factory.mktemp("run"), device="cpu"
    )
    training.run()
    return training.finished(SIDE)


def describe(images):
    """In place of the teacher: directions that depend on the colours in the quarters of a picture."""
    quarters = images.reshape(len(images), 2, images.shape[1] // 2, 2, images.shape[2] // 2, 3).mean(axis=(2, 4))
    vectors = quarters.reshape(len(images), 12) - 120.0
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def frames(images):
    side = images.shape[1]
    info = VideoInfo((side, side), (side, side), (side, side), 0, "raw", 0.0)
    return Frames(images, np.arange(len(images), dtype=np.float64), info, float(len(images)))


class TestWindows:
    def test_the_first_is_the_whole_picture_and_all_lie_inside(self, train_mini):
        boxes = train_mini.windows(500, torch.Generator().manual_seed(0))
        assert boxes.shape == (500, train_mini.NUM_WINDOWS, 4)
        assert (boxes[:, 0] == torch.tensor([0.0, 0.0, 1.0, 1.0])).all()
        assert boxes.min() >= 0
        assert (boxes[..., :2] + boxes[..., 2:]).max() <= 1 + 1e-6

    def test_the_others_have_the_stated_areas_and_aspects(self, train_mini):
        boxes = train_mini.windows(2000, torch.Generator().manual_seed(0))[:, 1:]
        height, width = boxes[..., 2], boxes[..., 3]
        whole = (height < 1) & (width < 1)  # of the others a side was cut off
        low, high = train_mini.WINDOW_AREA
        area, aspect = (height * width)[whole], (height / width)[whole]
        assert low - 1e-5 <= area.min() < low + 0.02
        assert high - 0.1 < area.max() <= high + 1e-5
        assert aspect.log().abs().max().exp() <= train_mini.WINDOW_ASPECT + 1e-4
        assert aspect.log().abs().max().exp() > 1.3

    def test_they_are_those_of_the_seed(self, train_mini):
        def drawn(seed):
            return train_mini.windows(9, torch.Generator().manual_seed(seed))

        assert drawn(1).equal(drawn(1))
        assert not drawn(1).equal(drawn(2))


class TestTeaching:
    @pytest.fixture
    def teach(self, train_mini, tmp_path):
        def made(pictures, describe=describe, work="work", origin="of a test"):
            (tmp_path / work).mkdir(exist_ok=True)
            boxes = train_mini.windows(len(pictures), torch.Generator().manual_seed(0))
            train_mini.teach(pictures, boxes, describe, tmp_path / work, origin)
            return TeacherVectors.read(tmp_path / work / train_mini.TEACHER, origin)

        return made

    def test_every_window_has_a_vector(self, train_mini, teach, pictures):
        taught = teach(pictures)
        assert taught.boxes.equal(train_mini.windows(NUM_PICTURES, torch.Generator().manual_seed(0)))
        assert taught.vectors.shape == (NUM_PICTURES, train_mini.NUM_WINDOWS, 12)
        assert taught.vectors.dtype == torch.float16

    def test_the_teacher_sees_the_window_and_nothing_else(self, teach, pictures):
        """A picture that is nothing but the window has, as a whole, the vector of the window."""
        taught = teach(pictures)
        top, left, height, width = (taught.boxes[4, 1] * SIDE).round().int().tolist()
        window = pictures.pictures[4, top : top + height, left : left + width].movedim(-1, 0)
        enlarged = F.interpolate(window[None].float(), SIDE, mode="bicubic", antialias=True).round().clamp(0, 255)
        alone = replace(
            pictures, pictures=enlarged.byte().movedim(1, -1), groups=torch.zeros(1, dtype=torch.int64), num_stills=1
        )
        whole = teach(alone, work="alone").vectors[0, 0]
        assert (whole.float() @ taught.vectors[4, 1].float()).item() > 0.99

    def test_no_number_of_pictures_at_once_changes_anything(self, train_mini, teach, monkeypatch, pictures):
        whole = teach(pictures)
        monkeypatch.setattr(train_mini, "BATCH", 3)
        monkeypatch.setattr(train_mini, "PART", 5)
        parts = teach(pictures, work="parts")
        assert parts.vectors.equal(whole.vectors)
        assert parts.boxes.equal(whole.boxes)

    def test_it_goes_on_where_it_ended(self, train_mini, teach, monkeypatch, pictures, tmp_path):
        monkeypatch.setattr(train_mini, "PART", 5)
        seen = []

        def ending(images):
            if len(seen) == 2:
                raise KeyboardInterrupt
            seen.append(len(images))
            return describe(images)

        with pytest.raises(KeyboardInterrupt):
            teach(pictures, ending)
        seen.clear()

        def counting(images):
            seen.append(len(images))
            return describe(images)

        whole = teach(pictures, work="whole")
        assert teach(pictures, counting).vectors.equal(whole.vectors)
        assert sum(seen) == (NUM_PICTURES - 2 * 5) * train_mini.NUM_WINDOWS
        assert [file.name for file in (tmp_path / "work").iterdir()] == [train_mini.TEACHER]

    def test_parts_of_something_else_are_not_taken_and_stay(self, train_mini, teach, monkeypatch, pictures, tmp_path):
        monkeypatch.setattr(train_mini, "PART", 5)
        seen = []

        def ending(images):
            if seen:
                raise KeyboardInterrupt
            seen.append(len(images))
            return describe(images)

        with pytest.raises(KeyboardInterrupt):
            teach(pictures, ending)
        (other,) = (tmp_path / "work").iterdir()
        whole = teach(pictures, work="whole", origin="of another test")
        assert teach(pictures, origin="of another test").vectors.equal(whole.vectors)
        assert {file.name for file in (tmp_path / "work").iterdir()} == {train_mini.TEACHER, other.name}


class TestBundle:
    def test_it_gives_the_vectors_of_the_student(self, train_mini, monkeypatch, pictures, student, tmp_path):
        """Pictures through the trained network, and through the file that is made of it: equal up to half precision."""
        monkeypatch.setattr(train_mini, "SIDE_PX", SIDE)
        train_mini.finished(SETTINGS, student, pictures).save(tmp_path / "mini.safetensors")
        model = Model(load_bundle(tmp_path / "mini.safetensors"), device="cpu")
        encoded = model.encode_frames([frames(pictures.pictures.numpy())])
        found = torch.from_numpy(encoded.region_vectors.vectors).float()
        with torch.no_grad():
            maps = student.maps(pictures.batch(torch.arange(NUM_PICTURES)).float() / 255)
            expected = student.project(student.pooled(maps))
        assert found.shape == expected.shape == (NUM_PICTURES, 14, SETTINGS.dim)
        assert expected.std() > 0.1  # the vectors differ
        torch.testing.assert_close(found, expected, atol=1e-2, rtol=0)
        assert (found * expected).sum(dim=-1).min() > 1 - 1e-3

    def test_it_says_what_it_is(self, train_mini, pictures, student):
        bundle = train_mini.finished(SETTINGS, student, pictures)
        assert bundle.settings.name == "mini"
        assert (bundle.settings.regions.scheme, bundle.settings.regions.shares) == ("pyramid", SETTINGS.shares)
        assert bundle.settings.preprocessing.size_px == train_mini.SIDE_PX
        assert bundle.settings.training_data.startswith(f"{NUM_PICTURES} pictures")
        kernels = [t for n, t in bundle.tensors.items() if n.startswith("backbone.") and t.ndim > 1]
        assert {kernel.dtype for kernel in kernels} == {torch.float16}

    def test_a_stage_begins_with_what_the_one_before_was(self, train_mini, pictures, student):
        weights = train_mini.weights_of(train_mini.finished(SETTINGS, student, pictures))
        expected = {name: value for name, value in student.state_dict().items() if value.is_floating_point()}
        assert weights.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(weights[name], value, atol=1e-6, rtol=1e-3)


class TestCommand:
    def run(self, train_mini, monkeypatch, *arguments):
        monkeypatch.setattr(sys, "argv", ["train_mini", *map(str, arguments)])
        return train_mini.main()

    def written(self, folder, pictures):
        facts = {"format": FORMAT, "rule": "all", "stills": pictures.num_stills, "sources": []}
        tensors = {"pictures": pictures.pictures, "groups": pictures.groups, **vars(pictures.stickers)}
        save_file(tensors, folder / "pictures.safetensors", metadata={"visil": json.dumps(facts)})

    def test_without_packed_pictures(self, train_mini, monkeypatch, tmp_path):
        with pytest.raises(DataError, match=r"pictures.safetensors: no such file; .scripts/pack_pictures.py. makes it"):
            self.run(train_mini, monkeypatch, "--work", tmp_path)

    def test_a_folder_that_is_none(self, train_mini, monkeypatch, tmp_path):
        with pytest.raises(DataError, match=r"absent: is no folder; it must be one that holds pictures\.safetensors"):
            self.run(train_mini, monkeypatch, "--work", tmp_path / "absent")

    def test_a_folder_that_another_run_is_at_work_in(self, train_mini, monkeypatch, pictures, tmp_path):
        self.written(tmp_path, pictures)
        with FileLock(tmp_path / train_mini.LOCK), pytest.raises(DataError, match="another run is at work there"):
            self.run(train_mini, monkeypatch, "--work", tmp_path)

    def test_without_what_the_teacher_says_and_without_it(self, train_mini, monkeypatch, pictures, tmp_path):
        self.written(tmp_path, pictures)
        with pytest.raises(DataError, match=r"teacher.safetensors: not made yet; .* --sscd FILE"):
            self.run(train_mini, monkeypatch, "--work", tmp_path)

    def test_a_device_that_is_not_there(self, train_mini, monkeypatch, tmp_path):
        with pytest.raises(DataError, match=r"^--device nonsense: "):
            self.run(train_mini, monkeypatch, "--work", tmp_path, "--device", "nonsense")

    @pytest.fixture
    def recipe(self, train_mini, monkeypatch, pictures, tmp_path):
        """Two stages of two steps, and a teacher."""
        self.written(tmp_path, pictures)
        monkeypatch.setattr(train_mini, "STAGES", (SETTINGS, replace(SETTINGS, sides_px=((0.0, 48),))))
        monkeypatch.setattr(train_mini, "OnnxVectors", lambda path: describe)
        (tmp_path / "sscd.onnx").write_bytes(b"")
        monkeypatch.setattr(train_mini, "SSCD", hashlib.sha256(b"").hexdigest())
        monkeypatch.setattr(train_mini, "TEACHER_SIDE_PX", 64)
        monkeypatch.setattr(train_mini, "SIDE_PX", SIDE)
        return tmp_path

    def test_the_whole_recipe(self, train_mini, monkeypatch, capsys, recipe):
        """The teacher is asked once, training goes on in pieces, and the bundle is written in the end."""
        with_teacher = ("--work", recipe, "--sscd", recipe / "sscd.onnx", "--max-minutes", 0)
        assert self.run(train_mini, monkeypatch, *with_teacher) == 0
        assert "stage 1, step 0 of 2: run this again to go on" in capsys.readouterr().out
        assert not list(recipe.glob(".*.partial"))
        assert self.run(train_mini, monkeypatch, "--work", recipe, "--output", recipe / "mini.safetensors") == 0
        assert "stage 2 of 2 is done" in capsys.readouterr().out
        first, second = (load_bundle(recipe / f"stage-{n}" / "bundle.safetensors") for n in (1, 2))
        made = load_bundle(recipe / "mini.safetensors")
        assert made.hash == second.hash != first.hash
        assert made.settings.name == "mini"

    def test_a_bundle_to_begin_with(self, train_mini, monkeypatch, recipe):
        """Its weights, half as precise, are where the first stage is before its first step."""
        untrained = ("--work", recipe, "--sscd", recipe / "sscd.onnx", "--max-minutes", 0)
        self.run(train_mini, monkeypatch, *untrained, "--output", recipe / "random.safetensors")
        shutil.rmtree(recipe / "stage-1")
        first = recipe / "first.safetensors"
        with monkeypatch.context() as patch:
            patch.setattr(train_mini, "STAGES", (SETTINGS,))
            self.run(train_mini, monkeypatch, "--work", recipe, "--output", first)
        shutil.rmtree(recipe / "stage-1")
        start = train_mini.weights_of(load_bundle(first))
        self.run(train_mini, monkeypatch, *untrained, "--start", first, "--output", recipe / "begun.safetensors")
        begun = train_mini.weights_of(load_bundle(recipe / "begun.safetensors"))
        assert begun["projection"].equal(start["projection"])
        assert not begun["projection"].equal(
            train_mini.weights_of(load_bundle(recipe / "random.safetensors"))["projection"]
        )
        assert "and what bundle" in load_bundle(recipe / "begun.safetensors").settings.training_data
        with pytest.raises(DataError, match="stage-1: is of a run with other start"):
            self.run(train_mini, monkeypatch, "--work", recipe)

    def test_a_bundle_of_another_network_is_named_before_anything_is_done(self, train_mini, monkeypatch, recipe):
        with pytest.raises(DataError, match=r"--start .*mini\.safetensors: is of another network than test_resnet"):
            self.run(train_mini, monkeypatch, "--work", recipe, "--start", find_bundle("mini"))
        assert not (recipe / "stage-1").exists()

    def test_what_a_stage_left_behind_is_all_that_the_next_needs(self, train_mini, monkeypatch, recipe):
        self.run(train_mini, monkeypatch, "--work", recipe, "--sscd", recipe / "sscd.onnx")
        made = load_bundle(recipe / "stage-2" / "bundle.safetensors")
        shutil.rmtree(recipe / "stage-2")
        for left_over in (recipe / "stage-1").glob("step-*"):
            shutil.rmtree(left_over)
        self.run(train_mini, monkeypatch, "--work", recipe)
        assert load_bundle(recipe / "stage-2" / "bundle.safetensors").hash == made.hash

    def test_a_stage_of_other_settings_is_not_gone_on_from(self, train_mini, monkeypatch, recipe):
        self.run(train_mini, monkeypatch, "--work", recipe, "--sscd", recipe / "sscd.onnx")
        with pytest.raises(
            DataError, match=r"teacher\.safetensors: is of .* seed 0; wanted are .* seed 1\. Give the same"
        ):
            self.run(train_mini, monkeypatch, "--work", recipe, "--seed", 1)
        monkeypatch.setattr(train_mini, "STAGES", (replace(SETTINGS, learning_rate=1e-3),))
        with pytest.raises(DataError, match="stage-1: is of a run with another learning_rate"):
            self.run(train_mini, monkeypatch, "--work", recipe)
        (recipe / "stage-1" / "settings.json").unlink()
        with pytest.raises(DataError, match=r"settings.json: is gone, so nothing says what bundle.safetensors"):
            self.run(train_mini, monkeypatch, "--work", recipe)

    def test_no_stage_draws_what_another_has_drawn(self, train_mini, monkeypatch, recipe):
        self.run(train_mini, monkeypatch, "--work", recipe, "--sscd", recipe / "sscd.onnx", "--seed", 3)
        settings = [json.loads((recipe / f"stage-{n}" / "settings.json").read_text(encoding="utf-8")) for n in (1, 2)]
        assert [entries["seed"] for entries in settings] == [6, 7]

    def test_another_teacher_than_the_one_that_may_is_refused(self, train_mini, monkeypatch, recipe):
        (recipe / "other.onnx").write_bytes(b"another")
        with pytest.raises(DataError, match=r"other.onnx: is not the sscd.onnx that may teach"):
            self.run(train_mini, monkeypatch, "--work", recipe, "--sscd", recipe / "other.onnx")

    @pytest.mark.parametrize("what", ["sscd", "footage", "furniture"])
    def test_a_recipe_without_something(self, train_mini, monkeypatch, capsys, recipe, what):
        """It lies beside the whole one, and is called by what it lacks."""
        self.run(train_mini, monkeypatch, "--work", recipe, "--sscd", recipe / "sscd.onnx")
        output = recipe / "without.safetensors"
        self.run(train_mini, monkeypatch, "--work", recipe, "--without", what, "--output", output)
        assert f"stage 2 of 2 is done: {recipe / f'stage-2-without-{what}'}" in capsys.readouterr().out
        whole, made = load_bundle(recipe / "stage-2" / "bundle.safetensors"), load_bundle(output)
        assert (whole.settings.name, made.settings.name) == ("mini", f"mini-without-{what}")
        assert not torch.equal(whole.tensors["whitening.projection"], made.tensors["whitening.projection"])

    def test_without_sscd_nothing_depends_on_what_it_says(self, train_mini, monkeypatch, recipe):
        def trained(name, describe):
            work = recipe / name
            work.mkdir()
            shutil.copy(recipe / "pictures.safetensors", work)
            monkeypatch.setattr(train_mini, "OnnxVectors", lambda path: describe)
            self.run(train_mini, monkeypatch, "--work", work, "--sscd", recipe / "sscd.onnx", "--without", "sscd")
            return load_bundle(work / "stage-2-without-sscd" / "bundle.safetensors").hash

        assert trained("one", describe) == trained("other", lambda images: describe(images)[:, ::-1].copy())

    def test_a_part_of_the_steps(self, train_mini, monkeypatch, capsys, recipe):
        self.run(
            train_mini,
            monkeypatch,
            "--work",
            recipe,
            "--sscd",
            recipe / "sscd.onnx",
            "--share",
            0.5,
            "--max-minutes",
            0,
        )
        assert "stage 1, step 0 of 1" in capsys.readouterr().out

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_signal_asks_the_second_ends(self, train_mini, number):
        def end(*_):
            raise KeyboardInterrupt

        before = signal.signal(number, end)
        try:
            with train_mini.ending_softly() as asked:
                os.kill(os.getpid(), number)
                assert asked == [number]
                with pytest.raises(KeyboardInterrupt):
                    os.kill(os.getpid(), number)
            assert signal.getsignal(number) is end
        finally:
            signal.signal(number, before)
