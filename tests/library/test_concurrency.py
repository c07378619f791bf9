"""Readers and a writer at the same time: a reader always sees whole videos, a second writer is told to wait."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import visil.library.ingest as ingest_module
import visil.library.store as store_module
from tests.library.made import DIM, encoded_video, file_facts
from visil.errors import LibraryError
from visil.library.ingest import Progress
from visil.library.library import Library
from visil.library.store import Store, StoredVideo, create_table
from visil.model.model import Model
from visil.values import RegionVectors

NUM_ROUNDS = 30
NUM_VIDEOS = 3
STRETCH = 4
LENGTHS = (2, 11, 7, 16)  # frames of a video from round to round: its number of stretches grows and shrinks

# Prints one line a reading, for as long as its standard input stays open.
STORE_READER = """
import json, select, sys
from pathlib import Path
import numpy as np
from visil.library.store import Store

store = Store(Path(sys.argv[1]), int(sys.argv[2]))
while not select.select([sys.stdin], [], [], 0)[0]:
    store.refresh()
    ids = store.descriptors()[0]
    videos = {}
    for block in store.vectors(ids, block_bytes=100):
        for piece in block:
            videos.setdefault(piece.id, []).append(piece.vectors)
    seen = {id: np.concatenate(pieces)[:, 0, 0].astype(float).tolist() for id, pieces in videos.items()}
    records = {record.id: record.num_samples for record in store.records()}
    print(json.dumps({"version": store.version, "records": records, "seen": seen}), flush=True)
"""

# Answers every line on its standard input with what a search finds.
LIBRARY_READER = """
import json, sys
from visil import Library

library = Library.open(sys.argv[1], device="cpu")
print("ready", flush=True)
for line in sys.stdin:
    (result,) = library.search_many([line.strip()], rerank="all")
    matches = [[match.video, match.stages] for match in result.matches]
    print(json.dumps({"version": library.version, "error": result.error, "matches": matches}), flush=True)
