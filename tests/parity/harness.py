"""Runs one function for every kind of parity case and compares what it gives with the published numbers.

    folder of a case ─► Case ─► function of its kind ─► arrays ─► compare ─► Result
                        this module, apart from the functions, which lie in cases_<area>.py

A new kind of case is one small function there:

    @case("visil", "f2f_chamfer")
    def f2f_chamfer(case: Case) -> Arrays: ...

A case lies in npz files, in JSON or in both. Where expected.json is there a function gives a structure like it; both
become numbers and texts by path (`stable/DSVR/mAP`), null is NaN. A mapping may hold more than is expected, few cases
list every rule; a list is as long as the expected one.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch

PASSED, FAILED, NOT_BUILT, NO_DATA = "passed", "failed", "not built", "no data"
SIZE_TOKEN = re.compile(r"_[A-Za-z]?\d+(x\d+)*$")  # `selfsim_T9` and `selfsim_T40` are one kind
LENGTH = "length"  # of a list, beside its elements
GREY_LEVEL = 1  # integers are exact unless a case allows whole steps


class NoDataError(Exception):
    """Raised by a case function that needs files which `--data` does not hold."""


@dataclass(frozen=True)
class Case:
    """What a case gives to the function of its kind.

    Attributes:
        inputs, weights: arrays by name; float32 unless integer by nature. Where inputs.json is there: what it holds.
        folder: of the case.
        data: folder of real data sets, or None.
    """

    name: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]
    folder: Path
    data: Path | None = None

    def tensor(self, name: str) -> torch.Tensor:
        """A fresh tensor of an input."""
        return torch.from_numpy(self.inputs[name].copy())

    def indices(self, name: str) -> list[int]:
        """Every k for which there is an input `name_k`."""
        matches = (re.fullmatch(rf"{name}_(\d+)", key) for key in self.inputs)
        return sorted(int(match[1]) for match in matches if match)


Arrays = Mapping[str, Any]  # tensors, arrays or numbers by the names of expected.npz
CaseFunction = Callable[[Case], Arrays]
Kinds = Mapping[str, CaseFunction]

_REGISTRY: dict[str, dict[str, CaseFunction]] = {}


def case(area: str, *kinds: str) -> Callable[[CaseFunction], CaseFunction]:
    """Register the function that handles these kinds of an area."""

    def register(function: CaseFunction) -> CaseFunction:
        _REGISTRY.setdefault(area, {}).update(dict.fromkeys(kinds, function))
        return function

    return register


def kinds_of(area: str) -> Kinds:
    """The functions of an area, which the modules `cases_*.py` beside this file register."""
    for file in sorted(Path(__file__).parent.glob("cases_*.py")):
        importlib.import_module(f"{__package__}.{file.stem}")
    return _REGISTRY.get(area, {})


def find_kind(name: str, kinds: Kinds) -> CaseFunction | None:
    """The function for a folder name: by the whole name first, then without the size tokens at its end."""
    while name not in kinds:
        shorter = SIZE_TOKEN.sub("", name)
        if shorter == name:
            return None
        name = shorter
    return kinds[name]


@dataclass(frozen=True)
class Result:
    """Outcome of a case.

    Attributes:
        error: largest |a - e| of the array that comes closest to its tolerance, or passes it furthest.
        tolerance: of that array, as applied.
        reason: why it failed, was not run, or an empty text.
    """

    case: str
    verdict: str
    error: float | None = None
    tolerance: str = ""
    reason: str = ""


def run_folder(folder: Path, kinds: Kinds, *, data: Path | None = None) -> list[Result]:
    """Every case of an area, in the order of their names."""
    cases = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")
    return [run_case(path, kinds, data=data) for path in cases]


def run_case(folder: Path, kinds: Kinds, *, data: Path | None = None) -> Result:
    """One case; whatever goes wrong inside it is its own failure."""
    function = find_kind(folder.name, kinds)
    if function is None:
        return Result(folder.name, NOT_BUILT, reason="no function handles this kind")
    try:
        description = _read_json(folder / "case.json")
        # reference_*.npz is not read: it holds what the published code gives where it is wrong, and visil has
        # no mode that repeats those errors.
        is_json = (folder / "expected.json").exists()
        produced = function(
            Case(
                name=folder.name,
                params=description.get("params", {}),
                inputs=_inputs(folder),
                weights=_load(folder / "weights.npz") if (folder / "weights.npz").exists() else {},
                folder=folder,
                data=data,
            )
        )
        if is_json:
            expected = flattened(_read_json(folder / "expected.json"))
            produced = {path: value for path, value in flattened(produced).items() if path in expected}
        else:
            expected = _load(folder / "expected.npz")
        return compare(folder.name, produced, expected, description["tolerance"])
    except NoDataError as error:
        return Result(folder.name, NO_DATA, reason=_one_line(error))
    except Exception as error:  # a crash is a failed case, not the end of the run
        return Result(folder.name, FAILED, reason=f"{type(error).__name__}: {_one_line(error)}")


def compare(name: str, produced: Arrays, expected: Mapping[str, np.ndarray], tolerance: Mapping[str, Any]) -> Result:
    """|a - e| <= atol + rtol·|e| for every element of every array; names and shapes must be the same.

    Args:
        tolerance: `atol`, `rtol`, and under `arrays` others for names that match a pattern.
    """
    missing, extra = sorted(set(expected) - set(produced)), sorted(set(produced) - set(expected))
    if missing or extra:
        lists = [f"{word} {', '.join(names)}" for word, names in (("missing", missing), ("extra", extra)) if names]
        return Result(name, FAILED, reason="; ".join(lists))
    worst = Result(name, PASSED, error=0.0, tolerance="no array")
    worst_share = -1.0
    failures = []
    for key, wanted in expected.items():
        given = produced[key]
        given = given.detach().cpu().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)
        if given.shape != wanted.shape:
            return Result(name, FAILED, reason=f"{key}: shape {given.shape}, expected {wanted.shape}")
        atol, rtol = _tolerance_of(key, wanted.dtype, tolerance)
        error, share = _differences(given, wanted, atol, rtol)
        if share > 1:
            failures.append(key)
        if share > worst_share:
            worst_share = share
            text = f"{atol:g} + {rtol:g}·|e|" if rtol else f"{atol:g}" if atol else "exact"
            worst = Result(name, PASSED, error=error, tolerance=text)
    if failures:
        return Result(name, FAILED, worst.error, worst.tolerance, f"beyond tolerance: {', '.join(failures)}")
    return worst


def _tolerance_of(key: str, dtype: np.dtype, tolerance: Mapping[str, Any]) -> tuple[float, float]:
    """atol and rtol of an array; the first pattern that matches its name counts."""
    patterns = tolerance.get("arrays", {})
    own: Mapping[str, Any] = next((value for pattern, value in patterns.items() if fnmatchcase(key, pattern)), {})
    atol, rtol = (float({**tolerance, **own}.get(part, 0)) for part in ("atol", "rtol"))
    exact = dtype == np.bool_ or (np.issubdtype(dtype, np.integer) and atol < GREY_LEVEL)
    return (0.0, 0.0) if exact or not np.issubdtype(dtype, np.number) else (atol, rtol)


def _differences(given: np.ndarray, wanted: np.ndarray, atol: float, rtol: float) -> tuple[float, float]:
    """Largest |a - e| and largest share of its tolerance that an element uses up (above 1: beyond it)."""
    same = given == wanted
    if np.issubdtype(wanted.dtype, np.number) and np.issubdtype(given.dtype, np.number):
        a, e = given.astype(np.float64), wanted.astype(np.float64)
        same |= np.isnan(a) & np.isnan(e)
        error = np.abs(np.subtract(a, e, out=np.full(a.shape, np.inf), where=np.isfinite(a) & np.isfinite(e)))
        allowed = atol + rtol * np.abs(np.where(np.isfinite(e), e, 0))
    else:
        error, allowed = np.ones(wanted.shape), np.zeros(wanted.shape)
    if error.size == 0:
        return 0.0, 0.0
    share = np.divide(error, allowed, out=np.full(error.shape, np.inf), where=allowed > 0)
    return float(np.where(same, 0.0, error).max()), float(np.where(same, 0.0, share).max())


def _inputs(folder: Path) -> dict[str, Any]:
    """What inputs.json or inputs.npz holds; nothing where expected.json lists the inputs too."""
    if (folder / "inputs.json").exists():
        return dict(_read_json(folder / "inputs.json"))
    if (folder / "inputs.npz").exists() or not (folder / "expected.json").exists():
        return _load(folder / "inputs.npz")
    return {}


def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def flattened(structure: Any, path: str = "") -> dict[str, np.ndarray]:
    """Numbers and texts of nested mappings and lists by path, and the lengths of lists; None is NaN."""
    values: dict[str, np.ndarray] = {}
    if isinstance(structure, Mapping):
        parts = structure.items()
    elif isinstance(structure, list | tuple) or (isinstance(structure, np.ndarray) and structure.ndim):
        parts = enumerate(structure)
        values[f"{path}/{LENGTH}"] = np.asarray(len(structure))
    else:
        return {path: np.asarray(np.nan if structure is None else structure)}
    return values | {
        name: value
        for key, part in parts
        for name, value in flattened(part, f"{path}/{key}" if path else str(key)).items()
    }


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def table(results: list[Result]) -> str:
    """The results for a person to read, and a last line that counts them."""
    rows = [("case", "largest error", "tolerance", "verdict")]
    for r in results:
        verdict = f"{r.verdict}: {r.reason}" if r.reason else r.verdict
        rows.append((r.case, "" if r.error is None else f"{r.error:.2e}", r.tolerance, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row[:3], widths, strict=True)), row[3]]) for row in rows]
    counts = [f"{sum(r.verdict == v for r in results)} {v}" for v in (PASSED, FAILED, NOT_BUILT, NO_DATA)]
    return "\n".join([*lines, ", ".join(counts)])
