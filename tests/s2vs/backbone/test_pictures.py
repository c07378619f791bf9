"""The packed pictures: what is read, what is refused, and which pictures come in which step."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from safetensors.torch import save_file

from visil.errors import DataError
from visil.s2vs.backbone.pictures import (
    FORMAT,
    PackedPictures,
    Source,
    batch_indices,
    mixed_indices,
    nearest_pictures,
    with_nearest,
)

SIDE = 8
FACTS = {
    "format": FORMAT,
    "rule": "all of them",
    "stills": 3,
    "sources": [{"source": "hills", "licence": "CC0", "pictures": 3}, {"source": "sea", "licence": "", "pictures": 2}],
}


def tensors(**changed):
    def stickers(height, width):
        return torch.full((2, height, width, 4), 255, dtype=torch.uint8)

    usual = {
        "pictures": torch.arange(5 * SIDE * SIDE * 3).reshape(5, SIDE, SIDE, 3).to(torch.uint8),
        "groups": torch.tensor([0, 1, 1, 2, 3]),
        "captions": stickers(4, 16),
        "logos": stickers(4, 12),
        "emoji": stickers(6, 6),
    }
    return {name: tensor for name, tensor in (usual | changed).items() if tensor is not None}


def written(path, facts=FACTS, **changed):
    metadata = {"visil": facts if isinstance(facts, str) else json.dumps(facts)}
    save_file(tensors(**changed), path, metadata=metadata)
    return path


def refused(path):
    with pytest.raises(DataError) as caught:
        PackedPictures.read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "scripts/pack_pictures.py" in message
    return message


class TestReading:
    def test_all_of_the_file(self, tmp_path):
        packed = PackedPictures.read(written(tmp_path / "pictures.safetensors"))
        assert len(packed) == 5
        assert packed.side == SIDE
        assert packed.pictures.equal(tensors()["pictures"])
        assert packed.groups.tolist() == [0, 1, 1, 2, 3]
        assert [list(kind.shape) for kind in vars(packed.stickers).values()] == [
            [2, 4, 16, 4],
            [2, 4, 12, 4],
            [2, 6, 6, 4],
        ]
        assert packed.sources == (Source("hills", "CC0", 3), Source("sea", "", 2))
        assert packed.rule == "all of them"

    def test_a_batch_has_its_channels_in_front(self, tmp_path):
        packed = PackedPictures.read(written(tmp_path / "pictures.safetensors"))
        batch = packed.batch(torch.tensor([4, 1]))
        assert batch.shape == (2, 3, SIDE, SIDE)
        assert batch.dtype == torch.uint8
        assert batch[1].equal(packed.pictures[1].permute(2, 0, 1))
        assert batch.is_contiguous(memory_format=torch.channels_last)

    def test_no_file(self, tmp_path):
        assert "no such file" in refused(tmp_path / "pictures.safetensors")

    def test_a_folder(self, tmp_path):
        refused(tmp_path)

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
    def test_a_truncated_file(self, tmp_path, share):
        path = written(tmp_path / "pictures.safetensors")
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        refused(path)

    def test_another_kind_of_file(self, tmp_path):
        path = tmp_path / "pictures.safetensors"
        path.write_bytes(b"GIF89a" * 1000)
        refused(path)

    @pytest.mark.parametrize(
        "facts",
        [
            "null",
            "{",
            "[" * 100_000,
            {"format": "visil training pictures 1"},
            {"format": FORMAT, "sources": []},
            {**FACTS, "sources": 3},
            {**FACTS, "stills": 6},
            {**FACTS, "stills": -1},
            {**FACTS, "sources": [{"source": "hills"}]},
            {**FACTS, "sources": ["hills"]},
            {**FACTS, "sources": [{"source": "hills", "licence": "", "pictures": float("inf")}]},
        ],
        ids=lambda facts: str(facts)[:40],
    )
    def test_wrong_metadata(self, tmp_path, facts):
        refused(written(tmp_path / "pictures.safetensors", facts))

    def test_another_safetensors_file(self, tmp_path):
        path = tmp_path / "pictures.safetensors"
        save_file(tensors(), path)
        assert FORMAT in refused(path)

    @pytest.mark.parametrize("name", list(tensors()))
    def test_a_missing_tensor(self, tmp_path, name):
        assert name in refused(written(tmp_path / "pictures.safetensors", **{name: None}))

    @pytest.mark.parametrize(
        ("name", "tensor"),
        [
            ("pictures", torch.zeros(5, 3, SIDE, SIDE, dtype=torch.uint8)),
            ("pictures", torch.zeros(5, SIDE, SIDE, 3)),
            ("pictures", torch.zeros(5, dtype=torch.uint8)),
            ("pictures", torch.tensor(5, dtype=torch.uint8)),
            ("pictures", torch.zeros(5, SIDE, SIDE + 1, 3, dtype=torch.uint8)),
            ("groups", torch.zeros(4, dtype=torch.int64)),
            ("groups", torch.zeros(5, dtype=torch.int32)),
            ("groups", torch.tensor([0, 1, 2, 3, 5])),
            ("groups", torch.tensor([0, 1, 2, 3, -1])),
            ("captions", torch.zeros(2, 4, 4, 3, dtype=torch.uint8)),
            ("emoji", torch.zeros(2, 4, 4, 4)),
            ("pictures", torch.zeros(5, 0, 0, 3, dtype=torch.uint8)),
            ("captions", torch.zeros(2, 0, 16, 4, dtype=torch.uint8)),
            ("logos", torch.zeros(2, 4, 0, 4, dtype=torch.uint8)),
        ],
        ids=lambda value: value if isinstance(value, str) else f"{value.dtype} {[*value.shape]}",
    )
    def test_a_tensor_of_another_kind(self, tmp_path, name, tensor):
        assert name in refused(written(tmp_path / "pictures.safetensors", **{name: tensor}))

    def test_no_pictures(self, tmp_path):
        nothing = torch.zeros(0, SIDE, SIDE, 3, dtype=torch.uint8)
        refused(written(tmp_path / "pictures.safetensors", pictures=nothing, groups=torch.zeros(0, dtype=torch.int64)))


def epoch_of(groups, epoch=0, seed=0, batch_size=8):
    num_batches = len(groups) // batch_size
    return [
        batch_indices(groups, seed=seed, step=epoch * num_batches + k, batch_size=batch_size)
        for k in range(num_batches)
    ]


class TestBatches:
    ALONE = torch.arange(83)

    def test_no_picture_comes_twice_in_an_epoch(self):
        batches = epoch_of(self.ALONE)
        assert [len(batch) for batch in batches] == [8] * 10
        assert len(set(torch.cat(batches).tolist())) == 80

    def test_a_step_does_not_depend_on_what_was_drawn_before(self):
        first = batch_indices(self.ALONE, seed=3, step=17, batch_size=8)
        torch.manual_seed(99)
        batch_indices(self.ALONE, seed=3, step=4, batch_size=8)
        state = torch.random.get_rng_state()
        assert batch_indices(self.ALONE, seed=3, step=17, batch_size=8).equal(first)
        assert torch.random.get_rng_state().equal(state)

    def test_epochs_and_seeds_differ(self):
        orders = [torch.cat(epoch_of(self.ALONE, epoch, seed)) for epoch in range(3) for seed in range(3)]
        assert len({tuple(order.tolist()) for order in orders}) == 9

    def test_every_picture_gets_its_turn(self):
        """3 of 83 are left over in an epoch, others in each."""
        counts = Counter(int(i) for epoch in range(40) for batch in epoch_of(self.ALONE, epoch) for i in batch)
        assert len(counts) == 83
        assert min(counts.values()) > 30

    def test_any_two_pictures_may_meet(self):
        groups = torch.arange(24)
        met = {
            frozenset((int(a), int(b)))
            for epoch in range(60)
            for batch in epoch_of(groups, epoch)
            for a in batch
            for b in batch
            if a != b
        }
        assert len(met) == 24 * 23 // 2

    def test_those_of_a_group_are_in_different_batches(self):
        groups = torch.tensor([0] * 10 + [1] * 9 + [2] * 5 + list(range(3, 59)))
        for epoch in range(20):
            for batch in epoch_of(groups, epoch):
                assert max(Counter(groups[batch].tolist()).values()) == 1

    def test_those_of_a_huge_group_are_spread_evenly(self):
        groups = torch.tensor([0] * 25 + list(range(1, 56)))  # 10 batches
        for batch in epoch_of(groups):
            assert 2 <= (groups[batch] == 0).sum() <= 3

    def test_too_few_pictures(self):
        with pytest.raises(DataError, match="7 pictures are too few for batches of 8"):
            batch_indices(torch.arange(7), seed=0, step=0, batch_size=8)

    def test_all_of_them_in_one_batch(self):
        assert sorted(batch_indices(torch.arange(8), seed=0, step=5, batch_size=8).tolist()) == list(range(8))


class TestMixedBatches:
    GROUPS = torch.cat([torch.arange(60), torch.full((25,), 60), torch.full((5,), 61)])  # frames of two components

    def batches(self, share, num_stills=60, count=6):
        how = {"seed": 0, "batch_size": 10, "frame_share": share}
        return [mixed_indices(self.GROUPS, num_stills, step=step, **how) for step in range(count)]

    def test_frames_are_a_share_of_every_batch(self):
        batches = self.batches(0.2)
        assert [int((batch >= 60).sum()) for batch in batches] == [2] * 6
        assert all(len(set(batch.tolist())) == 10 for batch in batches)

    def test_stills_come_once_before_any_comes_again(self):
        seen = torch.cat(self.batches(0.2))
        assert Counter(seen[seen < 60].tolist()).most_common(1)[0][1] == 1

    @pytest.mark.parametrize(("share", "num_stills"), [(0.0, 60), (0.2, 90), (0.2, 0)])
    def test_of_one_kind_they_are_plain_batches(self, share, num_stills):
        plain = [batch_indices(self.GROUPS, seed=0, step=step, batch_size=10) for step in range(6)]
        assert all(a.equal(b) for a, b in zip(self.batches(share, num_stills), plain, strict=True))


class TestNearest:
    VECTORS = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0], [0.995, -0.0998]])

    def test_the_most_alike_come_first_and_none_of_its_own_group(self):
        nearest = nearest_pictures(self.VECTORS, torch.tensor([0, 1, 2, 3, 0]), count=2)
        assert nearest.tolist() == [[1, 2], [2, 0], [1, 3], [2, 1], [1, 2]]

    def test_many_pictures_are_compared_in_parts(self, monkeypatch):
        vectors = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        whole = nearest_pictures(vectors, torch.arange(50), count=3)
        monkeypatch.setattr("visil.s2vs.backbone.pictures.ROWS_AT_ONCE", 7)
        assert nearest_pictures(vectors, torch.arange(50), count=3).equal(whole)

    def filled(self, seed=0, **changed):
        nearest = (torch.arange(100)[:, None] + torch.arange(1, 7)) % 100  # the six that follow
        how = {"batch_size": 40, "clique": 3, "generator": torch.Generator().manual_seed(seed)} | changed
        return with_nearest(torch.arange(0, 100, 5), nearest, **how)

    def test_a_batch_is_filled_up_with_pictures_like_its_own_and_has_none_twice(self):
        batch = self.filled()
        assert batch[:20].equal(torch.arange(0, 100, 5))
        assert len(batch) == len(set(batch.tolist())) == 40
        followers = Counter((number // 5 * 5) for number in batch[20:].tolist())
        assert max(followers.values()) > 1  # several of one picture, not one of each

    def test_it_is_that_of_the_seed(self):
        assert self.filled(seed=1).equal(self.filled(seed=1))
        assert not self.filled(seed=1).equal(self.filled(seed=2))

    def test_a_batch_that_is_full_stays(self):
        assert self.filled(batch_size=20).equal(torch.arange(0, 100, 5))