"""

Reader = subprocess.Popen[str]


@pytest.fixture
def start() -> Iterator[Callable[[str, Path], Reader]]:
    """Start readers; none outlives the test."""
    readers: list[Reader] = []

    def start_reader(script: str, path: Path) -> Reader:
        reader = subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(DIM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        readers.append(reader)
        return reader

    yield start_reader
    for reader in readers:
        reader.kill()
        reader.wait()
        for pipe in (reader.stdin, reader.stdout, reader.stderr):
            pipe.close()


def of_round(number: int, round: int) -> StoredVideo:
    """A video whose every vector starts with the number of its round."""
    length = LENGTHS[(number + round) % len(LENGTHS)]
    encoded = encoded_video(length, seed=number)
    vectors = encoded.region_vectors.vectors.copy()
    vectors[:, :, 0] = round / 1024
    with_round = RegionVectors(vectors, np.arange(length, dtype=np.float64))
    values = {**encoded.__dict__, "region_vectors": with_round}
    return StoredVideo(f"v{number}", file_facts(f"/v{number}"), type(encoded)(**values))


def test_two_readers_of_a_table_see_whole_videos_while_a_writer_replaces_them(tmp_path, start, monkeypatch):
    monkeypatch.setattr(store_module, "STRETCH_FRAMES", STRETCH)
    create_table(tmp_path / "videos.lance", DIM)
    store = Store(tmp_path / "videos.lance", DIM)
    store.put([of_round(number, 0) for number in range(NUM_VIDEOS)])
    readers = [start(STORE_READER, tmp_path / "videos.lance") for _ in range(2)]
    readings: list[list[dict[str, Any]]] = [[json.loads(reader.stdout.readline())] for reader in readers]

    for round in range(1, NUM_ROUNDS):
        store.put([of_round(number, round) for number in range(NUM_VIDEOS)])
        for reader, lines in zip(readers, readings, strict=True):  # they read on while the next round is written
            lines.append(json.loads(reader.stdout.readline()))

    for reader, lines in zip(readers, readings, strict=True):
        reader.stdin.close()  # tells it to stop
        lines += map(json.loads, reader.stdout)
        assert (reader.wait(), reader.stderr.read()) == (0, "")
        for line in lines:
            assert sorted(line["seen"]) == [f"v{number}" for number in range(NUM_VIDEOS)]
            for number in range(NUM_VIDEOS):
                frames = line["seen"][f"v{number}"]
                (round,) = {round_ * 1024 for round_ in frames}
                assert len(frames) == line["records"][f"v{number}"] == LENGTHS[(number + int(round)) % len(LENGTHS)]
        versions = [line["version"] for line in lines]
        assert versions == sorted(versions)
        assert len(set(versions)) > 2, "the readers never saw the writer at work"


@pytest.fixture
def library(tmp_path: Path, quick_model: Model) -> Library:
    return Library.create(tmp_path / "library", quick_model)


def test_two_readers_search_while_a_writer_adds(library, clips, start, monkeypatch):
    monkeypatch.setattr(ingest_module, "COMMIT_VIDEOS", 1)
    library.add([clips / "clip_5.mp4"], workers=1)
    readers = [start(LIBRARY_READER, library.path) for _ in range(2)]
    assert [reader.stdout.readline() for reader in readers] == ["ready\n"] * 2
    counts: list[list[int]] = [[], []]
    told_done: list[int] = []

    def ask_both(told: Progress) -> None:
        told_done.append(told.done)
        for reader in readers:
            print("id:clip_5.mp4", file=reader.stdin, flush=True)
        for reader, seen in zip(readers, counts, strict=True):
            answer = json.loads(reader.stdout.readline())
            assert answer["error"] is None
            assert all(set(stages) == {"coarse", "fine"} for _, stages in answer["matches"])
            seen.append(len(answer["matches"]))

    library.add([clips], workers=2, progress=ask_both)
    assert told_done == [0, 1, 2, 3, 4, 5]
    for seen in counts:
        assert seen == sorted(seen)
        assert all(done - 1 <= count <= done for done, count in zip(told_done, seen, strict=True)), (
            "the last one may be being written, all others are there"
        )


def test_a_reader_keeps_a_whole_old_video_while_it_is_replaced(library, clips):
    library.add([clips / "clip_0.mp4"], workers=1)
    reader = Library.open(library.path, device="cpu")
    before = reader.encoded("clip_0.mp4").region_vectors.vectors
    (clips / "clip_1.mp4").replace(clips / "clip_0.mp4")
    library.add([clips / "clip_0.mp4"], workers=1)
    np.testing.assert_array_equal(reader.encoded("clip_0.mp4").region_vectors.vectors, before)
    reader.refresh()
    assert not np.array_equal(reader.encoded("clip_0.mp4").region_vectors.vectors, before)


class TestASecondWriter:
    BUSY = "another process is writing to it; try again when it is done"
    SCRIPT = """
import sys
from visil import Library, LibraryError
try:
    Library.open(sys.argv[1], device="cpu").add([sys.argv[2]])
except LibraryError as error:
    print(error)
"""

    def test_in_another_process_is_told_so_and_changes_nothing(self, library, clips):
        said: list[str] = []

        def try_beside(told: Progress) -> None:
            if told.done == 1:
                command = [sys.executable, "-c", self.SCRIPT, str(library.path), str(clips)]
                said.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

        library.add([clips / "clip_0.mp4"], workers=1, progress=try_beside)
        (message,) = said
        assert message == f"library {library.path}: {self.BUSY}\n"
        assert len(library.list()) == 1

    def test_in_the_same_process_is_told_so_too(self, library, clips):
        other = Library.open(library.path, device="cpu")

        def try_beside(told: Progress) -> None:
            with pytest.raises(LibraryError, match=self.BUSY):
                other.remove([])
            with pytest.raises(LibraryError, match=self.BUSY):
                other.add([clips])

        library.add([clips / "clip_0.mp4"], workers=1, progress=try_beside)

    def test_may_write_when_the_first_is_done_or_has_failed(self, library, clips):
        other = Library.open(library.path, device="cpu")

        def fail(told: Progress) -> None:
            raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            library.add([clips / "clip_0.mp4"], workers=1, progress=fail)
        assert other.add([clips / "clip_0.mp4"], workers=1).added == ["clip_0.mp4"]
        library.remove(["clip_0.mp4"])
        assert library.list() == ()
