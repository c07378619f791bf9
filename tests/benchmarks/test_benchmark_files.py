"""Files of a benchmark are made once, and anew when what makes them has changed."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from visil.benchmarks.benchmark_files import Job, make, rng_of
from visil.synth.montage import Shot, Source


@dataclass(frozen=True)
class Note(Job):
    text: str
    number: int = 1

    @property
    def version(self) -> int:
        return self.number

    def write(self) -> None:
        if self.text == "fails":
            raise RuntimeError("disk full")
        self.path.write_text(self.text)


def test_what_is_there_is_not_made_again(tmp_path):
    job = Note(tmp_path / "made" / "a.txt", "once")
    make([job], workers=1)
    job.path.write_text("touched")
    make([job], workers=1)
    assert job.path.read_text() == "touched"


def test_another_job_or_another_version_of_the_generator_makes_the_file_anew(tmp_path):
    job = Note(tmp_path / "a.txt", "one")
    make([job], workers=1)
    make([replace(job, text="two")], workers=1)
    assert job.path.read_text() == "two"
    job.path.write_text("touched")
    make([replace(job, text="two", number=2)], workers=1)
    assert job.path.read_text() == "two"


def test_a_file_that_vanished_is_made_again(tmp_path):
    job = Note(tmp_path / "a.txt", "one")
    make([job], workers=1)
    job.path.unlink()
    make([job], workers=1)
    assert job.path.exists()


def test_a_run_that_broke_off_goes_on_with_what_is_missing(tmp_path):
    whole, broken = Note(tmp_path / "a.txt", "one"), Note(tmp_path / "b.txt", "fails")
    with pytest.raises(RuntimeError, match="disk full"):
        make([whole, broken], workers=1)
    whole.path.write_text("touched")
    make([whole, replace(broken, text="works")], workers=1)
    assert [path.read_text() for path in (whole.path, broken.path)] == ["touched", "works"]


def test_the_key_of_a_job_does_not_depend_on_where_its_files_lie():
    def job(folder: Path, seed: int = 0) -> Note:
        shots = (Shot(Source(folder / "still.jpg", "still:1"), 5, seed=seed),)
        return Note(folder / "a.mp4", shots)

    assert job(Path("/here")).key == job(Path("/there")).key
    assert job(Path("/here")).key != job(Path("/here"), seed=1).key


def test_every_purpose_has_random_numbers_of_its_own():
    draws = [rng_of(*purpose).random() for purpose in ((0, "a"), (0, "b"), (1, "a"), (0, "a", "b"))]
    assert len(set(draws)) == 4
    assert rng_of(0, "a").random() == draws[0]
