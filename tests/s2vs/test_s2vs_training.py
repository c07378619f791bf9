"""A run of S2VS from frames to a bundle: it learns, goes on exactly, and says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.s2vs.conftest import write_clip
from visil.cli.main import run as visil
from visil.errors import DataError
from visil.model.bundle import load_bundle
from visil.model.model import Model
from visil.model.network import SimilarityNetwork
from visil.s2vs.checkpoints import load_checkpoint
from visil.s2vs.clips import find_clips
from visil.s2vs.launch import run
from visil.s2vs.loop import BEST, LOG, Loop, Share
from visil.s2vs.screening import screened
from visil.s2vs.settings import Data, read_settings
from visil.s2vs.training import S2VSTraining

CONFIG = """
bundle = "BUNDLE"
[data]
frames = ["frames"]
validation_frames = ["frames"]
[views]
length = 8
window = 10
groups = ["global", "temporal", "video-in-video"]
[schedule]
rate = 2e-3
steps = 6
warmup_steps = 2
[training]
batch = 4
cell = 2
rounds = 2
log_steps = 2
checkpoint_steps = 2
validation_steps = 3
"""


@pytest.fixture(scope="module")
def bundle_file(tmp_path_factory, quick_model):
    file = tmp_path_factory.mktemp("bundle") / "quick.safetensors"
    quick_model.bundle.save(file)
    return file


@pytest.fixture
def project(tmp_path, frames_folder, bundle_file):
    """A folder with settings, and the frames beside them."""
    (tmp_path / "frames").symlink_to(frames_folder)
    (tmp_path / "s2vs.toml").write_text(CONFIG.replace("BUNDLE", str(bundle_file)), encoding="utf-8")
    return tmp_path


def train(project, name="run", *, changes=(), **options):
    return run(project / "s2vs.toml", project / name, changes=changes, **options)


def tensors_of(folder):
    return load_checkpoint(folder)[1]


def log_of(folder):
    lines = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds_a_step"} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, frames_folder, bundle_file):
    """A run in one piece."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "frames").symlink_to(frames_folder)
    (folder / "s2vs.toml").write_text(CONFIG.replace("BUNDLE", str(bundle_file)), encoding="utf-8")
    return folder, train(folder)


