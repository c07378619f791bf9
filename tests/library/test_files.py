"""Which files are found below the paths that a user names, and under which names."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from visil.errors import DataError
from visil.library.files import content_hash, find_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def touch(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def names(*paths: Path, **patterns: Any) -> list[str]:
    return [file.name for file in find_files(paths, **patterns).files]


class TestFolders:
    def test_are_searched_for_names_that_videos_usually_have(self, root):
        for name in ("b.mp4", "a/c.MKV", "a/b/d.WebM", "notes.txt", "song.mp3", "no_suffix", "e.gif", "cover.jpg"):
            touch(root / name)
        assert names(root) == ["a/b/d.WebM", "a/c.MKV", "b.mp4", "e.gif"]

    def test_hidden_files_and_folders_are_passed_over(self, root):
        touch(root / ".hidden.mp4")
        touch(root / ".trash/a.mp4")
        touch(root / "b.mp4")
        assert names(root) == ["b.mp4"]

    def test_a_hidden_folder_that_is_named_itself_is_searched(self, root):
        touch(root / ".hidden/a.mp4")
        assert names(root / ".hidden") == ["a.mp4"]

    def test_links_are_followed_and_loops_end(self, root, tmp_path):
        touch(tmp_path / "elsewhere/a.mp4")
        (root / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere/back").symlink_to(root)
        assert names(root) == ["link/a.mp4"]

    def test_a_link_to_itself_and_a_link_to_its_own_folder_end(self, root):
        touch(root / "a/b.mp4")
        (root / "a/again").symlink_to(root / "a")
        (root / "self").symlink_to(root / "self")
        (root / "self.mp4").symlink_to(root / "self.mp4")
        assert find_files([root]).passed_over.links == {str(root / "self.mp4")}
        assert names(root) == ["a/b.mp4"]

    def test_what_the_system_refuses_is_named_and_the_rest_is_found(self, root, monkeypatch):
        for name in ("a.mp4", "locked/b.mp4", "z.mp4"):
            touch(root / name)
        stat = os.stat

        def denied(path, *args, **kwargs):
            if os.fspath(path).endswith("b.mp4"):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
            return stat(path, *args, **kwargs)

        monkeypatch.setattr(os, "stat", denied)
        found = find_files([root])
        assert [file.name for file in found.files] == ["a.mp4", "z.mp4"]
        assert found.unreadable == ((str(root / "locked/b.mp4"), "cannot be looked at (Permission denied)"),)

    def test_a_pipe_is_passed_over(self, root):
        os.mkfifo(root / "pipe.mp4")
        (root / "link.mp4").symlink_to(root / "pipe.mp4")
        touch(root / "a.mp4")
        assert names(root) == ["a.mp4"]
        assert find_files([root]).unreadable == ()

    def test_a_link_to_nothing_is_passed_over_and_told_if_it_would_be_taken(self, root):
        for name in ("dangling.mp4", "notes.txt", ".hidden.mp4", "left_out.mp4"):
            (root / name).symlink_to(root / "nowhere")
        touch(root / "a.mp4")
        found = find_files([root], exclude=["left_out.*"])
        assert [file.name for file in found.files] == ["a.mp4"]
        assert (found.unreadable, found.passed_over.links) == ((), {str(root / "dangling.mp4")})

    def test_a_link_to_nothing_that_is_named_itself_cannot_be_looked_at(self, root):
        link = root / "dangling.mp4"
        link.symlink_to(root / "nowhere")
        found = find_files([root, link])
        assert (found.unreadable, found.passed_over.links) == (((str(link), "a link to nothing"),), set())

    def test_the_order_is_that_of_the_paths_whatever_the_disk_says(self, root, monkeypatch):
        for name in ("b.mp4", "a.mp4", "c/a.mp4"):
            touch(root / name)
        found = find_files([root])
        walk = os.walk
        backwards = lambda *args, **options: (  # noqa: E731
            (folder, folders, names[::-1]) for folder, folders, names in walk(*args, **options)
        )
        monkeypatch.setattr(os, "walk", backwards)
        assert find_files([root]) == found


class TestTrashFolders:
    TRASH = (
        "$RECYCLE.BIN/S-1-5-21-1", "$Recycle.Bin", "#recycle", "@Recycle", ".Trash", ".Trash-1000/files",
        ".Trashes/501", "System Volume Information",
    )  # fmt: skip

    @pytest.mark.parametrize("trash", TRASH)
    def test_are_passed_over_at_any_depth(self, root, trash):
        for name in ("a.mp4", f"{trash}/b.mp4", f"c/{trash}/d.mp4"):
            touch(root / name)
        assert names(root) == ["a.mp4"]
        assert names(root, pattern="{id}") == ["a.mp4"]

    @pytest.mark.parametrize("trash", TRASH)
    def test_are_searched_when_a_path_is_or_lies_in_one(self, root, trash):
        touch(root / trash / "b/c.mp4")
        assert names(root / trash) == ["b/c.mp4"]
        assert names(root / trash / "b") == ["c.mp4"]
        assert names(root / trash / "b/c.mp4") == ["c.mp4"]

    @pytest.mark.parametrize("trash", TRASH)
    def test_are_searched_when_a_pattern_to_include_names_them(self, root, trash):
        touch(root / "a.mp4")
        path = touch(root / trash / "b.mp4").relative_to(root).as_posix()
        assert names(root, include=[f"{trash}/*.mp4"]) == [path]
        assert names(root, include=[f"{trash.upper()}/**"]) == [path]
        assert names(root, include=["*.mp4"]) == ["a.mp4"]
        assert names(root, include=["*/*.mp4"]) == [], "a pattern that matches them does not name them"

    def test_are_told(self, root):
        for name in ("a.mp4", "b/$RECYCLE.BIN/c.mp4", ".hidden/d.mp4", "left_out/#recycle/e.mp4"):
            touch(root / name)
        passed_over = find_files([root], exclude=["left_out"]).passed_over
        assert passed_over.folders == {str(root / ".hidden"), str(root / "b/$RECYCLE.BIN")}
        assert find_files([root], include=["$recycle.bin/**"]).passed_over.folders.isdisjoint(
            {str(root / "b/$RECYCLE.BIN")}
        )

    def test_are_no_more_than_these(self, root):
        for name in ("#recycled/a.mp4", "@home/b.mp4", "Recycle/c.mp4"):
            touch(root / name)
        assert names(root) == ["#recycled/a.mp4", "@home/b.mp4", "Recycle/c.mp4"]


class TestTypeScript:
    SOURCE = "export const answer: number = 42; // GGGG\n" * 200

    @pytest.mark.parametrize("name", ["component.ts", "module.MTS", "short.ts", "empty.ts", "german_linguist.ts"])
    def test_is_passed_over_unless_it_is_named(self, root, name):
        text = {"short.ts": "G", "empty.ts": "", "german_linguist.ts": "<TS language='de_DE'>Übersetzung</TS>"}
        path = touch(root / name, text.get(name, self.SOURCE))
        assert (names(root), find_files([root]).unreadable) == ([], ())
        assert names(root, pattern="{id}") == []
        assert names(path) == [name]

    def test_that_is_empty_may_be_a_recording_that_failed_and_is_told(self, root):
        touch(root / "text.ts", self.SOURCE)
        path = touch(root / "recording.ts", "")
        assert find_files([root]).passed_over.media == {str(path)}

    @pytest.mark.parametrize("packet_bytes", [188, 192, 204])
    @pytest.mark.parametrize("num_before", [0, 1, 4, 187])
    def test_is_no_transport_stream_of_any_packet_size_wherever_it_begins(self, root, packet_bytes, num_before):
        packet = b"G".ljust(packet_bytes, b"x")  # no zero byte, to be known by its sync bytes alone
        (root / "a.ts").write_bytes(b"y" * num_before + packet * 30)
        (root / "b.mts").write_bytes(b"y" * num_before + packet * 3)
        assert names(root) == ["a.ts", "b.mts"]

    def test_is_no_video_of_another_kind_under_that_name_nor_a_damaged_one(self, root, made_clips):
        (root / "segment.ts").write_bytes((made_clips / "clip_0.mp4").read_bytes())
        (root / "zeros.ts").write_bytes(bytes(5000))
        assert names(root) == ["segment.ts", "zeros.ts"]

    def test_is_not_looked_for_under_other_names(self, root):
        touch(root / "a.mp4", self.SOURCE)
        touch(root / "b.m2ts", self.SOURCE)
        assert names(root) == ["a.mp4", "b.m2ts"]

    def test_that_cannot_be_opened_is_left_to_the_decoder(self, root, monkeypatch):
        touch(root / "a.ts", self.SOURCE)

        def denied(self, *args):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))

        monkeypatch.setattr(Path, "open", denied)
        assert names(root) == ["a.ts"]


class TestOtherMedia:
    FILES = ("IMG_1.HEIC", "a.mp4", "b/c.webp", "b/cache/d.jpg", "e.txt", ".hidden.png", "#recycle/f.png")

    @pytest.fixture
    def tree(self, root: Path) -> Path:
        for name in self.FILES:
            touch(root / name)
        return root

    def passed_over(self, root: Path, *more: Path, **patterns: Any) -> list[str]:
        media = find_files([root, *more], **patterns).passed_over.media
        return sorted(Path(path).relative_to(root).as_posix() for path in media)

    def test_is_passed_over_and_told(self, tree):
        assert names(tree) == ["a.mp4"]
        assert self.passed_over(tree) == ["IMG_1.HEIC", "b/c.webp", "b/cache/d.jpg"]

    def test_is_told_as_far_as_patterns_choose_it(self, tree):
        assert self.passed_over(tree, include=["*.webp", "*.txt"]) == ["b/c.webp"]
        assert self.passed_over(tree, exclude=["cache", "*.heic"]) == ["b/c.webp"]
        assert self.passed_over(tree, pattern="{id}") == [], "which takes files of any suffix"
        assert self.passed_over(tree, only={"nobody"}) == []

    def test_that_is_named_is_not_passed_over(self, tree):
        found = find_files([tree, tree / "b/c.webp"])
        assert [file.name for file in found.files] == ["a.mp4", "c.webp"]
        assert self.passed_over(tree, tree / "b/c.webp") == ["IMG_1.HEIC", "b/cache/d.jpg"]


class TestPaths:
    def test_a_file_that_is_named_is_taken_whatever_it_is_called(self, root):
        assert names(touch(root / "strange.name"), touch(root / ".hidden")) == [".hidden", "strange.name"]

    def test_a_file_found_twice_counts_once_under_the_first_root(self, root):
        path = touch(root / "a/b.mp4")
        for paths in ([root, path, root / "a"], [root, root]):
            (file,) = find_files(paths).files
            assert (file.path, file.root, file.name) == (path, root, "a/b.mp4")

    def test_relative_paths_and_dots_become_absolute_and_links_stay(self, root, monkeypatch):
        touch(root / "a/b.mp4")
        (root / "link").symlink_to(root / "a")
        monkeypatch.chdir(root / "a")
        (file,) = find_files([Path("../a")]).files
        assert file.path == root / "a/b.mp4"
        (linked,) = find_files([Path("../link")]).files
        assert linked.path == root / "link/b.mp4"

    def test_what_cannot_be_looked_at_is_named_and_the_rest_is_found(self, root):
        touch(root / "a.mp4")
        os.mkfifo(root / "pipe")
        found = find_files([root / "nowhere", root, root / "pipe", "x" * 300])
        assert [file.name for file in found.files] == ["a.mp4"]
        assert found.unreadable == (
            (str(root / "nowhere"), "no such file or folder"),
            (str(root / "pipe"), "not a regular file"),
            ("x" * 300, "no such file or folder"),
        )

    @pytest.mark.parametrize("paths", [[""], ["a.mp4", ""]])
    def test_an_empty_path_is_not_the_current_folder(self, root, monkeypatch, paths):
        monkeypatch.chdir(touch(root / "a.mp4").parent)
        with pytest.raises(DataError, match=r"an empty path names nothing; the current folder is `\.`"):
            find_files(paths)
        assert names(Path()) == ["a.mp4"]


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("{id}/video.*", ["a", "b/c"]),
            ("{id}.mp4", ["a/video", "other"]),
            ("*/{id}.mp4", ["video"]),
            ("**/{id}.*", ["video", "video", "other"]),
            ("a/{id}.m?4", ["video"]),
            ("{id}", ["a/video.mp4", "b/c/video.webm", "other.mp4"]),
            ("[a]/{id}", []),
        ],
    )
    def test_name_the_part_that_is_the_id(self, root, pattern, expected):
        for name in ("a/video.mp4", "b/c/video.webm", "other.mp4"):
            touch(root / name)
        assert names(root, pattern=pattern) == expected

    def test_take_files_of_any_suffix(self, root):
        touch(root / "q1/video.bin")
        assert names(root, pattern="{id}/video.*") == ["q1"]

    @pytest.mark.parametrize("pattern", ["*/video.mp4", "", "{id}/{id}", "{ID}/a"])
    def test_without_exactly_one_id_are_an_error(self, root, pattern):
        with pytest.raises(DataError, match=r"must hold \{id\} once, as in '\{id\}/video"):
            find_files([root], pattern=pattern)


class TestIncludeAndExclude:
    FILES = ("B.MOV", "a.mp4", "cache/c.mp4", "news/2024/d.mp4", "news/2025/cache/e.mov", "news/f.mp4")

    @pytest.fixture
    def tree(self, root: Path) -> Path:
        for name in (*self.FILES, "news/notes.txt"):
            touch(root / name)
        return root

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*.mov", ["B.MOV", "news/2025/cache/e.mov"]),
            ("cache", ["cache/c.mp4", "news/2025/cache/e.mov"]),
            ("cache/", ["cache/c.mp4", "news/2025/cache/e.mov"]),
            ("./cache", ["cache/c.mp4"]),
            ("news/*", ["news/2024/d.mp4", "news/2025/cache/e.mov", "news/f.mp4"]),
            ("news/*.mp4", ["news/f.mp4"]),
            ("news/**/*.mp4", ["news/2024/d.mp4", "news/f.mp4"]),
            ("**/cache/*.mov", ["news/2025/cache/e.mov"]),
            ("news/202?", ["news/2024/d.mp4", "news/2025/cache/e.mov"]),
            ("[a]*", []),
        ],
    )
    def test_mean_the_same_files(self, tree, pattern, expected):
        assert names(tree, include=[pattern]) == expected
        assert names(tree, exclude=[pattern]) == [name for name in self.FILES if name not in expected]

    def test_several_patterns_add_up_and_exclude_wins(self, tree):
        assert names(tree, include=["*.mov", "2024"], exclude=["cache"]) == ["B.MOV", "news/2024/d.mp4"]
        assert names(tree, exclude=["cache", "news"]) == ["B.MOV", "a.mp4"]

    def test_an_excluded_folder_is_not_entered(self, tree, monkeypatch):
        entered: list[str] = []
        walk = os.walk

        def spy(*args, **options):
            for step in walk(*args, **options):
                entered.append(Path(step[0]).name)
                yield step

        monkeypatch.setattr(os, "walk", spy)
        names(tree, exclude=["news"])
        assert entered == ["videos", "cache"]

    def test_a_given_file_is_taken_whatever_they_say(self, tree):
        assert names(tree / "a.mp4", include=["*.mov"], exclude=["*.mp4"]) == ["a.mp4"]

    def test_names_choose_among_what_patterns_found(self, tree):
        assert names(tree, pattern="news/**/{id}.mp4", only={"f", "nobody"}) == ["f"]
        assert names(tree / "a.mp4", only=set()) == ["a.mp4"], "a given file is taken"

    def test_go_with_a_pattern_for_ids(self, tree):
        assert names(tree, pattern="news/**/{id}.mp4", exclude=["2024"]) == ["f"]

    @pytest.mark.parametrize("pattern", ["", "/", "/home/ann/videos/cache"])
    def test_that_cannot_match_anything_below_a_folder_are_an_error(self, tree, pattern):
        with pytest.raises(DataError, match="must be a name, or a path below the folders that are searched"):
            find_files([tree], exclude=[pattern])


def test_the_hash_is_the_sha256_of_the_whole_file(root):
    assert content_hash(touch(root / "a", "abc")).startswith("ba7816bf8f01cfea414140de5dae2223b00361a396177a9c")
