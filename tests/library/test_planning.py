"""What a run of `visil index` decides: a function of the files found and the rows stored."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.library.files import FoundFile, content_hash, find_files, new_id
from visil.library.planning import Plan, plan
from visil.library.store import FAILED, OK, FileFacts, VideoRecord

SECOND_NS = 1_000_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def write(path: Path, content: str, *, at_s: int = 1000) -> Path:
    """A file with a time of its own: plans never depend on the clock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, ns=(at_s * SECOND_NS, at_s * SECOND_NS))
    return path


def record_of(path: Path, *, id: str | None = None, status: str = OK, root: Path | str = "/") -> VideoRecord:
    """The row of a file as it is now, found below this root (by default one that is always there)."""
    status_now = path.stat()
    file = FileFacts(str(path), status_now.st_size, status_now.st_mtime_ns, content_hash(path), root=str(root))
    return VideoRecord(id or path.name, file, status, "", 1.0, 1, None)


def plan_for(
    root: Path,
    records: list[VideoRecord],
    *,
    retry_failed: bool = False,
    hash_file: Callable[[Path], str] = content_hash,
) -> Plan:
    return plan(find_files([root]).files, records, hash_file=hash_file, roots=[root], retry_failed=retry_failed)


def jobs_of(made: Plan) -> dict[str, str | None]:
    """What becomes of every id that is written: None if it is encoded, else the id it is copied from."""
    return {target.id: job.copy_of for job in made.jobs for target in job.targets}


def never_hash(path: Path) -> str:
    raise AssertionError(f"{path} was read")


class TestOneFile:
    def test_a_new_file_is_encoded_under_its_path_below_the_root(self, root):
        write(root / "news/a.mp4", "A")
        made = plan_for(root, [])
        assert jobs_of(made) == {"news/a.mp4": None}
        assert made.jobs[0].targets[0].is_new

    def test_an_unchanged_file_is_not_even_read(self, root):
        record = record_of(write(root / "a.mp4", "A"))
        made = plan_for(root, [record], hash_file=never_hash)
        assert made == Plan(unchanged=[record])

    def test_a_touched_file_only_gets_its_new_time(self, root):
        record = record_of(write(root / "a.mp4", "A"))
        write(root / "a.mp4", "A", at_s=2000)
        made = plan_for(root, [record])
        assert made.unchanged == [record] and not made.jobs and not made.moved
        assert made.new_files["a.mp4"].mtime_ns == 2000 * SECOND_NS

    def test_changed_content_is_encoded_under_the_same_id(self, root):
        record = record_of(write(root / "a.mp4", "A"), id="its id")
        write(root / "a.mp4", "another", at_s=2000)
        made = plan_for(root, [record])
        assert jobs_of(made) == {"its id": None}
        assert not made.jobs[0].targets[0].is_new

    def test_changed_content_of_equal_size_is_found_by_the_time(self, root):
        record = record_of(write(root / "a.mp4", "A"))
        write(root / "a.mp4", "B", at_s=2000)
        assert jobs_of(plan_for(root, [record])) == {"a.mp4": None}

    def test_a_vanished_file_below_the_roots_is_reported_and_kept(self, root):
        record = record_of(write(root / "a.mp4", "A"))
        (root / "a.mp4").unlink()
        made = plan_for(root, [record])
        assert made == Plan(vanished=[record])

    def test_a_vanished_file_elsewhere_is_not_mentioned(self, root, tmp_path):
        record = record_of(write(tmp_path / "elsewhere/a.mp4", "A"))
        (tmp_path / "elsewhere/a.mp4").unlink()
        assert plan_for(root, [record]) == Plan()

    def test_an_unreadable_file_is_named_with_the_reason(self, root):
        def denied(path: Path) -> str:
            raise PermissionError(errno.EACCES, "Permission denied")

        for name in ("a.mp4", "b.mp4"):
            write(root / name, name)
        reason = "cannot be read (Permission denied)"
        made = plan_for(root, [], hash_file=denied)
        assert made == Plan(unreadable=[(str(root / "a.mp4"), reason), (str(root / "b.mp4"), reason)])

    def test_a_file_that_no_other_can_equal_is_not_read_before_it_is_decoded(self, root):
        stored = record_of(write(root / "stored.mp4", "four"))
        write(root / "a.mp4", "A")
        write(root / "b.mp4", "BB")
        made = plan_for(root, [stored], hash_file=never_hash)
        assert {target.id: target.file.sha256 for job in made.jobs for target in job.targets} == {
            "a.mp4": "",
            "b.mp4": "",
        }

    def test_a_name_that_is_no_text_is_named_in_a_readable_way(self, root):
        write(root / os.fsdecode(b"caf\xe9.mp4"), "A")
        ((path, reason),) = plan_for(root, []).unreadable
        assert path == rf"$'{root}/caf\xe9.mp4'", "as a shell takes it: it can be pasted to rename the file"
        assert reason == "its name is not valid UTF-8; rename it"


