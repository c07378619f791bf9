"""library.toml: which bundle and which table are a library, and how its files are sampled.

A library has generations. `reindex` builds the bundle and the table of the next one beside those in use, under names of
their own; one file, library.toml, says which are in use, so replacing it is the switch.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from visil.commands import repair_command, visil_command
from visil.errors import LibraryError
from visil.library.disk import replace_file
from visil.library.lance_files import reason_of
from visil.library.second import SECOND, copy_of, is_copied
from visil.library.sums import Sums, being_replaced, sum_of_bytes
from visil.media.preprocessing import SAMPLINGS

FORMAT_VERSION = 3
READ_FORMATS = (2, 3)  # what a reader takes; a writer brings 2 up to date first
KNOWN_FORMATS = (1, 2, 3)
SETTINGS = "library.toml"
BUNDLE, TABLE = "model.safetensors", "videos.lance"  # of the first generation


@dataclass(frozen=True)
class LibrarySettings:
    """The content of library.toml.

    Attributes:
        bundle_name, bundle_hash: of the bundle its videos were encoded with.
        sampling: how its files are sampled, one of SAMPLINGS.
        bundle_file, table_file: names of the bundle and the table in the folder of the library.
        format_version: that it has on the disk.
    """

    bundle_name: str
    bundle_hash: str
    sampling: str
    bundle_file: str = BUNDLE
    table_file: str = TABLE
    format_version: int = FORMAT_VERSION

    @property
    def has_digests(self) -> bool:
        """Whether its table has digests and its files have sums."""
        return self.format_version >= 3

    def __post_init__(self) -> None:
        for value in (self.bundle_name, self.bundle_hash, self.sampling, self.bundle_file, self.table_file):
            if not isinstance(value, str):
                raise ValueError(f"{value!r} is no text")
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}, got {self.sampling!r}")
        for name in (self.bundle_file, self.table_file):
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise ValueError(f"{name!r} is no name of a file in this folder")

    def next_generation(self, bundle_name: str, bundle_hash: str, sampling: str) -> LibrarySettings:
        """The same library with another bundle or sampling, its files under names that are not in use."""
        numbered = re.fullmatch(r".*-(\d+)\.lance", self.table_file)
        number = int(numbered[1]) + 1 if numbered else 2
        bundle_file, table_file = (f"{Path(n).stem}-{number}{Path(n).suffix}" for n in (BUNDLE, TABLE))
        return replace(
            self,
            bundle_name=bundle_name,
            bundle_hash=bundle_hash,
            sampling=sampling,
            bundle_file=bundle_file,
            table_file=table_file,
            format_version=FORMAT_VERSION,
        )


def is_library(path: Path) -> bool:
    """Whether a folder is a library, or was one and has lost its settings alone."""
    return (path / SETTINGS).exists() or is_copied(Sums(path), path / SETTINGS)


def restores_settings(path: Path) -> str:
    """What to do with a folder that holds rows, but no settings and no copy of them that a sum vouches for.

    Empty if it is no such folder: what an interrupted `create` leaves holds no rows.
    """
    rows = (entry for folder in (path, path / SECOND) for entry in folder.glob("videos*.lance/data/*"))
    if is_library(path) or not any(rows):
        return ""
    copy = copy_of(path / SETTINGS, path)
    return f"move {copy} to {path / SETTINGS}" if copy.is_file() else f"restore {SETTINGS} from a copy"


def check_settings_are_not_lost(path: Path) -> None:
    """Raises LibraryError if a folder holds rows, but nothing says of what library."""
    if remedy := restores_settings(path):
        raise LibraryError(f"{path}: holds videos, but no {SETTINGS}; {remedy}, or choose another folder")


def read_settings(path: Path, *, name: str = SETTINGS) -> LibrarySettings:
    """The settings of the library in the folder `path`.

    Raises:
        LibraryError: no library, one of another format version, or settings that cannot be read or are not what was
            written.
    """
    settings = read_any_format(path, name=name)
    if settings.format_version not in READ_FORMATS:
        raise LibraryError(
            f"{path}: library format {settings.format_version}, this visil reads {FORMAT_VERSION}; "
            f"`{repair_command(path)}` brings it up to date"
        )
    if not fits_its_sum(path, name):
        otherwise = f"restore it from a copy, or `{repair_command(path)}` takes it as it is"
        raise LibraryError(f"{path / name}: is not what was written; {_puts_back(path, name) or otherwise}")
    return settings


def fits_its_sum(path: Path, name: str) -> bool:
    """Whether a settings file is what was written, as far as that is known."""
    before = None
    while True:  # a writer may be replacing both
        content, known = (path / name).read_bytes(), Sums(path).of(path / name)
        if known is None or sum_of_bytes(content) == known.sha256:
            return True
        if (content, known) == before:
            return False
        before = content, known


def read_any_format(path: Path, *, name: str = SETTINGS) -> LibrarySettings:
    """Settings of a library of this format or of one that can be brought up to date.

    Raises:
        LibraryError: see `read_settings`.
    """
    try:
        content = tomllib.loads((path / name).read_text(encoding="utf-8"))
        version = content["format_version"]
        if version not in KNOWN_FORMATS:
            raise LibraryError(f"{path}: library format {version}, this visil reads {FORMAT_VERSION}; update one")
        files = content.get("files", {})  # format 1 knew one generation
        return LibrarySettings(
            bundle_name=content["bundle"]["name"],
            bundle_hash=content["bundle"]["hash"],
            sampling=content["sampling"]["mode"],
            bundle_file=files.get("bundle", BUNDLE),
            table_file=files.get("table", TABLE),
            format_version=version,
        )
    except FileNotFoundError:
        if remedy := _puts_back(path, name):
            raise LibraryError(f"{path / name}: is gone; {remedy}") from None
        check_settings_are_not_lost(path)
        makes = visil_command("index", "FOLDER", library=path)
        raise LibraryError(f"{path}: no library here; `{makes}` makes one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else reason_of(error)
        otherwise = "choose a new folder" if name == SETTINGS else "delete it, which gives that move up"
        remedy = _puts_back(path, name) or f"restore it, or {otherwise}"
        raise LibraryError(f"{path / name}: cannot be read ({reason}); {remedy}") from error


def _puts_back(path: Path, name: str) -> str:
    """What restores a settings file that has a copy; else nothing."""
    return f"`{repair_command(path)}` puts back its copy" if is_copied(Sums(path), path / name) else ""


def write_settings(path: Path, settings: LibrarySettings, *, name: str = SETTINGS) -> None:
    """Replace the file at once or not at all, in the format of today, and see it on the disk, with its sum.

    Raises:
        OSError: it cannot be written.
    """
    partial = path / f".{name}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(_toml(settings))
        file.flush()
        os.fsync(file.fileno())
    with being_replaced(path / name):
        replace_file(partial, path / name)


def _toml(settings: LibrarySettings) -> str:
    return (
        f"format_version = {FORMAT_VERSION}\n\n"
        f"[bundle]\nname = {_text(settings.bundle_name)}\nhash = {_text(settings.bundle_hash)}\n\n"
        f"[files]\nbundle = {_text(settings.bundle_file)}\ntable = {_text(settings.table_file)}\n\n"
        f"[sampling]\nmode = {_text(settings.sampling)}\n"
    )


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
