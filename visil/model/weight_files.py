"""Weight files of strangers -> plain tensors, without running code in them.

    FILE.pth ─► [load without running code ─► checked tensors] ─► convert ─► Bundle
                 this module

Files are read by torch's weights-only loader. Whatever is not a plain file of tensors ends in one line.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visil.errors import ModelError

MAX_FILE_BYTES = 2 << 30  # several times the largest published file, a coarse student with its optimizer's state
OUT_OF_SCOPE = "TensorFlow checkpoints and I3D are out of scope; the PyTorch release of ViSiL is visil.pth"
SSCD_FILES = "of SSCD take sscd_disc_mixup.torchvision.pt or another .torchvision.pt (disc_large has none)"
# Files of the TensorFlow release: ckpt.zip with checkpoint, *.index, *.meta, *.data-00000-of-00001, and pca.npz.
TENSORFLOW_NAME = re.compile(r"(.*/)?(checkpoint|.+\.index|.+\.meta|.+\.data-\d+-of-\d+|.+\.npy)")
TENSORFLOW_FOOTER = (0xDB4775248B80FB57).to_bytes(8, "little")  # last bytes of an index file


@dataclass(frozen=True)
class Checkpoint:
    """What a weight file holds: plain tensors in the CPU's memory or mapped, and the names of its options."""

    tensors: dict[str, Tensor]
    options: frozenset[str]


def load_checkpoint(file: Path) -> Checkpoint:
    """What `torch.save` wrote into a file, without running code.

    An archive is mapped, not read: what it declares beyond what it holds is then neither allocated nor read.

    Raises:
        ModelError: no such file, not one that torch wrote, damaged, or unsafe.
    """
    try:
        _check_is_file(file)
        is_archive = _check_container(file)
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # what torch doubts about a file ends in a refusal or does not matter
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=is_archive)
            return _plain(file, content)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(f"{file}: refused: {_why_unsafe(error)}") from error
    except zipfile.BadZipFile as error:
        raise ModelError(f"{file}: damaged or cut short ({first_line(error)}); get it again") from error
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or first_line(error)})") from error
    except Exception as error:  # a damaged or hostile file drives torch's reader into nearly any of them
        reason = first_line(error)
        raise ModelError(f"{file}: not a PyTorch weight file, or a damaged one ({reason}); get it again") from error


def _plain(file: Path, content: Any) -> Checkpoint:
    """Tensors (a flat state dict, or one under `model`) and option names of a loaded file.

    Unbound methods and exact types: a file may shadow the methods of the objects it describes.
    """
    if not isinstance(content, dict):
        raise ModelError(f"{file}: holds no state dict, but {type(content).__name__}")
    entries = dict(dict.items(content))
    options = entries.get("args")
    model = entries.get("model", content)
    if not isinstance(model, dict):
        raise ModelError(f"{file}: holds no state dict under 'model', but {type(model).__name__}")
    tensors = dict(dict.items(model))
    for name, value in tensors.items():
        if type(name) is not str or type(value) not in (Tensor, nn.Parameter):
            raise ModelError(f"{file}: not a state dict: {shown_name(name)} is {type(value).__name__}, not a tensor")
        if vars(value) or value.layout != torch.strided or value.is_nested or value.device.type != "cpu":
            raise ModelError(f"{file}: {shown_name(name)} is not a plain tensor")
    return Checkpoint(tensors, frozenset(vars(options)) if type(options) is argparse.Namespace else frozenset())


def _check_is_file(file: Path) -> None:
    if file.is_dir():
        raise ModelError(f"{file}: a folder, not a weight file. {OUT_OF_SCOPE}")
    if file.with_name(f"{file.name}.index").exists():
        raise ModelError(f"{file}: a TensorFlow checkpoint. {OUT_OF_SCOPE}")
    if not file.is_file():
        raise ModelError(f"{file}: no such file")


def _check_container(file: Path) -> bool:
    """Refuse what torch must not or cannot read; True for an archive, False for the format before torch 1.6."""
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ModelError(f"{file}: {size} bytes, more than any published weight file has ({MAX_FILE_BYTES})")
    with file.open("rb") as opened:
        start = opened.read(4)
        opened.seek(max(0, size - 8))
        end = opened.read(8)
    is_archive = start == b"PK\x03\x04"
    if end == TENSORFLOW_FOOTER or (not is_archive and TENSORFLOW_NAME.fullmatch(file.name)):
        raise ModelError(f"{file}: part of a TensorFlow checkpoint. {OUT_OF_SCOPE}")
    if not is_archive:
        if not start.startswith(b"\x80"):  # a pickle of protocol 2 and later
            raise ModelError(f"{file}: not a PyTorch weight file")
        return False
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if any(TENSORFLOW_NAME.fullmatch(name) for name in names):
            raise ModelError(f"{file}: holds a TensorFlow checkpoint. {OUT_OF_SCOPE}")
        if not any(name.endswith("/data.pkl") for name in names):
            raise ModelError(f"{file}: a zip archive, but not a PyTorch weight file")
        if any("/code/" in name for name in names):
            raise ModelError(f"{file}: refused: a TorchScript archive, which holds code; {SSCD_FILES}")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ModelError(f"{file}: refused: a compressed archive, which PyTorch does not write")
        damaged = archive.testzip()  # torch itself does not look at the checksums
    if damaged is not None:
        raise ModelError(f"{file}: damaged: the checksum of {shown_name(damaged)} is wrong; get it again")
    return True


def _why_unsafe(error: pickle.UnpicklingError) -> str:
    forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
    if forbidden:
        return f"opening it would use {shown_name(forbidden[1])}, and a weight file holds tensors and options only"
    reason = re.search(r"Unsupported \w+ \d+", str(error))
    return f"not a weight file that can be read without running code ({reason[0] if reason else 'damaged'})"


def tensors_below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start so, under the rest of their names."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def checked_tensors(
    file: Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Exactly these tensors, finite, as float32 copies. Shapes come first: nothing larger is ever copied.

    Raises:
        ModelError: a tensor lacks, is not expected, or is not of its shape, real or finite.
    """
    for name in shapes:
        if name not in tensors:
            raise ModelError(f"{file}: lacks the tensor {name!r}")
    copies = {}
    for name, tensor in tensors.items():
        if name not in shapes:
            raise ModelError(f"{file}: unexpected tensor {shown_name(name)}")
        if tuple(tensor.shape) != shapes[name]:
            raise ModelError(f"{file}: tensor {name!r} has shape {[*tensor.shape]}, expected {[*shapes[name]]}")
        if not tensor.is_floating_point():
            raise ModelError(f"{file}: tensor {name!r} holds {tensor.dtype}, expected floating-point numbers")
        copies[name] = tensor.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        if not copies[name].isfinite().all():
            raise ModelError(f"{file}: tensor {name!r} holds NaN or infinite values")
    return copies


def shown_name(name: object) -> str:
    """A name from a stranger's file, as it can be printed."""
    text = ascii(name) if isinstance(name, str) else type(name).__name__
    return text if len(text) <= 80 else f"{text[:77]}..."


def first_line(error: Exception) -> str:
    """What an error says first, as it can be printed."""
    lines = str(error).splitlines()
    return ascii(lines[0][:120])[1:-1] if lines else type(error).__name__