class TestMoves:
    def test_the_same_content_under_a_new_path_is_a_move_if_the_old_path_is_gone(self, root):
        record = record_of(write(root / "a.mp4", "A"))
        (root / "a.mp4").rename(root / "b.mp4")
        made = plan_for(root, [record])
        assert made.moved == [("a.mp4", str(root / "a.mp4"), str(root / "b.mp4"))]
        assert made.new_files["a.mp4"].path == str(root / "b.mp4")
        assert not made.jobs and not made.vanished

    def test_the_same_content_is_a_copy_if_the_old_path_is_still_there(self, root):
        record = record_of(write(root / "a.mp4", "A"))
        write(root / "b.mp4", "A")
        made = plan_for(root, [record])
        assert jobs_of(made) == {"b.mp4": "a.mp4"}
        assert made.unchanged == [record] and not made.moved

    def test_two_files_that_swap_names_swap_contents_and_nothing_is_encoded(self, root):
        records = [record_of(write(root / "a.mp4", "A")), record_of(write(root / "b.mp4", "B"))]
        write(root / "a.mp4", "B", at_s=2000)
        write(root / "b.mp4", "A", at_s=2000)
        made = plan_for(root, records)
        assert jobs_of(made) == {"a.mp4": "b.mp4", "b.mp4": "a.mp4"}
        assert not made.moved and not made.vanished

    def test_a_chain_of_renames_encodes_nothing(self, root):
        records = [record_of(write(root / "a.mp4", "A")), record_of(write(root / "b.mp4", "B", at_s=1001))]
        (root / "b.mp4").rename(root / "c.mp4")
        (root / "a.mp4").rename(root / "b.mp4")
        made = plan_for(root, records)
        assert jobs_of(made) == {"b.mp4": "a.mp4", "c.mp4": "b.mp4"}
        assert [record.id for record in made.vanished] == ["a.mp4"]

    def test_one_vanished_and_two_equal_new_files_are_a_move_and_a_copy(self, root):
        record = record_of(write(root / "a.mp4", "A"))
        (root / "a.mp4").unlink()
        write(root / "x.mp4", "A")
        write(root / "y.mp4", "A")
        made = plan_for(root, [record])
        assert [(id, Path(new).name) for id, _, new in made.moved] == [("a.mp4", "x.mp4")]
        assert jobs_of(made) == {"y.mp4": "a.mp4"}

    def test_two_vanished_equal_files_move_in_the_order_of_their_paths(self, root):
        records = [record_of(write(root / name, "A")) for name in ("a.mp4", "b.mp4")]
        for name, new in (("a.mp4", "x.mp4"), ("b.mp4", "y.mp4")):
            (root / name).rename(root / new)
        moved = plan_for(root, records).moved
        assert [(id, Path(new).name) for id, _, new in moved] == [("a.mp4", "x.mp4"), ("b.mp4", "y.mp4")]

    def test_a_new_file_under_an_old_path_gets_an_id_of_its_own(self, root):
        record = record_of(write(root / "a.mp4", "A"))
        (root / "a.mp4").rename(root / "b.mp4")
        moved = record_of(root / "b.mp4", id=record.id)
        write(root / "a.mp4", "new", at_s=2000)
        made = plan_for(root, [moved])
        assert jobs_of(made) == {"videos/a.mp4": None}
        assert made.unchanged == [moved]

    def test_a_file_moved_out_of_the_way_of_a_new_one_is_copied_under_its_new_name(self, root):
        record = record_of(write(root / "a.mp4", "A"))
        (root / "a.mp4").rename(root / "b.mp4")
        write(root / "a.mp4", "new", at_s=2000)
        assert jobs_of(plan_for(root, [record])) == {"a.mp4": None, "b.mp4": "a.mp4"}

    def test_a_file_that_cannot_be_looked_at_is_not_taken_for_gone(self, root, monkeypatch):
        record = record_of(write(root / "locked/a.mp4", "A"))
        write(root / "b.mp4", "A")
        stat = os.stat

        def denied(path, *args, **kwargs):
            if "locked" in os.fspath(path):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
            return stat(path, *args, **kwargs)

        monkeypatch.setattr(os, "stat", denied)
        made = plan(find_files([root / "b.mp4"]).files, [record], hash_file=content_hash, roots=[root])
        assert jobs_of(made) == {"b.mp4": "a.mp4"}
        assert not made.moved and not made.vanished


