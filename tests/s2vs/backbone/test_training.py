"""A training run: the same weights in however many pieces, clear words about what does not fit, and what it learns."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from visil.errors import DataError
from visil.s2vs import checkpoints
from visil.s2vs.backbone.batches import Batch
from visil.s2vs.backbone.furniture import FurnitureSettings
from visil.s2vs.backbone.objective import unlike
from visil.s2vs.backbone.overlays import Stickers
from visil.s2vs.backbone.pictures import PackedPictures
from visil.s2vs.backbone.teacher import TeacherVectors
from visil.s2vs.backbone.training import STATISTICS_BATCHES, Training
from visil.s2vs.backbone.training_settings import TrainingSettings
from visil.s2vs.backbone.views import Views
from visil.s2vs.checkpoints import load_checkpoint
from visil.s2vs.claims import PIECES, SETTINGS
from visil.s2vs.loop import LOG

# A tiny network of timm's own tests; the side changes in the middle, between two checkpoints.
SETTINGS_OF_RUN = TrainingSettings(
    backbone="test_resnet",
    stages=(2, 3),
    dim=8,
    sides_px=((0.0, 32), (0.5, 48)),
    steps=6,
    batch_size=8,
    bank_size=30,
    num_friends=4,
    learning_rate=2e-3,
    warmup_steps=2,
    log_steps=2,
    checkpoint_steps=2,
    precision="fp32",
)
NUM_PICTURES, SIDE, TEACHER_DIM = 20, 48, 12


def made_pictures():
    """Coarse coloured patterns; the last two show the same thing."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(NUM_PICTURES, 3, 5, 5, generator=generator)
    pictures = F.interpolate(coarse, size=SIDE, mode="bilinear").movedim(1, -1).mul(255).to(torch.uint8).contiguous()
    groups = torch.arange(NUM_PICTURES).clamp(max=NUM_PICTURES - 2)
    stickers = torch.randint(256, (3, 2, 8, 24, 4), generator=generator).to(torch.uint8)
    return PackedPictures(pictures, groups, Stickers(*stickers), NUM_PICTURES - 4, (), "made up")


def made_teacher(num_pictures=NUM_PICTURES, dim=TEACHER_DIM, seed=6):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.8, 0.7]]).expand(num_pictures, 2, 4).contiguous()
    vectors = F.normalize(torch.randn(num_pictures, 2, dim, generator=generator), dim=-1)
    return TeacherVectors(boxes, vectors.half())


def training(folder, settings=SETTINGS_OF_RUN, teacher=None, pictures=None, start=None):
    return Training(settings, pictures or made_pictures(), teacher or made_teacher(), folder, device="cpu", start=start)


def with_settings(folder, change):
    """Edit the settings noted in the folder of a run."""
    entries = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    change(entries)
    (folder / SETTINGS).write_text(json.dumps(entries), encoding="utf-8")


def all_tensors(folder):
    """Everything that the last checkpoint holds: weights, their average, the state of the optimizer."""
    step, tensors = load_checkpoint(folder)
    return {"step": torch.tensor(step), **tensors}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert [name for name in found if not found[name].equal(expected[name])] == []


