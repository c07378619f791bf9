"""Cells, their bank, and the batches of a run: what meets, what is positive, what comes next."""

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.errors import DataError
from visil.s2vs.cells import Bank, Batches, Cell, FreshCells, Lengths
from visil.s2vs.clip_views import ClipViews, PictureCrop, StrongView, WeakView
from visil.s2vs.clips import find_clips
from visil.s2vs.dealing import Dealer
from visil.s2vs.loop import Share
from visil.s2vs.temporal import Unchanged
from visil.s2vs.video_in_video import NO_HOST, VideoInVideo

SIDE, LENGTH = 16, 6
WEAK = WeakView(LENGTH, SIDE, PictureCrop((0.9, 1.0)))
STRONG = StrongView(LENGTH, SIDE, frames=None, mixing=VideoInVideo(chance=0.9))


def encode(pictures):
    """Mean colours of halves: [T, 2, 3]."""
    pictures = torch.from_numpy(pictures).float() / 255
    return torch.stack(
        [pictures[:, :, : SIDE // 2].mean(dim=(1, 2)), pictures[:, :, SIDE // 2 :].mean(dim=(1, 2))], dim=1
    )


def fresh(frames_folder, *, size=4, seed=0, strong=STRONG, weak=WEAK, window=64, furniture=None, **dealing):
    clips = find_clips([frames_folder])
    dealer = Dealer(len(clips), size, seed=seed, **dealing)
    return FreshCells(clips, encode, ClipViews(weak, strong, window, furniture), dealer, seed=seed)


class Counted:
    """Made-up cells of one clip each, which say what was asked for."""

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count

    def cell(self, round, number):
        vectors = torch.full((1, 2, 1, 1), float(number), dtype=torch.float16)
        length = torch.tensor([2])
        pair = (vectors, vectors.clone(), length, length.clone())
        return Cell(torch.tensor([number]), *pair, torch.tensor([NO_HOST]), torch.ones(1))


def numbers_of(batch):
    return batch.vectors[: len(batch.vectors) // 2, 0, 0, 0].int().tolist()


class TestFreshCells:
    def test_cells_hold_the_clips_that_were_dealt(self, frames_folder):
        cells = fresh(frames_folder)
        dealt = Dealer(8, 4, seed=0).cells(1)
        assert len(cells) == 2
        assert all(cells.cell(1, number).clips.equal(dealt[number]) for number in range(2))

    def test_seed_round_and_number_say_everything(self, frames_folder):
        first, other = fresh(frames_folder), fresh(frames_folder)
        other.cell(7, 1)  # whatever was asked before
        for name, tensor in vars(first.cell(1, 0)).items():
            assert tensor.equal(getattr(other.cell(1, 0), name)), name
        assert not fresh(frames_folder, seed=1).cell(1, 0).strong.equal(first.cell(1, 0).strong)

    def test_shapes(self, frames_folder):
        cell = fresh(frames_folder).cell(0, 0)
        assert cell.weak.shape == cell.strong.shape == (4, LENGTH, 2, 3)
        assert cell.weak.dtype == torch.float16
        assert cell.weak_lengths.tolist() == [LENGTH] * 4

    def test_a_host_lies_in_the_same_cell(self, frames_folder):
        cell = fresh(frames_folder).cell(0, 0)
        assert (cell.hosts != NO_HOST).any()
        assert cell.hosts.max() < 4

    def test_short_clips_are_repeated_or_have_shorter_views(self, frames_folder):
        weak, strong = (replace(view, repeats=False) for view in (WEAK, replace(STRONG, temporal=None, mixing=None)))
        cell = fresh(frames_folder, size=8, weak=weak, strong=strong).cell(0, 0)
        expected = [min(LENGTH, 3 + int(clip)) for clip in cell.clips]
        assert cell.weak_lengths.tolist() == cell.strong_lengths.tolist() == expected
        for vectors, length in zip(cell.weak, expected, strict=True):
            assert vectors[:length].abs().amax(dim=(1, 2)).min() > 0
            assert not vectors[length:].any()

    def test_a_mixture_ends_where_one_of_both_does(self, frames_folder):
        strong = replace(STRONG, temporal=None, repeats=False, mixing=VideoInVideo(chance=1.0))
        cell = fresh(frames_folder, size=8, weak=replace(WEAK, repeats=False), strong=strong).cell(0, 0)
        own = cell.weak_lengths
        assert cell.strong_lengths.equal(torch.minimum(own, own[cell.hosts]))
        assert (cell.strong_lengths < own).any()

    def test_a_clip_that_cannot_be_read_is_left_out_and_noted(self, tmp_path, frames_folder):
        shutil.copytree(frames_folder, tmp_path / "frames")
        (tmp_path / "frames" / "clip5" / "00001.jpg").write_bytes(b"damaged")
        cells = fresh(tmp_path / "frames", size=8)
        assert sorted(cells.cell(0, 0).clips.tolist()) == [0, 1, 2, 3, 4, 6, 7]
        assert list(cells.failed) == ["clip5"]
        assert "00001.jpg" in cells.failed["clip5"]

    def test_without_a_readable_clip_there_is_no_cell(self, tmp_path, frames_folder):
        (tmp_path / "frames" / "a").mkdir(parents=True)
        (tmp_path / "frames" / "a" / "00000.jpg").write_bytes(b"damaged")
        with pytest.raises(DataError, match=r"none of the clips can be read: .*00000\.jpg"):
            fresh(tmp_path / "frames", size=1).cell(0, 0)

    def test_a_cell_of_damaged_clips_gives_way_to_the_next(self, tmp_path, frames_folder):
        shutil.copytree(frames_folder, tmp_path / "frames")
        (tmp_path / "frames" / "clip5" / "00001.jpg").write_bytes(b"damaged")
        cells = fresh(tmp_path / "frames", size=1)
        assert len(cells) == 8
        found = [int(cells.cell(0, number).clips) for number in range(8)]
        assert 5 not in found
        assert len(set(found)) == 7

    def test_the_last_cell_may_be_smaller_where_all_clips_are_taken(self, frames_folder):
        cells = fresh(frames_folder, size=3, takes_all=True)
        sizes = [len(cells.cell(0, number)) for number in range(len(cells))]
        assert sizes == [3, 3, 2]
        assert len(fresh(frames_folder, size=3)) == 2

    def test_short_clips_are_repeated_before_anything_is_done_to_them(self, frames_folder):
        """As published: what drops segments has as many frames to choose from as in a long clip."""
        seen = []

        class Noted:
            def draw(self, num_frames, generator):
                seen.append(num_frames)
                return Unchanged().draw(num_frames, generator)

        fresh(frames_folder, size=8, strong=replace(STRONG, temporal=Noted()), window=24).cell(0, 0)
        assert seen == [24] * 8

    def test_furniture_is_told_of_weak_and_strong_views_together(self, frames_folder):
        class Black:
            """The first eight views are black, the weak ones."""

            def draw(self, views, generator):
                assert len(views) == 16
                return [view * (number >= 8) for number, view in enumerate(views)]

        strong = replace(STRONG, mixing=None)
        cell = fresh(frames_folder, size=8, strong=strong, furniture=Black()).cell(0, 0)
        assert not cell.weak.any()
        assert cell.strong.amax(dim=(1, 2, 3)).min() > 0


class TestBank:
    def test_what_is_kept_is_what_was_made_and_is_made_once(self, tmp_path, frames_folder):
        bank = Bank(fresh(frames_folder), tmp_path, rounds=2)
        made = bank.cell(1, 0)
        nothing = Bank(Counted(2), tmp_path, rounds=2)  # would make other cells
        for name, tensor in vars(made).items():
            assert tensor.equal(getattr(nothing.cell(1, 0), name)), name

    def test_rounds_take_turns(self, tmp_path, frames_folder):
        bank = Bank(fresh(frames_folder), tmp_path, rounds=2)
        assert bank.cell(5, 1).strong.equal(bank.cell(1, 1).strong)
        assert not bank.cell(0, 1).strong.equal(bank.cell(1, 1).strong)

    def test_filling_goes_on_where_it_ended(self, tmp_path):
        asked = []
        bank = Bank(Counted(3), tmp_path, rounds=2)
        bank.fill(Share(), lambda: asked.append(1) or len(asked) > 4)
        assert len(list(tmp_path.rglob("*.safetensors"))) == 4
        bank.fill(Share())
        assert len(list(tmp_path.rglob("*.safetensors"))) == 6

    def test_a_damaged_cell_is_named(self, tmp_path):
        Bank(Counted(1), tmp_path, rounds=1).fill(Share())
        (file,) = tmp_path.rglob("*.safetensors")
        file.write_bytes(file.read_bytes()[:50])
        with pytest.raises(DataError, match=r"00000\.safetensors: no readable cell of a bank"):
            Bank(Counted(1), tmp_path, rounds=1).cell(0, 0)


class TestBatches:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
    def test_no_cell_comes_twice_before_all_have_come_and_what_is_left_over_comes_first(
        self, count, size, processes, seed
    ):
        size = min(size, count)
        batches = Batches(Counted(count), cells_a_batch=size, seed=seed)
        seen = []
        for number in range(2 * count):
            for rank in range(processes):
                seen += numbers_of(batches.draw(number, Share(rank, processes)))
        for start in range(0, len(seen) - count + 1, count):
            assert sorted(seen[start : start + count]) == list(range(count))

    def test_processes_share_what_one_would_take(self):
        one, several = (Batches(Counted(12), cells_a_batch=size, seed=3) for size in (4, 2))
        for number in range(6):
            shares = [numbers_of(several.draw(number, Share(rank, 2))) for rank in range(2)]
            assert [*shares[0], *shares[1]] == numbers_of(one.draw(number, Share()))

    def test_epochs_have_orders_of_their_own(self):
        batches = Batches(Counted(8), cells_a_batch=8, seed=0)
        assert len({tuple(numbers_of(batches.draw(number, Share()))) for number in range(4)}) == 4

    def test_labels_are_of_the_whole_batch(self, frames_folder):
        cells = fresh(frames_folder)
        batch = Batches(cells, cells_a_batch=2, seed=0).draw(0, Share())
        assert batch.vectors.shape == (16, LENGTH, 2, 3)
        assert batch.vectors.dtype == torch.float32
        for clip in range(8):
            assert batch.labels.is_positive[clip, 8 + clip]
        two = [cells.cell(0, number) for number in range(2)]
        hosts = torch.cat(
            [torch.where(cell.hosts == NO_HOST, NO_HOST, cell.hosts + 4 * k) for k, cell in enumerate(two)]
        )
        of = Batches(cells, cells_a_batch=2, seed=0).of(two)
        for clip, host in enumerate(hosts.tolist()):
            if host != NO_HOST:
                assert of.labels.is_positive[8 + clip, host]

    def test_a_clip_that_is_in_a_batch_twice_is_no_negative_of_itself(self):
        batches = Batches(Counted(3), cells_a_batch=2, seed=0)
        cell = Counted(3).cell(0, 1)
        labels = batches.of([cell, cell]).labels
        assert not labels.is_negative.any()
        assert labels.is_positive[0, 2]
        assert not labels.is_positive[0, 1]

    def test_related_clips_are_no_negatives(self):
        is_related = np.eye(3, dtype=bool)
        is_related[0, 2] = is_related[2, 0] = True
        batches = Batches(Counted(3), cells_a_batch=3, seed=0, is_related=is_related)
        labels = batches.of([Counted(3).cell(0, number) for number in range(3)]).labels
        assert not labels.is_negative[0, 2]
        assert labels.is_negative[0, 1]

    def test_too_few_cells(self):
        with pytest.raises(DataError, match="3 cells do not fill a batch of 4"):
            Batches(Counted(3), cells_a_batch=4, seed=0)


class TestLengths:
    def test_published_views_are_whole(self):
        assert Lengths().draw(5, 32, torch.Generator()) is None

    def test_some_are_cut_to_any_length(self):
        mask = Lengths(short_share=0.5, shortest=2).draw(4000, 8, torch.Generator().manual_seed(0))
        lengths = Counter(mask.sum(dim=1).tolist())
        assert lengths.keys() == set(range(2, 9))
        assert (mask[:, 1:] <= mask[:, :-1]).all()  # the real ones come first
        assert lengths[8] / 4000 == pytest.approx(0.5 + 0.5 / 7, abs=0.03)

    def test_they_are_part_of_the_batch(self, frames_folder):
        batches = Batches(fresh(frames_folder), cells_a_batch=2, seed=0, lengths=Lengths(short_share=1.0, shortest=1))
        mask = batches.draw(0, Share()).mask
        assert mask.shape == (16, LENGTH)
        assert mask[:, 0].all()
        assert not mask.all()