class TestUnmountedRoots:
    """A root that is missing or empty as a whole is no heap of deleted files."""

    @pytest.fixture
    def drive(self, tmp_path: Path) -> Path:
        return tmp_path / "drive"

    @pytest.fixture
    def records(self, drive: Path) -> list[VideoRecord]:
        return [
            record_of(write(drive / name, content), root=drive) for name, content in [("a.mp4", "A"), ("s/b.mp4", "B")]
        ]

    @pytest.mark.parametrize("is_mount_point", [True, False], ids=["empty", "missing"])
    def test_of_an_unmounted_root_nothing_is_gone(self, drive, records, is_mount_point):
        shutil.rmtree(drive)
        if is_mount_point:
            drive.mkdir()
        assert plan_for(drive, records) == Plan(unmounted={str(drive): 2})

    def test_it_is_named_when_a_folder_around_it_is_indexed_but_not_for_another_one(self, drive, records, root):
        shutil.rmtree(drive)
        assert plan_for(drive.parent, records).unmounted == {str(drive): 2}
        assert plan_for(root, records) == Plan()

    def test_nothing_of_it_has_moved_to_where_equal_files_lie(self, drive, records, root):
        shutil.rmtree(drive)
        write(root / "copy of a.mp4", "A")
        made = plan_for(root, records)
        assert jobs_of(made) == {"copy of a.mp4": "a.mp4"}
        assert not made.moved and not made.vanished

    def test_a_root_whose_videos_are_found_below_another_one_was_renamed(self, drive, records, root):
        shutil.rmtree(drive)
        write(root / "s/b.mp4", "B")
        made = plan([*find_files([root]).files], records, hash_file=content_hash, roots=[root, drive])
        assert made.moved == [("b.mp4", str(drive / "s/b.mp4"), str(root / "s/b.mp4"))]
        assert [record.id for record in made.vanished] == ["a.mp4"], "it did not come along: it was deleted"
        assert not made.unmounted

    def test_a_file_deleted_from_a_root_that_is_there_is_gone_as_ever(self, drive, records):
        (drive / "a.mp4").unlink()
        made = plan_for(drive, records)
        assert ([record.id for record in made.vanished], made.unmounted) == (["a.mp4"], {})

    def test_a_file_that_was_given_by_name_has_no_root_to_lose(self, root):
        made = plan(find_files([write(root / "a.mp4", "A")]).files, [], hash_file=content_hash, roots=[root])
        assert made.jobs[0].targets[0].file.root == ""
        record = record_of(root / "a.mp4", root="")
        shutil.rmtree(root)
        assert plan_for(root.parent, [record]) == Plan(vanished=[record])

    def test_until_it_is_found_below_a_folder(self, root):
        record = record_of(write(root / "a.mp4", "A"), root="")
        made = plan_for(root, [record], hash_file=never_hash)
        assert made.new_files == {"a.mp4": replace(record.file, root=str(root))}
        assert made.unchanged == [record] and not made.jobs


class TestEqualContent:
    def test_two_equal_new_files_are_two_rows_and_one_job(self, root):
        for name in ("a.mp4", "b.mp4"):
            write(root / name, "A")
        (job,) = plan_for(root, []).jobs
        assert [target.id for target in job.targets] == ["a.mp4", "b.mp4"]
        assert job.copy_of is None

    def test_a_copy_of_a_failure_is_tried_for_itself(self, root):
        record = record_of(write(root / "a.mp4", "A"), status=FAILED)
        write(root / "b.mp4", "A")
        made = plan_for(root, [record])
        assert jobs_of(made) == {"b.mp4": None}
        assert made.failed_before == [record]


