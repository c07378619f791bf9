"""Can this installation work? Every check does the thing that it is about.

    packages ─► readers decode a made video ─► devices encode the fixed picture ─► library ─► disk

Nothing is repaired here; a finding that is not well says what to do.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from visil.commands import repair_command, visil_command
from visil.defaults import READERS
from visil.errors import VisilError

OK, ABSENT, WRONG = "ok", "absent", "wrong"
LOW_DISK_BYTES = 1 << 30  # a thousand videos of 100 s at 9.2 kB a sample (9 regions of 512 half-precision numbers)
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
REINSTALL = "pip install --force-reinstall {}"

# Distribution and module of all that visil depends on. timm is imported where the devices are checked.
PACKAGES = (
    ("torch", "torch"),
    ("timm", None),
    ("numpy", "numpy"),
    ("av", "av"),
    ("pylance", "lance"),
    ("pyarrow", "pyarrow"),
    ("faiss-cpu", "faiss"),
    ("safetensors", "safetensors"),
    ("einops", "einops"),
    ("filelock", "filelock"),
    ("click", "click"),
    ("rich", "rich"),
    ("platformdirs", "platformdirs"),
    ("xxhash", "xxhash"),
)
READER_REMEDIES = {
    "pyav": REINSTALL.format("av"),
    "decord": "use --reader pyav, or " + REINSTALL.format("decord"),
    "torchcodec": "install FFmpeg's shared libraries, 4 to 8 (Debian: apt-get install ffmpeg), and the torchcodec that "
    "is built for this torch (0.13 for 2.13)",
}
MADE_GREYS = (40, 120, 200)  # of a made video, one second each
GREY_TOLERANCE = 4  # limited-range colour and compression round a grey level by at most two


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        check: what was looked at.
        state: `ok`; `absent`: optional, or not made yet; `wrong`.
        found: versions, sizes and times, or what happened.
        remedy: what to do; empty where all is well.
    """

    check: str
    state: str
    found: str
    remedy: str = ""


def diagnose(library: Path) -> Iterator[Finding]:
    """All findings, as they come. A check that breaks in an unforeseen way is a finding too."""
    checks = {
        "packages": check_packages(),
        "readers": check_readers(),
        "devices": check_devices(),
        "library": check_library(library),
        "disk": check_disk(library),
    }
    for name, findings in checks.items():
        try:
            yield from findings
        except Exception as error:  # whatever is broken is what this command is for
            yield Finding(name, WRONG, f"{type(error).__name__}: {_one_line(error)}", REINSTALL.format("visil"))


def check_packages() -> Iterator[Finding]:
    """Versions, and whether what is installed can be imported."""
    yield Finding("python", OK, f"{platform.python_version()} ({sys.executable}), {platform.platform()}")
    yield Finding("visil", OK, version("visil"))
    for distribution, module in PACKAGES:
        try:
            found = version(distribution)
            if module is not None:
                import_module(module)
        except PackageNotFoundError:
            yield Finding(distribution, WRONG, "not installed", REINSTALL.format(distribution))
        except (ImportError, OSError, RuntimeError, AttributeError) as error:  # half installed, or for another numpy
            found = f"{found} cannot be imported ({_one_line(error)})"
            yield Finding(distribution, WRONG, found, REINSTALL.format(distribution))
        else:
            yield Finding(distribution, OK, found)


def check_readers() -> Iterator[Finding]:
    """Every reader that is installed decodes a made video in a worker process."""
    import numpy as np

    from visil.media.readers import check_reader
    from visil.synth.video_file import write_video

    with tempfile.TemporaryDirectory(prefix="visil-doctor-") as folder:
        video = Path(folder) / "made.mp4"
        write_video(video, (np.full((48, 64, 3), grey, np.uint8) for grey in MADE_GREYS for _ in range(4)), 4)
        for name in READERS:
            try:
                check_reader(name)
            except VisilError:
                yield Finding(f"reader {name}", ABSENT, "not installed; optional", f'pip install "visil[{name}]"')
            else:
                yield _decodes(name, video)


def _decodes(reader: str, video: Path) -> Finding:
    import numpy as np

    from visil.media.decoding import read_frames
    from visil.media.preprocessing import Preprocessing

    started_s = time.monotonic()
    try:
        chunks = list(read_frames(video, Preprocessing(size_px=32, min_samples=1), reader=reader))
    except VisilError as error:
        return Finding(f"reader {reader}", WRONG, _one_line(error), READER_REMEDIES[reader])
    seconds = time.monotonic() - started_s
    greys = [round(float(image.mean())) for chunk in chunks for image in chunk.images]
    if len(greys) != len(MADE_GREYS) or np.abs(np.subtract(greys, MADE_GREYS)).max() > GREY_TOLERANCE:
        found = f"a made video of the greys {list(MADE_GREYS)} comes out as {greys}"
        return Finding(f"reader {reader}", WRONG, found, READER_REMEDIES[reader])
    return Finding(f"reader {reader}", OK, f"{_reader_version(reader)}, decodes in a worker ({seconds:.1f} s)")