@pytest.fixture(scope="module")
def in_one_piece(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    training(folder).run()
    return folder


@pytest.fixture
def ended(tmp_path, in_one_piece):
    """A folder of that run, to be damaged."""
    return Path(shutil.copytree(in_one_piece, tmp_path / "run"))


class TestResuming:
    @pytest.mark.parametrize("ends", [(1, 3, 4), (2,)], ids=str)
    def test_pieces_give_the_weights_of_one_piece(self, tmp_path, in_one_piece, ends):
        """Weights, statistics of batch normalisation, running average and optimizer, bit by bit."""
        for end in ends:
            piece = training(tmp_path)
            piece.run(until_step=end)
            assert piece.step == end
            assert not piece.is_done
        last = training(tmp_path)
        last.run()
        assert last.is_done
        assert_same(all_tensors(tmp_path), all_tensors(in_one_piece))

    def test_a_run_that_broke_off_goes_on_from_its_last_checkpoint(self, tmp_path, in_one_piece, monkeypatch):
        broken = training(tmp_path)
        take_step = broken._loop._take_step
        monkeypatch.setattr(broken._loop, "_take_step", lambda: 1 / 0 if broken.step == 5 else take_step())
        with pytest.raises(ZeroDivisionError):
            broken.run()
        resumed = training(tmp_path)
        assert resumed.step == 4
        resumed.run()
        assert_same(all_tensors(tmp_path), all_tensors(in_one_piece))

    def test_a_run_can_be_asked_to_stop(self, tmp_path, in_one_piece):
        first = training(tmp_path)
        first.run(stop=lambda: first.step == 3)
        assert load_checkpoint(tmp_path)[0] == 3
        training(tmp_path).run()
        assert_same(all_tensors(tmp_path), all_tensors(in_one_piece))

    def test_of_two_checkpoints_the_newest_counts(self, tmp_path, in_one_piece):
        """A run broke off after it had written one and before it deleted the one before."""
        training(tmp_path).run(until_step=2)
        kept = tmp_path / "step-0000002"
        kept.rename(tmp_path / "kept")
        training(tmp_path).run(until_step=4)
        (tmp_path / "kept").rename(kept)
        resumed = training(tmp_path)
        assert resumed.step == 4
        resumed.run()
        assert [place.name for place in tmp_path.glob("step-*")] == ["step-0000006"]
        assert_same(all_tensors(tmp_path), all_tensors(in_one_piece))

    def test_a_full_disk_leaves_the_checkpoint_before(self, tmp_path, monkeypatch, in_one_piece):
        training(tmp_path).run(until_step=2)
        write = checkpoints.save_file

        def full(tensors, path):
            write(tensors, path)
            raise SafetensorError("no space left")

        with monkeypatch.context() as patched:
            patched.setattr(checkpoints, "save_file", full)
            with pytest.raises(DataError, match=r"cannot be written \(no space left\); the one before stays"):
                training(tmp_path).run()
        assert sorted(place.name for place in tmp_path.iterdir() if place.is_dir()) == ["step-0000002"]
        training(tmp_path).run()
        assert_same(all_tensors(tmp_path), all_tensors(in_one_piece))

    def test_random_numbers_drawn_elsewhere_do_not_matter(self, tmp_path, in_one_piece):
        torch.manual_seed(77)
        first = training(tmp_path)
        torch.rand(9)
        first.run(until_step=3)
        torch.manual_seed(78)
        training(tmp_path).run()
        assert_same(all_tensors(tmp_path), all_tensors(in_one_piece))

    def test_pieces_in_half_precision(self, tmp_path):
        settings = replace(SETTINGS_OF_RUN, precision="bf16", steps=4)
        training(tmp_path / "whole", settings).run()
        training(tmp_path / "pieces", settings).run(until_step=2)
        training(tmp_path / "pieces", settings).run()
        assert_same(all_tensors(tmp_path / "pieces"), all_tensors(tmp_path / "whole"))

    def test_pieces_by_the_clock(self, tmp_path, in_one_piece):
        training(tmp_path).run(max_minutes=0)
        assert load_checkpoint(tmp_path)[0] == 0
        training(tmp_path).run(max_minutes=10)
        assert_same(all_tensors(tmp_path), all_tensors(in_one_piece))

    def test_a_run_that_is_done_stays_as_it_is(self, tmp_path):
        settings = replace(SETTINGS_OF_RUN, steps=2)
        training(tmp_path, settings).run()
        before = all_tensors(tmp_path)
        training(tmp_path, settings).run()
        assert_same(all_tensors(tmp_path), before)

    def test_another_seed_gives_other_weights(self, tmp_path, in_one_piece):
        training(tmp_path, replace(SETTINGS_OF_RUN, seed=1)).run()
        found, other = all_tensors(tmp_path), all_tensors(in_one_piece)
        assert not found["module.student.projection"].equal(other["module.student.projection"])

    def test_one_checkpoint_is_kept_and_the_log_goes_on(self, tmp_path):
        training(tmp_path).run(until_step=3)
        training(tmp_path).run()
        assert [place.name for place in tmp_path.glob("step-*")] == ["step-0000006"]
        lines = [json.loads(line) for line in (tmp_path / LOG).read_text(encoding="utf-8").splitlines()]
        assert [line["step"] for line in lines] == [2, 4, 6]
        assert {"loss", "info_nce", "koleo", "distillation", "learning_rate"} <= lines[0].keys()

    def test_a_piece_on_another_machine_goes_on_with_a_warning(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            training(tmp_path).run(until_step=1)
            training(tmp_path).run(until_step=2)
            assert not caplog.messages
            place = tmp_path / PIECES
            place.write_text(
                place.read_text(encoding="utf-8").replace('"threads": ', '"threads": 10'), encoding="utf-8"
            )
            training(tmp_path).run(until_step=3)
        assert [message for message in caplog.messages if "the piece before had threads 10" in message]
        pieces = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]
        assert [piece["from_step"] for piece in pieces] == [0, 1, 2]

    @pytest.mark.parametrize("content", [b'{"from_step": 0, "tor', b"\n", b"[]\n", b"\xff\xfe", b"[" * 100_000])
    def test_a_line_that_a_kill_cut_off_is_passed_over(self, tmp_path, content, caplog):
        training(tmp_path).run(until_step=1)
        place = tmp_path / PIECES
        whole = place.read_bytes()
        place.write_bytes(whole + content)
        with caplog.at_level(logging.WARNING):
            training(tmp_path).run(until_step=2)
        assert not caplog.messages  # the line before it is of this machine
        assert place.read_bytes().startswith(whole + content)
        assert json.loads(place.read_text(encoding="utf-8", errors="replace").splitlines()[-1])["from_step"] == 1


def with_checkpoint(folder, change):
    """Edit the tensors of a run's checkpoint, under hashes that are right."""
    (file,) = folder.glob("step-*/00.safetensors")
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with_index(folder, lambda index: index["sha256"].update({file.name: checkpoints._hash(file)}))


def with_index(folder, change):
    """Edit the index of a run's checkpoint."""
    (place,) = folder.glob("step-*/index.json")
    index = json.loads(place.read_text(encoding="utf-8"))
    change(index)
    place.write_text(json.dumps(index), encoding="utf-8")


class TestRefusing:
    def test_a_folder_of_a_run_with_other_settings(self, ended):
        with pytest.raises(DataError, match=r"another learning_rate \(0.002, not 0.1\); take another folder"):
            training(ended, replace(SETTINGS_OF_RUN, learning_rate=0.1))

    def test_a_nested_setting_is_named_alone(self, ended):
        (start, views), (share, later) = SETTINGS_OF_RUN.views
        for changed, said in (
            (((start, views), (share, replace(later, inset_weight=3.5))), r"views\[1\].inset_weight \(6.0, not 3.5\)"),
            (
                ((start, replace(views, crop_area=(0.9, 0.22))), (share, later)),
                r"views\[0\].crop_area\[0\] \(0.75, not 0.9\)",
            ),
            (((start, views), (0.5, later)), r"views\[1\]\[0\] \(0.4, not 0.5\)"),
            (((start, views),), r"views \(2 entries, not 1 entries\)"),
        ):
            with pytest.raises(DataError, match=rf"is of a run with another {said}; take another folder$"):
                training(ended, replace(SETTINGS_OF_RUN, views=changed))

    def test_a_setting_that_an_earlier_version_did_not_have(self, ended):
        with_settings(ended, lambda entries: entries.pop("host_weight"))
        with pytest.raises(DataError, match=r"another host_weight \(none, not 0.25\)"):
            training(ended)

    def test_other_pictures_or_another_teacher_of_the_same_size(self, ended):
        other = made_pictures()
        other.pictures[7, 3, 3] += 1
        with pytest.raises(DataError, match="is of a run with other pictures; take another folder"):
            training(ended, pictures=other)
        with pytest.raises(DataError, match="is of a run with other teacher; take another folder"):
            training(ended, teacher=made_teacher(seed=8))

    def test_a_teacher_of_the_same_origin_is_the_same_whatever_its_rounding(self, tmp_path):
        said, again = (replace(made_teacher(seed=seed), origin="here") for seed in (6, 8))
        training(tmp_path, teacher=said)
        training(tmp_path, teacher=again)
        with pytest.raises(DataError, match="other teacher"):
            training(tmp_path, teacher=replace(said, origin="elsewhere"))

    def test_a_run_of_an_earlier_version_goes_on_and_its_data_is_noted(self, ended):
        with_settings(ended, lambda entries: entries.pop("data"))
        assert training(ended).step == SETTINGS_OF_RUN.steps
        with pytest.raises(DataError, match="other teacher"):
            training(ended, teacher=made_teacher(seed=8))

    @pytest.mark.parametrize("text", ["{", "[]", '{"data": 3}', "", "[" * 100_000], ids=lambda text: text[:12])
    def test_damaged_settings(self, tmp_path, text):
        (tmp_path / SETTINGS).write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match="cannot be read"):
            training(tmp_path)

    def test_a_file_where_the_folder_should_be(self, tmp_path):
        (tmp_path / "run").write_text("", encoding="utf-8")
        with pytest.raises(DataError, match="cannot be the folder of a run"):
            training(tmp_path / "run")

    def test_a_loss_that_is_no_number(self, tmp_path):
        run = training(tmp_path, replace(SETTINGS_OF_RUN, checkpoint_steps=1))
        run.run(until_step=1)
        with torch.no_grad():
            run.student.projection.fill_(torch.nan)
        with pytest.raises(DataError, match="the loss of step 1 is nan"):
            run.run()
        assert load_checkpoint(tmp_path)[0] == 1

    @pytest.mark.parametrize(
        "teacher",
        [made_teacher(num_pictures=NUM_PICTURES - 1), made_teacher(dim=7)],
        ids=["of fewer pictures", "of fewer dimensions"],
    )
    def test_a_teacher_of_something_else(self, tmp_path, teacher):
        with pytest.raises(DataError, match="make them again"):
            training(tmp_path, teacher=teacher)

    def test_a_damaged_checkpoint(self, ended):
        (file,) = ended.glob("step-*/00.safetensors")
        content = bytearray(file.read_bytes())
        content[-5] ^= 1
        file.write_bytes(content)
        with pytest.raises(DataError, match="the checkpoint is damaged; delete the folder"):
            training(ended)

    @pytest.mark.parametrize("name", ["00.safetensors", "index.json"])
    def test_a_checkpoint_without_one_of_its_files(self, ended, name):
        (ended / "step-0000006" / name).unlink()
        with pytest.raises(DataError, match="no complete checkpoint"):
            training(ended)

    @pytest.mark.parametrize("step", [-6, 5, 10**30, float("inf"), 6.0, "6", True, None])
    def test_an_index_of_another_step(self, ended, step):
        with_index(ended, lambda index: index.update(step=step))
        with pytest.raises(DataError, match="no complete checkpoint"):
            training(ended)
        assert (ended / "step-0000006").is_dir()

    @pytest.mark.parametrize("name", ["../../elsewhere.safetensors", "/etc/passwd", "..", ".", ""])
    def test_an_index_that_names_files_elsewhere(self, ended, name):
        shutil.copy(ended / "step-0000006" / "00.safetensors", ended.parent / "elsewhere.safetensors")
        right = checkpoints._hash(ended.parent / "elsewhere.safetensors")
        with_index(ended, lambda index: index["sha256"].update({name: right}))
        with pytest.raises(DataError, match="no complete checkpoint"):
            training(ended)

    @pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"[]"], ids=["deep", "no text", "a list"])
    def test_an_index_that_is_something_else(self, ended, content):
        (ended / "step-0000006" / "index.json").write_bytes(content)
        with pytest.raises(DataError, match="no complete checkpoint"):
            training(ended)

    def test_a_file_that_is_something_else_under_its_right_hash(self, ended):
        (ended / "step-0000006" / "00.safetensors").write_bytes(b"GIF89a" * 100)
        right = checkpoints._hash(ended / "step-0000006" / "00.safetensors")
        with_index(ended, lambda index: index["sha256"].update({"00.safetensors": right}))
        with pytest.raises(DataError, match="no complete checkpoint"):
            training(ended)

    @pytest.mark.parametrize(
        "change",
        [
            lambda tensors: tensors.pop("module.student.projection"),
            lambda tensors: tensors.pop("average.student.projection"),
            lambda tensors: tensors.update({"average.student.projection": torch.ones(1)}),
            lambda tensors: tensors.update({"average.unknown": torch.ones(1)}),
            lambda tensors: tensors.pop("optimizer.0.exp_avg"),
            lambda tensors: tensors.update({"optimizer.0.exp_avg": torch.ones(7)}),
            lambda tensors: tensors.update({"optimizer.9999.exp_avg": torch.ones(7)}),
            lambda tensors: tensors.update({"optimizer.one.exp_avg": torch.ones(7)}),
            lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("optimizer.")],
        ],
        ids=[
            "no projection",
            "no average",
            "a smaller average",
            "another average",
            "half of a state",
            "a smaller state",
            "another state",
            "a state without a number",
            "no states",
        ],
    )
    def test_a_checkpoint_of_another_network(self, ended, change):
        with_checkpoint(ended, change)
        with pytest.raises(DataError, match="the checkpoint is of another network") as caught:
            training(ended)
        assert "\n" not in str(caught.value)

    def test_a_checkpoint_that_was_being_written_is_not_there(self, tmp_path):
        training(tmp_path).run(until_step=2)
        left_over = tmp_path / ".step-0000004.partial"
        left_over.mkdir()
        resumed = training(tmp_path)
        assert resumed.step == 2
        resumed.run(until_step=3)
        assert not left_over.exists()