class TestFailures:
    def test_a_failure_is_not_tried_again(self, root):
        record = record_of(write(root / "a.mp4", "A"), status=FAILED)
        assert plan_for(root, [record]) == Plan(failed_before=[record])

    def test_unless_that_is_asked_for(self, root):
        record = record_of(write(root / "a.mp4", "A"), status=FAILED)
        assert jobs_of(plan_for(root, [record], retry_failed=True)) == {"a.mp4": None}

    def test_or_its_content_has_changed(self, root):
        record = record_of(write(root / "a.mp4", "A"), status=FAILED)
        write(root / "a.mp4", "mended", at_s=2000)
        assert jobs_of(plan_for(root, [record])) == {"a.mp4": None}

    def test_a_touched_failure_stays_a_failure(self, root):
        record = record_of(write(root / "a.mp4", "A"), status=FAILED)
        write(root / "a.mp4", "A", at_s=2000)
        made = plan_for(root, [record])
        assert made.failed_before == [record] and not made.jobs

    def test_a_touched_failure_is_tried_again_if_that_is_asked_for(self, root):
        record = record_of(write(root / "a.mp4", "A"), status=FAILED)
        write(root / "a.mp4", "A", at_s=2000)
        assert jobs_of(plan_for(root, [record], retry_failed=True)) == {"a.mp4": None}

    @pytest.mark.parametrize("retry_failed", [False, True])
    def test_a_moved_failure_keeps_its_id_and_is_tried_again_only_if_asked_for(self, root, retry_failed):
        record = record_of(write(root / "a.mp4", "A"), status=FAILED)
        (root / "a.mp4").rename(root / "b.mp4")
        made = plan_for(root, [record], retry_failed=retry_failed)
        assert [id for id, _, _ in made.moved] == ["a.mp4"]
        assert jobs_of(made) == ({"a.mp4": None} if retry_failed else {})
        assert made.failed_before == ([] if retry_failed else [record])


class TestVideosThatWereCutShort:
    """By a stall, a crash or a limit: the row holds what came before, and its reason class."""

    @staticmethod
    def cut_short(path: Path) -> VideoRecord:
        return replace(record_of(path), num_samples=7, reason_class="stalled")

    def test_are_left_alone(self, root):
        record = self.cut_short(write(root / "a.mp4", "A"))
        assert plan_for(root, [record], hash_file=never_hash) == Plan(unchanged=[record])

    def test_are_tried_again_with_the_failures_and_must_not_become_less(self, root):
        record = self.cut_short(write(root / "a.mp4", "A"))
        made = plan_for(root, [record], retry_failed=True)
        assert jobs_of(made) == {"a.mp4": None}, "not a copy of itself"
        assert made.jobs[0].targets[0].num_kept == 7

    def test_are_tried_again_where_they_were_moved_to(self, root):
        record = self.cut_short(write(root / "a.mp4", "A"))
        (root / "a.mp4").rename(root / "b.mp4")
        made = plan_for(root, [record], retry_failed=True)
        assert jobs_of(made) == {"a.mp4": None}
        assert (made.jobs[0].path, made.jobs[0].targets[0].num_kept) == (root / "b.mp4", 7)

    def test_may_become_anything_when_their_content_has_changed(self, root):
        record = self.cut_short(write(root / "a.mp4", "A"))
        write(root / "a.mp4", "B", at_s=2000)
        assert plan_for(root, [record]).jobs[0].targets[0].num_kept == 0

    def test_of_one_content_are_read_once(self, root):
        records = [self.cut_short(write(root / name, "A")) for name in ("a.mp4", "b.mp4")]
        assert [len(job.targets) for job in plan_for(root, records, retry_failed=True).jobs] == [2]

    def test_take_the_whole_video_where_an_equal_file_was_read_to_its_end(self, root):
        records = [self.cut_short(write(root / "a.mp4", "A")), record_of(write(root / "b.mp4", "A"))]
        assert jobs_of(plan_for(root, records, retry_failed=True)) == {"a.mp4": "b.mp4"}


class TestRowsWithoutAHash:
    """`verify --repair` leaves such a failure for a video whose row was damaged: its content is not known."""

    @pytest.fixture
    def damaged(self, root: Path) -> VideoRecord:
        record = record_of(write(root / "damaged.mp4", "damaged"), status=FAILED, root=root)
        return replace(record, file=replace(record.file, sha256="", mtime_ns=-1))

    def test_its_file_is_encoded_again(self, root, damaged):
        made = plan_for(root, [damaged])
        assert jobs_of(made) == {"damaged.mp4": None}
        assert not made.jobs[0].targets[0].is_new

    def test_even_if_it_has_another_size_by_now(self, root, damaged):
        write(root / "damaged.mp4", "of another size", at_s=2000)
        assert jobs_of(plan_for(root, [damaged])) == {"damaged.mp4": None}

    def test_no_new_file_is_taken_for_it_when_its_own_is_gone(self, root, damaged):
        (root / "damaged.mp4").unlink()
        write(root / "new.mp4", "new")
        made = plan_for(root, [damaged])
        assert jobs_of(made) == {"new.mp4": None}
        assert made.vanished == [damaged] and not made.moved

    def test_nor_is_its_root_renamed_to_where_another_file_has_its_name(self, root, damaged, tmp_path):
        shutil.rmtree(root)
        other = write(tmp_path / "other/damaged.mp4", "new").parent
        made = plan(find_files([other]).files, [damaged], hash_file=never_hash, roots=[root, other])
        assert made.unmounted == {str(root): 1}
        assert not made.moved