class TestRun:
    def test_it_ends_with_a_bundle_that_videos_are_encoded_and_compared_with(self, whole, bundle_file, clips):
        outcome = whole[1]
        assert (outcome.step, outcome.status, outcome.failed) == (6, 0, {})
        bundle = load_bundle(outcome.bundle)
        assert bundle.settings.name == "s2vs"
        assert bundle.settings.network.attention == "sigmoid"
        model = Model(bundle, device="cpu")
        assert model.check() == 0  # region vectors are those of the bundle it was trained on
        video = sorted(clips.glob("*.mp4"))[0]
        assert 0 <= model.compare(video, video).score <= 1

    def test_the_network_has_learned_and_the_rest_is_as_it_was(self, whole, bundle_file):
        before, after = load_bundle(bundle_file), load_bundle(whole[1].bundle)
        for name, tensor in before.tensors.items():
            if name.split(".")[0] in ("backbone", "whitening", "check"):
                assert after.tensors[name].equal(tensor)
        torch.manual_seed(0)
        untrained = SimilarityNetwork(after.settings.network, len(after.tensors["attention.transform.bias"]))
        for name, tensor in untrained.state_dict().items():
            assert not after.tensors[name].equal(tensor), name
        assert "6 steps of S2VS on 8 clips" in after.settings.training_data

    def test_the_log_has_every_part_of_the_loss_and_the_validations(self, whole):
        lines = log_of(whole[0] / "run")
        steps = [line for line in lines if "loss" in line]
        assert [line["step"] for line in steps] == [2, 4, 6]
        for line in steps:
            sshn = 3 * (line["hardest_negative"] + line["self_similarity"])
            assert line["loss"] == pytest.approx(line["info_nce"] + sshn + line["regularisation"], rel=1e-3)
        assert steps[0]["learning_rate"] == pytest.approx((2e-5 + 2e-3) / 2)  # half-way up from a hundredth
        assert [line["step"] for line in lines if "val_micro_ap" in line] == [3, 6]

    def test_the_best_of_the_validations_ships(self, whole):
        folder = whole[0] / "run"
        figures = {line["step"]: line["val_micro_ap"] for line in log_of(folder) if "val_micro_ap" in line}
        with safe_open(folder / BEST, framework="pt") as file:
            assert figures[int(file.metadata()["step"])] == max(figures.values())
            shipped = load_bundle(whole[1].bundle).part("comparator")
            assert file.get_tensor("network.comparator.conv1.weight").equal(shipped["conv1.weight"])

    def test_pieces_give_the_weights_and_the_log_of_one_piece(self, whole, project):
        for minutes in (0, 0):
            assert train(project, max_minutes=minutes).bundle is None
        for steps in (1, 3):
            run_until(project, steps)
        with pytest.MonkeyPatch.context() as patch:  # killed behind the checkpoint of step 4
            usual = Loop._take_step
            patch.setattr(Loop, "_take_step", lambda loop: 1 / 0 if loop.step == 5 else usual(loop))
            with pytest.raises(ZeroDivisionError):
                train(project)
        with (project / "run" / LOG).open("a") as file:
            file.write('{"step": 5, "loss": 1.0}\n{"step": 6, "lo')
        outcome = train(project)
        assert outcome.step == 6
        assert log_of(project / "run") == log_of(whole[0] / "run")
        expected, found = tensors_of(whole[0] / "run"), tensors_of(project / "run")
        assert found.keys() == expected.keys()
        assert [name for name in found if not found[name].equal(expected[name])] == []

    def test_without_a_bank_it_trains_as_well(self, project):
        outcome = train(project, changes=["training.rounds=0", "schedule.steps=2"])
        assert outcome.bundle is not None
        assert not (project / "run" / "bank").exists()

    @pytest.mark.parametrize(
        "changes",
        [
            ["loss.kind=triplet"],
            ["network.attention=none", "network.bits=32"],
            ["network.symmetric=true"],
            ["network.pooling=false", "network.comparator_padding=replicate"],
            ["training.precision=bf16"],
            ["network.comparator_padding=none"],
            ["training.accumulation=2"],
            ["views.short_share=0.5", "views.repeats=false"],
        ],
        ids=lambda changes: changes[0],
    )
    def test_other_networks_losses_and_precisions(self, project, changes):
        outcome = train(project, changes=[*changes, "schedule.steps=2", "data.validation_frames=[]"])
        (line,) = log_of(project / "run")
        assert line["step"] == 2
        assert line["loss"] > 0
        assert Model(load_bundle(outcome.bundle), device="cpu").check() == 0

    def test_runs_of_the_same_views_share_a_bank(self, project):
        changes = ["training.bank=shared", "schedule.steps=1", "data.validation_frames=[]"]
        train(project, "one", changes=changes)
        made = sorted((project / "shared").rglob("*.safetensors"))
        times = [file.stat().st_mtime_ns for file in made]
        train(project, "two", changes=[*changes, "loss.kind=triplet"])
        assert [file.stat().st_mtime_ns for file in made] == times
        with pytest.raises(DataError, match=r"shared: is of a run with another views\.text"):
            train(project, "three", changes=[*changes, "views.text=0.1"])

    def test_beyond_the_paper(self, project, frames_folder):
        """Furniture, hard negatives and screening, together: another bank, and copies are no negatives."""
        (project / "frames").unlink()
        shutil.copytree(frames_folder, project / "frames")
        shutil.copytree(project / "frames" / "clip3", project / "frames" / "copy")
        changes = ("data.screening=0.999", "views.furniture=0.5", "training.hard_share=1.0", "training.batch=9")
        changes = (*changes, "training.cell=9", "data.validation_frames=[]", "schedule.steps=2", "views.mixing=0")
        stopped = train(project, changes=changes, max_minutes=0)
        assert (stopped.step, stopped.bundle) == (0, None)
        outcome = train(project, changes=changes)
        assert outcome.step == 2
        training = S2VSTraining(
            read_settings(project / "s2vs.toml", changes),
            Data(frames=("frames",)),
            project / "run",
            base=project,
            screened=screened(project / "run" / "screening", 9, 0.999),
        )
        labels = training.draw(0, Share()).labels
        clips = training.cells.cell(0, 0).clips
        known = torch.cat([clips, clips])
        neither = ~(labels.is_negative | labels.is_positive)
        names = [clip.id for clip in find_clips([project / "frames"])]
        expected = {*(frozenset({clip}) for clip in range(9)), frozenset({names.index("clip3"), names.index("copy")})}
        assert {frozenset({int(known[a]), int(known[b])}) for a, b in neither.nonzero().tolist()} == expected
        with pytest.raises(DataError, match=r"another views\.furniture"):
            train(project, changes=(*changes, "views.furniture=0.25"))

    def test_validation_is_the_same_whatever_is_switched_on(self, project):
        changes = ("views.furniture=1.0", "training.hard_share=1.0")
        cells = []
        for name, switched in (("off", ()), ("on", changes)):
            settings = read_settings(project / "s2vs.toml", switched)
            training = S2VSTraining(settings, settings.data, project / name, base=project)
            cells.append((training._validation.cell(0, 0), training.cells.cell(0, 0)))
        (validation, trained), (other_validation, other_trained) = cells
        assert validation.weak.equal(other_validation.weak)
        assert validation.strong.equal(other_validation.strong)
        assert not trained.weak.equal(other_trained.weak)

    def test_the_log_can_be_seen_in_tensorboard(self, whole, project):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        train(project, tensorboard=True)
        events = EventAccumulator(str(project / "run" / "tensorboard"))
        events.Reload()
        shown = {event.step: event.value for event in events.Scalars("loss")}
        assert shown == pytest.approx(
            {line["step"]: line["loss"] for line in log_of(whole[0] / "run") if "loss" in line}, rel=1e-4
        )
        assert [event.step for event in events.Scalars("val_micro_ap")] == [3, 6]

    def test_accumulated_batches_are_averaged(self, project):
        """Two batches of a step: the loss that is logged is the mean of theirs."""
        train(project, "one", changes=["schedule.steps=2", "schedule.rate=1e-12", "data.validation_frames=[]"])
        changes = ["training.accumulation=2", "schedule.steps=1", "schedule.rate=1e-12", "data.validation_frames=[]"]
        train(project, "two", changes=changes)
        (one,), (two,) = (log_of(project / name) for name in ("one", "two"))
        assert two["info_nce"] == pytest.approx(one["info_nce"], rel=1e-4)