def _reader_version(reader: str) -> str:
    if reader != "pyav":
        return version(reader)
    import av

    return f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def check_devices() -> Iterator[Finding]:
    """The built-in bundle encodes its fixed picture on every device."""
    import torch

    num_gpus = torch.cuda.device_count()
    for device in ["cpu", *(f"cuda:{index}" for index in range(num_gpus))]:
        yield _encodes(device, is_auto=device == ("cuda:0" if num_gpus else "cpu"))
    if not num_gpus and NVIDIA_DRIVER.exists():
        if torch.version.cuda is None:
            found = f"an NVIDIA driver is here, but torch {torch.__version__} is built without CUDA"
            yield Finding("device cuda", ABSENT, found, "install torch for CUDA: https://pytorch.org/get-started")
        else:
            found = f"torch is built for CUDA {torch.version.cuda} and finds no device, though a driver is here"
            yield Finding("device cuda", WRONG, found, "update the driver, or install torch for its CUDA (nvidia-smi)")


def _encodes(device: str, *, is_auto: bool) -> Finding:
    from visil.model.model import CHECK_TOLERANCE, load_model

    started_s = time.monotonic()
    try:
        difference = load_model(device=device).check()
    except (VisilError, RuntimeError, ImportError, OSError) as error:
        remedy = (
            REINSTALL.format("torch timm visil") if device == "cpu" else "use --device cpu; update the GPU's driver"
        )
        return Finding(f"device {device}", WRONG, f"cannot encode ({_one_line(error)})", remedy)
    found = (
        f"{_device_facts(device)}; the built-in bundle's check differs by {difference:.0e} (allowed "
        f"{CHECK_TOLERANCE:.0e}), {time.monotonic() - started_s:.1f} s{'; --device auto takes it' if is_auto else ''}"
    )
    if difference > CHECK_TOLERANCE:
        remedy = "its vectors do not compare with others': use another --device, or another build of torch"
        return Finding(f"device {device}", WRONG, found, remedy)
    return Finding(f"device {device}", OK, found)


def _device_facts(device: str) -> str:
    import torch

    if device == "cpu":
        return f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    facts = torch.cuda.get_device_properties(device)
    return f"{facts.name}, {facts.total_memory / 1e9:.0f} GB"


def check_library(library: Path) -> Iterator[Finding]:
    """What the library holds, and whether it can be opened and written."""
    from visil.library.library import Library
    from visil.library.reindexing import PENDING
    from visil.library.settings import SETTINGS, is_library, read_settings, restores_settings

    if remedy := restores_settings(library):
        found = f"{library} holds videos, but no {SETTINGS}"
        anew = visil_command("index", "FOLDER", library="DIR")
        yield Finding("library", WRONG, found, f"{remedy}, or {anew} with a new DIR")
        return
    if not is_library(library):
        is_free = not library.exists() or (library.is_dir() and not any(library.iterdir()))
        makes = visil_command("index", "FOLDER", library=library if is_free else "DIR")
        remedy = f"{makes} makes it" if is_free else f"{makes} makes one, in a new DIR"
        yield Finding("library", ABSENT, f"none at {library} yet" if is_free else f"{library} is none", remedy)
        return
    try:
        opened = Library.open(library, device="cpu")
        statuses = Counter(record.status for record in opened.list())
        moves_to = read_settings(library, name=PENDING).bundle_name if (library / PENDING).exists() else None
    except VisilError as error:
        yield Finding("library", WRONG, _one_line(error), repair_command(library))
        return
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())) or "no videos"
    found = f"{library}: {counts}; bundle {opened.model.settings.name}"
    if not os.access(library, os.W_OK):
        found += "; read-only: it can be searched, not changed"
    if opened.damaged:
        id, problem = min(opened.damaged.items())
        yield Finding(
            "library", WRONG, f"{found}; {len(opened.damaged)} damaged, as {id}: {problem}", repair_command(library)
        )
    else:
        yield Finding("library", OK, found)
    if moves_to is not None:
        found = f"its move to bundle {moves_to!r} is unfinished; until then it answers with its old one"
        goes_on = visil_command("index", "--reindex", library=library)
        remedy = f"{goes_on}, with the same --model and --sampling, or delete {library / PENDING}"
        yield Finding("reindex", ABSENT, found, remedy)


def check_disk(library: Path) -> Iterator[Finding]:
    """Free space where the library is, or is to be, and whether the disk can do what a library needs."""
    from visil.library.disk import ELSEWHERE, what_is_lacking

    place = next(folder for folder in [library.absolute(), *library.absolute().parents] if folder.exists())
    free_bytes = shutil.disk_usage(place).free
    found = f"{free_bytes / 1e9:.1f} GB free for {library}"
    if free_bytes < LOW_DISK_BYTES:
        helps = visil_command("compact", library=library)
        yield Finding("disk", WRONG, found, f"make room (`{helps}` helps), or keep the library elsewhere: --library")
    else:
        yield Finding("disk", OK, found)
    if not place.is_dir() or not os.access(place, os.W_OK):
        yield Finding("disk commits", ABSENT, f"{place} cannot be written, so links, locks and renames were not tried")
    elif lacking := what_is_lacking(place):
        yield Finding("disk commits", WRONG, f"{place}: {lacking}", ELSEWHERE)
    else:
        yield Finding("disk commits", OK, f"links, locks and renames work in {place}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