class TestBeginning:
    def test_weights_of_another_run_are_where_it_begins(self, tmp_path, in_one_piece):
        """The stage before, at a learning rate of 0: the weights stay, and the statistics are measured anew."""
        before = training(in_one_piece).finished(48)
        weights = {name: value for name, value in before.state_dict().items() if value.is_floating_point()}
        run = training(tmp_path, replace(SETTINGS_OF_RUN, learning_rate=0.0), start=weights)
        run.run(until_step=2)
        for name, parameter in run.student.named_parameters():
            torch.testing.assert_close(parameter.detach(), weights[name], rtol=0, atol=0)

    def test_a_stage_with_weights_to_begin_with_is_resumed_as_well(self, tmp_path, in_one_piece):
        state = training(in_one_piece).student.state_dict()
        weights = {name: value for name, value in state.items() if value.is_floating_point()}
        training(tmp_path / "whole", start=weights).run()
        for end in (2, 3, 6):
            training(tmp_path / "pieces", start=weights).run(until_step=end)
        assert_same(all_tensors(tmp_path / "pieces"), all_tensors(tmp_path / "whole"))
        with pytest.raises(DataError, match="with other start"):
            training(tmp_path / "pieces")

    def test_weights_of_another_network(self, tmp_path):
        with pytest.raises(DataError, match="weights to begin with are of another network"):
            training(tmp_path, start={"mean": torch.zeros(3)})

    def test_other_weights_than_those_it_began_with(self, tmp_path, in_one_piece):
        state = training(in_one_piece).student.state_dict()
        weights = {name: value for name, value in state.items() if value.is_floating_point()}
        training(tmp_path, start=weights).run(until_step=1)
        weights["mean"] = weights["mean"] + 1
        with pytest.raises(DataError, match="with other start; take another folder"):
            training(tmp_path, start=weights)

    def test_the_teacher_is_turned_towards_the_student_and_says_the_same(self, tmp_path):
        run = training(tmp_path)
        torch.testing.assert_close(run._basis.T @ run._basis, torch.eye(SETTINGS_OF_RUN.dim), atol=1e-5, rtol=0)
        batch = run._batches.draw(0)
        with torch.no_grad():
            whole = run.student.project(run.student.pooled(run.student.maps(batch.views.target)))[:, 0]
        as_it_was = batch.teacher @ run._basis.T @ made_teacher().leading(SETTINGS_OF_RUN.dim)
        turned, as_it_was = (whole * batch.teacher).sum(), (whole * as_it_was).sum()
        assert turned > as_it_was + 0.5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One that has just begun."""
    return training(tmp_path_factory.mktemp("begun"))


class TestMasks:
    """Four pictures, the first query lies in the second picture; gradients show what has a say in its loss."""

    DIM = SETTINGS_OF_RUN.dim

    def unit(self, *shape, seed):
        return F.normalize(torch.randn(*shape, self.DIM, generator=torch.Generator().manual_seed(seed)), dim=-1)

    def batch(self, **changed):
        views = Views(torch.zeros(4, 3, 32, 32), torch.zeros(4, 3, 32, 32), torch.tensor([1, -1, -1, -1]))
        usual = {
            "views": views,
            "groups": torch.arange(4),
            "teacher": self.unit(4, seed=1),
            "whole_teacher": self.unit(4, seed=2),
            "bank": self.unit(30, seed=3),
            "bank_groups": torch.arange(10, 40),
            "within": torch.tensor([2]),
            "windows": torch.tensor([[[0.1, 0.2, 0.8, 0.7]]]),
            "window_teacher": self.unit(1, 1, seed=4),
        }
        return Batch(**(usual | changed))

    def gradient_of_first_query(self, run, batch, name="bank_nce"):
        query = self.unit(4, seed=5).requires_grad_()
        run._objective.teacher_losses(batch, query, self.unit(4, seed=6))[name].backward()
        return query.grad[0]

    def moved(self, run, change, name="bank_nce", **of_both):
        """Whether the gradient of the first query is another one after a change of the batch."""
        before, after = self.batch(**of_both), self.batch(**(of_both | change))
        gradients = [self.gradient_of_first_query(run, batch, name) for batch in (before, after)]
        return not torch.allclose(*gradients, atol=1e-7)

    def flipped(self, row):
        bank = self.unit(30, seed=3)
        bank[row] = -bank[row]
        return {"bank": bank}

    @pytest.mark.parametrize(("group", "has_a_say"), [(0, False), (1, False), (2, True), (10, True)])
    def test_what_shows_the_same_as_a_query_or_its_host_is_no_negative(self, run, group, has_a_say):
        groups = torch.arange(10, 40)
        groups[0] = group
        assert self.moved(run, self.flipped(0), bank_groups=groups) == has_a_say

    @pytest.mark.parametrize("of", ["teacher", "whole_teacher"])
    def test_what_the_teacher_finds_alike_to_a_query_or_its_host_is_no_negative(self, run, of):
        alike = self.unit(30, seed=3)
        alike[0] = F.normalize((self.unit(4, seed=1)[0] if of == "teacher" else self.unit(4, seed=2)[1]) + 0.1, dim=-1)
        gone = alike.clone()
        gone[0] = F.normalize(gone[0] + 0.05 * self.unit(30, seed=8)[0], dim=-1)
        assert not self.moved(run, {"bank": gone}, bank=alike)

    def test_a_host_is_known_by_its_whole_picture(self, run):
        other = self.unit(4, seed=2)
        other[1] = -other[1]
        assert self.moved(run, {"whole_teacher": other})

    @pytest.mark.parametrize("name", ["distillation", "friends"])
    def test_only_a_query_without_a_host_is_held_against_its_target(self, run, name):
        hosted = self.gradient_of_first_query(run, self.batch(), name)
        free_views = replace(self.batch().views, host=torch.full((4,), -1))
        free = self.gradient_of_first_query(run, self.batch(views=free_views), name)
        assert hosted.abs().sum() == 0 < free.abs().sum()

    @pytest.mark.parametrize("host", [[-1, -1, -1, -1], [1, 2, 3, 0]], ids=["nobody", "everybody"])
    def test_whoever_lies_in_a_host_the_losses_are_numbers(self, run, host):
        views = replace(self.batch().views, host=torch.tensor(host))
        losses = run._objective.teacher_losses(self.batch(views=views), self.unit(4, seed=5), self.unit(4, seed=6))
        assert all(loss.isfinite() for loss in losses.values())

    def test_what_is_alike_to_a_query_or_to_all_of_its_host_is_no_negative_in_the_batch(self):
        first, second, third, other = torch.eye(self.DIM)[:4]
        batch = self.batch(
            teacher=torch.stack([first, second, first, third]),  # the third looks like the first
            whole_teacher=torch.stack([other, third, other, other]),  # the host, as a whole, like the fourth
        )
        shown = torch.eye(4)
        shown[0, 1] = 0.25
        is_negative = ~torch.eye(4, dtype=torch.bool)
        found = unlike(batch, shown, is_negative & (shown == 0), 0.9)
        assert found[1:].tolist() == [[True, False, True, True], [False, True, False, True], [True, True, True, False]]
        assert found[0].tolist() == [False, False, True, True]  # none is left, so all negatives count
        shown[0, 1] = 0.0
        assert unlike(batch, shown, is_negative, 0.9)[0].tolist() == [False, True, False, True]

    def test_windows_are_those_of_the_pictures_that_are_named(self, run):
        maps = [torch.rand(4, channels, 6, 6) for channels in run.student.backbone.feature_info.channels()]
        for stage in maps:
            stage.requires_grad_()
        run._objective.window_losses(run.student, self.batch(), maps)["windows"].backward()
        assert all(
            (stage.grad.flatten(1).abs().sum(dim=1) > 0).tolist() == [False, False, True, False] for stage in maps
        )

    def test_without_a_whole_picture_there_is_no_loss_of_windows(self, run):
        nobody = self.batch(within=torch.zeros(0, dtype=torch.int64))
        assert all(loss == 0 for loss in run._objective.window_losses(run.student, nobody, []).values())


class TestSettings:
    @pytest.mark.parametrize(
        "changed",
        [
            {"levels": (2, 3)},
            {"levels": (1, 2, 2)},
            {"shares": (0.5, 0.5)},
            {"shares": (0.5, 0.5, 0.5)},
            {"num_matching": 15},
            {"hard_share": 1.0},
            {"num_friends": 31},
        ],
        ids=str,
    )
    def test_settings_that_no_run_could_end_with_are_refused(self, changed):
        with pytest.raises(ValueError, match=r"must|expected"):
            replace(SETTINGS_OF_RUN, **changed)

    def test_one_region_a_frame_is_trained_too(self, tmp_path):
        training(tmp_path, replace(SETTINGS_OF_RUN, levels=(1,), shares=(1.0,), num_matching=1, steps=1)).run()


class TestTraining:
    def test_the_losses_fall(self, tmp_path):
        settings = replace(
            SETTINGS_OF_RUN, steps=40, log_steps=10, checkpoint_steps=40, sides_px=((0.0, 32),), learning_rate=5e-3
        )
        training(tmp_path, settings).run()
        lines = [json.loads(line) for line in (tmp_path / LOG).read_text(encoding="utf-8").splitlines()]
        assert lines[-1]["distillation"] < 0.95 * lines[0]["distillation"]
        assert lines[-1]["loss"] < lines[0]["loss"]

    @pytest.mark.parametrize("name", ["windows", "distillation"])
    def test_a_loss_with_much_weight_falls_most(self, tmp_path, name):
        weight = {"windows": "window_weight", "distillation": "distillation_weight"}[name]
        others = ("bank_weight", "similarity_weight", "distillation_weight", "friends_weight", "window_weight")
        settings = replace(
            SETTINGS_OF_RUN,
            steps=30,
            log_steps=10,
            checkpoint_steps=30,
            sides_px=((0.0, 32),),
            learning_rate=5e-3,
            **(dict.fromkeys(others, 0.0) | {weight: 30.0}),
        )
        training(tmp_path, settings).run()
        lines = [json.loads(line) for line in (tmp_path / LOG).read_text(encoding="utf-8").splitlines()]
        assert lines[-1][name] < lines[0][name]

    def test_what_ships_is_the_running_average_of_the_weights(self, in_one_piece):
        ended = training(in_one_piece)
        student = ended.finished(48)
        average = {
            name.removeprefix("average.student."): tensor
            for name, tensor in all_tensors(in_one_piece).items()
            if name.startswith("average.")
        }
        assert not student.training
        assert average.keys() == {name for name, value in student.state_dict().items() if value.is_floating_point()}
        other = [name for name, value in average.items() if not student.state_dict()[name].equal(value)]
        assert other
        assert [name for name in other if "running_" not in name] == []
        assert not student.projection.equal(ended.student.projection)

    def test_statistics_are_those_of_views_at_the_size_that_is_searched(self, in_one_piece):
        """Of the first layer: the mean of what it sees, over views behind the last step at that size."""
        ended = training(in_one_piece)
        student = ended.finished(32)
        first = next(name for name, module in student.backbone.named_modules() if isinstance(module, nn.BatchNorm2d))
        seen = []
        student.backbone.get_submodule(first).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        with torch.no_grad():
            evenly = replace(
                SETTINGS_OF_RUN,
                batch_size=SETTINGS_OF_RUN.num_dealt,
                hard_share=0.0,
                furniture=FurnitureSettings(share=0.0),
            )
            for number in range(STATISTICS_BATCHES):
                views = ended._batches.draw(SETTINGS_OF_RUN.steps + number, settings=evenly, side_px=32).views
                student.maps(torch.cat([views.query, views.target]))
        found = student.backbone.get_submodule(first)
        torch.testing.assert_close(found.running_mean, torch.cat(seen).mean(dim=(0, 2, 3)), atol=1e-5, rtol=1e-4)

    def test_making_the_bundle_leaves_the_run_as_it_is(self, tmp_path, in_one_piece):
        first = training(tmp_path)
        first.run(until_step=3)
        first.finished(32)
        first.run()
        assert_same(all_tensors(tmp_path), all_tensors(in_one_piece))

    def test_learning_rate_and_side_follow_the_share_of_the_run(self):
        settings = TrainingSettings(
            steps=100, learning_rate=1.0, warmup_steps=10, decay_share=0.4, sides_px=((0.0, 32), (0.3, 64))
        )
        assert [settings.rate_of(step) for step in (0, 9, 50, 60, 80, 99)] == pytest.approx([0.1, 1, 1, 1, 0.5, 0.025])
        assert [settings.side_of(step) for step in (0, 29, 30, 99)] == [32, 32, 64, 64]