def run_until(project, step):
    """A piece that ends after a step."""
    usual = Loop.run

    def shorter(self, **given):
        usual(self, **{**given, "until_step": step})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "run", shorter)
        return train(project)


class TestWhatIsWrong:
    def test_a_folder_of_another_run(self, whole, tmp_path):
        shutil.copytree(whole[0] / "run", tmp_path / "run")
        with pytest.raises(DataError, match=r"run: is of a run with another loss\.temperature \(0\.03, not 0\.07\)"):
            run(whole[0] / "s2vs.toml", tmp_path / "run", changes=["loss.temperature=0.07"])

    def test_other_clips(self, project):
        train(project, max_minutes=0)
        (project / "frames").unlink()
        for number in range(4):
            write_clip(project / "frames" / f"other{number}", 4, seed=number)
        with pytest.raises(DataError, match="is of a run with other clips"):
            train(project)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (["data.frames=[]"], "names neither frames nor videos"),
            (['data.frames=["absent"]'], "absent: is no folder of frames"),
            (["training.batch=64", "training.cell=64"], "8 clips do not fill a batch of 64; give more clips"),
            (["bundle=absent"], "absent"),
            (["data.truths=truths"], r"truths/clip0\.json: no truth of a clip"),
        ],
    )
    def test_data_that_does_not_do(self, project, changes, message):
        with pytest.raises(Exception, match=message) as caught:
            train(project, changes=changes)
        assert type(caught.value).__module__ == "visil.errors"
        assert "\n" not in str(caught.value)

    def test_a_damaged_clip_is_skipped_counted_and_reported(self, project, frames_folder, capsys):
        (project / "frames").unlink()
        shutil.copytree(frames_folder, project / "frames")
        (project / "frames" / "clip3" / "00002.jpg").write_bytes(b"damaged")
        outcome = train(project, changes=["schedule.steps=1", "data.validation_frames=[]"])
        assert outcome.status == 1
        assert list(outcome.failed) == ["clip3"]

    def test_an_unwritable_output(self, project):
        (project / "run").write_text("a file")
        with pytest.raises(DataError, match="run: cannot be the folder of a run"):
            train(project)