class TestIds:
    def found(self, root: Path, name: str) -> FoundFile:
        return FoundFile(root / name, root, name)

    def test_the_folder_of_the_root_comes_before_a_taken_id(self):
        file = self.found(Path("/home/ann/videos"), "a.mp4")
        assert new_id(file, set()) == "a.mp4"
        assert new_id(file, {"a.mp4"}) == "videos/a.mp4"
        assert new_id(file, {"a.mp4", "videos/a.mp4"}) == "ann/videos/a.mp4"

    def test_there_is_always_another_id_however_often_a_name_was_used(self):
        file = self.found(Path("/v"), "latest.mp4")
        taken: set[str] = set()
        for _ in range(20):
            id = new_id(file, taken)
            assert id not in taken
            taken.add(id)

    def test_two_roots_with_equal_names_inside_give_two_ids(self, tmp_path):
        for root in ("one", "two"):
            write(tmp_path / root / "a.mp4", root)
        found = find_files([tmp_path / "one", tmp_path / "two"]).files
        made = plan(found, [], hash_file=content_hash, roots=[tmp_path])
        assert sorted(jobs_of(made)) == ["a.mp4", "two/a.mp4"]

    def test_a_pattern_names_the_ids(self, root):
        write(root / "q1/video.mp4", "1")
        write(root / "deep/q2/video.webm", "2")
        write(root / "q1/other.mp4", "3")
        found = find_files([root], pattern="{id}/video.*").files
        assert [file.name for file in found] == ["deep/q2", "q1"]


class TestEveryPlan:
    """Whatever was stored and whatever is found now, on four names and three contents."""

    NAMES = ("a.mp4", "b.mp4", "c.mp4", "d.mp4")
    CONTENTS = ("A", "B", "longer")  # equal sizes are hashed to decide, others beside decoding
    states = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(CONTENTS))

    @given(before=states, now=states, failed=st.sets(st.sampled_from(CONTENTS), max_size=1), retry=st.booleans())
    def test_accounts_for_every_file_and_every_row_once(self, tmp_path_factory, before, now, failed, retry):
        root = tmp_path_factory.mktemp("videos")
        records = []
        for name, content in before.items():
            path = write(root / name, content)
            records.append(record_of(path, status=FAILED if content in failed else OK))
            path.unlink()
        for name, content in now.items():
            write(root / name, content, at_s=1000 if before.get(name) == content else 2000)

        made = plan_for(root, records, retry_failed=retry)

        written = [target for job in made.jobs for target in job.targets]
        ids = [target.id for target in written]
        assert len(set(ids)) == len(ids), "an id is written twice"
        assert {t.id for t in written if t.is_new}.isdisjoint(r.id for r in records), "a new row takes an old id"
        kept = {r.id: r.file for r in [*made.unchanged, *made.failed_before]} | made.new_files
        stands_for = {target.id: target.file for target in written} | {
            id: file for id, file in kept.items() if id not in ids
        }
        assert sorted(Path(file.path).name for file in stands_for.values()) == sorted(now)
        for file in stands_for.values():
            assert file.sha256 in ("", content_hash(Path(file.path))), "a row would hold another content than its file"
        assert {r.id for r in records} - set(stands_for) == {r.id for r in made.vanished}
        known = {r.file.sha256: r.status for r in sorted(records, key=lambda r: r.status == OK)}
        contents = [content_hash(job.path) for job in made.jobs]
        assert len(set(contents)) == len(contents), "a content would be encoded twice"
        for job, content in zip(made.jobs, contents, strict=True):
            assert all(target.file.sha256 == job.sha256 for target in job.targets)
            assert (job.copy_of is not None) == (known.get(content) == OK), "encoded though it is stored"
        assert retry <= (not made.failed_before)