class TestCommand:
    def test_train_and_go_on(self, project, capsys):
        config, out = str(project / "s2vs.toml"), str(project / "run")
        assert visil(["s2vs", "train", config, "--out", out, "--set", "schedule.steps=2", "--max-minutes", "0"]) == 0
        assert "step 0 of 2; the same command goes on from there" in capsys.readouterr().err
        assert visil(["s2vs", "train", config, "--out", out, "--set", "schedule.steps=2", "--name", "mine"]) == 0
        assert load_bundle(project / "run" / "bundle.safetensors").settings.name == "mine"

    def test_a_typo_gets_a_suggestion(self, project, capsys):
        config, out = str(project / "s2vs.toml"), str(project / "run")
        assert visil(["s2vs", "train", config, "--out", out, "--set", "training.bach=2"]) == 2
        assert "did you mean training.batch?" in capsys.readouterr().err

    def test_stopped_while_videos_are_turned_into_frames_it_goes_on_with_the_others(self, project, clips):
        changes = ["data.frames=[]", f'data.videos=["{clips}"]', "data.validation_frames=[]", "schedule.steps=1"]
        outcome = train(project, changes=changes, max_minutes=0)
        assert (outcome.step, outcome.bundle) == (0, None)
        assert len(list((project / "run" / "frames").iterdir())) == 1
        assert train(project, changes=changes).bundle is not None

    def test_videos_are_turned_into_frames_once(self, project, clips):
        changes = ["data.frames=[]", f'data.videos=["{clips}"]', "data.validation_frames=[]", "schedule.steps=1"]
        outcome = train(project, changes=changes)
        assert outcome.bundle is not None
        made = sorted(path.name for path in (project / "run" / "frames").iterdir())
        assert made == sorted(path.name for path in clips.glob("*.mp4"))


def in_two_processes(*command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run([*torchrun, *map(str, command)], env=environment, capture_output=True, text=True, check=False)


class TestTwoProcesses:
    def test_their_gradients_are_averaged(self, project):
        """On the CPU: what a step changes is what one process changes by the mean of both local gradients."""
        done = in_two_processes(Path(__file__).with_name("two_processes.py"), project)
        assert done.returncode == 0, done.stderr[-2000:]

    def test_the_command_of_the_guide(self, project):
        command = ["s2vs", "train", project / "s2vs.toml", "--out", project / "run", "--device", "cpu"]
        done = in_two_processes("-m", "visil", *command, "--set", "training.batch=2")
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stderr.count("trained in 6 steps") == 1
        assert load_bundle(project / "run" / "bundle.safetensors").settings.name == "s2vs"
        refused = in_two_processes("-m", "visil", *command, "--set", "training.batch=4")
        assert refused.returncode != 0
        assert "is of a run with another training.batch (2, not 4)" in refused.stderr
        assert refused.stderr.count("Traceback") == 1  # torchrun's own
