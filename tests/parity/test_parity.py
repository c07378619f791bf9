"""The numbers of the published systems, and the harness that compares them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from tests.parity.harness import (
    FAILED,
    NO_DATA,
    NOT_BUILT,
    PASSED,
    NoDataError,
    compare,
    find_kind,
    kinds_of,
    run_case,
    run_folder,
    table,
)

DATA = Path(__file__).parent / "data"
SCRIPT = Path(__file__).parents[2] / "scripts" / "check_parity.py"
CASES = sorted(folder for area in DATA.iterdir() if area.is_dir() for folder in area.iterdir() if folder.is_dir())
TIGHT = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("folder", CASES, ids=[f"{folder.parent.name}-{folder.name}" for folder in CASES])
def test_equals_the_published_numbers(folder):
    result = run_case(folder, kinds_of(folder.parent.name))
    assert result.verdict == PASSED, result


def write_case(folder: Path, expected: dict, *, tolerance=TIGHT, inputs=None) -> Path:
    folder.mkdir(parents=True)
    (folder / "case.json").write_text(json.dumps({"params": {"factor": 2}, "tolerance": tolerance}))
    np.savez(folder / "inputs.npz", **(inputs or {"x": np.arange(3.0)}))
    np.savez(folder / "expected.npz", **expected)
    return folder


def doubled(case):
    return {"y": case.tensor("x") * case.params["factor"]}


class TestRunCase:
    def test_equal_arrays_pass(self, tmp_path):
        folder = write_case(tmp_path / "double", {"y": [0.0, 2.0, 4.0]})
        assert run_case(folder, {"double": doubled}).verdict == PASSED

    def test_a_wrong_value_fails_and_its_array_is_named(self, tmp_path):
        folder = write_case(tmp_path / "double", {"y": [0.0, 2.0, 4.1]})
        result = run_case(folder, {"double": doubled})
        assert result.verdict == FAILED and "y" in result.reason
        assert result.error == pytest.approx(0.1)

    def test_a_missing_array_fails(self, tmp_path):
        folder = write_case(tmp_path / "double", {"y": [0.0, 2.0, 4.0], "z": [1.0]})
        result = run_case(folder, {"double": doubled})
        assert (result.verdict, result.reason) == (FAILED, "missing z")

    def test_an_array_that_nobody_expects_fails(self, tmp_path):
        folder = write_case(tmp_path / "double", {})
        result = run_case(folder, {"double": doubled})
        assert (result.verdict, result.reason) == (FAILED, "extra y")

    def test_a_crash_is_a_failed_case_with_its_reason(self, tmp_path):
        write_case(tmp_path / "a", {"y": [0.0]}, inputs={"other": np.zeros(1)})
        write_case(tmp_path / "b", {"y": [0.0, 2.0, 4.0]})
        first, second = run_folder(tmp_path, {"a": doubled, "b": doubled})
        assert (first.verdict, first.reason) == (FAILED, "KeyError: 'x'")
        assert second.verdict == PASSED

    def test_a_damaged_case_is_a_failed_case(self, tmp_path):
        (tmp_path / "double").mkdir()
        result = run_case(tmp_path / "double", {"double": doubled})
        assert result.verdict == FAILED and "case.json" in result.reason

    def test_a_kind_that_no_function_handles_is_not_built(self, tmp_path):
        folder = write_case(tmp_path / "triple", {"y": [0.0]})
        assert run_case(folder, {"double": doubled}).verdict == NOT_BUILT

    def test_a_case_can_lack_its_data(self, tmp_path):
        def needs_data(case):
            raise NoDataError("fivr.pickle is not in --data")

        folder = write_case(tmp_path / "real", {"y": [0.0]})
        result = run_case(folder, {"real": needs_data})
        assert (result.verdict, result.reason) == (NO_DATA, "fivr.pickle is not in --data")


class TestJsonCases:
    """inputs.json and expected.json: numbers and texts by their path."""

    def run(self, folder: Path, expected: object, produced: object):
        folder.mkdir()
        (folder / "case.json").write_text(json.dumps({"tolerance": {"atol": 1e-9, "rtol": 0}}))
        (folder / "inputs.json").write_text(json.dumps({"x": [1, 2]}))
        (folder / "expected.json").write_text(json.dumps(expected))
        return run_case(folder, {folder.name: lambda case: produced(case) if callable(produced) else produced})

    def test_every_number_is_compared(self, tmp_path):
        expected = {"sums": {"of x": 3, "parts": [1, 2.5]}}
        assert self.run(tmp_path / "a", expected, expected).verdict == PASSED
        failed = self.run(tmp_path / "b", expected, {"sums": {"of x": 3, "parts": [1, 2.6]}})
        assert (failed.verdict, failed.reason) == (FAILED, "beyond tolerance: sums/parts/1")

    def test_the_function_gets_what_inputs_json_holds(self, tmp_path):
        assert self.run(tmp_path / "sum", {"y": 3}, lambda case: {"y": sum(case.inputs["x"])}).verdict == PASSED

    def test_what_is_missing_fails_and_what_nobody_expects_does_not_matter(self, tmp_path):
        assert self.run(tmp_path / "a", {"y": 3}, {"y": 3, "more": 4}).verdict == PASSED
        assert self.run(tmp_path / "b", {"y": [3, 4]}, {"y": [3]}).reason == "missing y/1"

    def test_null_is_nan_and_text_must_be_equal(self, tmp_path):
        assert self.run(tmp_path / "a", {"y": None, "z": "why"}, {"y": np.nan, "z": "why"}).verdict == PASSED
        assert self.run(tmp_path / "b", {"y": None}, {"y": 0.0}).verdict == FAILED
        assert self.run(tmp_path / "c", {"z": "why"}, {"z": "how"}).verdict == FAILED

    def test_arrays_are_lists(self, tmp_path):
        assert self.run(tmp_path / "a", {"y": [1.0, 2.0]}, {"y": np.array([1.0, 2.0])}).verdict == PASSED


class TestCompare:
    def verdict(self, produced, expected, tolerance=TIGHT):
        return compare("case", {"y": produced}, {"y": np.asarray(expected)}, tolerance).verdict

    def test_tolerance_grows_with_the_expected_value(self):
        tolerance = {"atol": 0.5, "rtol": 0.1}
        assert self.verdict([11.4], [10.0], tolerance) == PASSED
        assert self.verdict([11.6], [10.0], tolerance) == FAILED

    def test_one_element_is_enough_to_fail(self):
        assert self.verdict(np.r_[np.zeros(10_000), 1.0], np.zeros(10_001)) == FAILED

    def test_shapes_must_be_equal(self):
        assert self.verdict([[1.0]], [1.0]) == FAILED

    def test_nan_equals_only_nan(self):
        assert self.verdict([np.nan, 1.0], [np.nan, 1.0]) == PASSED
        assert self.verdict([np.nan], [1.0]) == FAILED
        assert self.verdict([1.0], [np.nan]) == FAILED

    def test_infinity_equals_only_itself(self):
        assert self.verdict([np.inf], [np.inf]) == PASSED
        assert self.verdict([1.0], [np.inf]) == FAILED
        assert self.verdict([-np.inf], [np.inf]) == FAILED

    def test_integers_are_exact_unless_whole_steps_are_allowed(self):
        assert self.verdict([10], [11], {"atol": 0.9, "rtol": 1.0}) == FAILED
        assert self.verdict(np.uint8([10]), np.uint8([11]), {"atol": 1.0, "rtol": 0}) == PASSED
        assert self.verdict(np.uint8([10]), np.uint8([12]), {"atol": 1.0, "rtol": 0}) == FAILED

    def test_booleans_are_exact(self):
        assert self.verdict([True], [False], {"atol": 1.0, "rtol": 0}) == FAILED

    def test_large_integers_are_not_rounded(self):
        assert self.verdict([2**60], [2**60 + 1], {"atol": 0, "rtol": 0}) == FAILED

    def test_text_is_compared_too(self):
        assert self.verdict(["a"], ["a"]) == PASSED
        assert self.verdict(["a"], ["b"]) == FAILED

    def test_tensors_and_empty_arrays_compare(self):
        assert self.verdict(torch.ones(2, requires_grad=True), [1.0, 1.0]) == PASSED
        assert self.verdict(np.zeros((0, 3)), np.zeros((0, 3))) == PASSED

    def test_patterns_give_arrays_their_own_tolerance(self):
        tolerance = {"atol": 0, "rtol": 0, "arrays": {"soft_*": {"atol": 0.2}}}
        arrays = {"soft_0": np.array([1.0]), "sharp": np.array([1.0])}
        assert compare("case", {**arrays, "soft_0": [1.1]}, arrays, tolerance).verdict == PASSED
        failed = compare("case", {**arrays, "sharp": [1.1]}, arrays, tolerance)
        assert (failed.verdict, failed.reason) == (FAILED, "beyond tolerance: sharp")

    def test_the_array_closest_to_its_tolerance_is_shown_with_it(self):
        tolerance = {"atol": 0.1, "rtol": 0, "arrays": {"soft": {"atol": 100.0}}}
        produced, expected = {"soft": [10.0], "y": [0.05]}, {"soft": np.zeros(1), "y": np.zeros(1)}
        result = compare("case", produced, expected, tolerance)
        assert (result.error, result.tolerance) == (0.05, "0.1")


class TestFindKind:
    KINDS: ClassVar = dict.fromkeys(("selfsim", "grid_pool", "grid_pool_adaptive", "tt_crop_3", "v2v_chamfer"), doubled)

    @pytest.mark.parametrize(
        "name",
        ["selfsim_T9", "selfsim_T40", "grid_pool_224", "grid_pool_192x320", "selfsim_T9_R4", "v2v_chamfer"],
    )
    def test_sizes_at_the_end_of_a_name_do_not_make_a_kind(self, name):
        assert find_kind(name, self.KINDS) is doubled

    def test_the_whole_name_counts_first(self):
        kinds = {"tt_crop": doubled, "tt_crop_3": compare}
        assert find_kind("tt_crop_3", kinds) is compare

    @pytest.mark.parametrize("name", ["v2v", "selfsim_wide", "tt_crop_4", "9"])
    def test_other_names_are_no_kind(self, name):
        assert find_kind(name, self.KINDS) is None


class TestTable:
    def test_last_line_counts_the_verdicts(self, tmp_path):
        write_case(tmp_path / "double_T3", {"y": [0.0, 2.0, 4.0]})
        write_case(tmp_path / "double_T4", {"y": [0.0, 2.0, 5.0]})
        write_case(tmp_path / "triple", {"y": [0.0]})
        lines = table(run_folder(tmp_path, {"double": doubled})).splitlines()
        assert lines[-1] == "1 passed, 1 failed, 1 not built, 0 no data"
        assert [line.split()[0] for line in lines[1:-1]] == ["double_T3", "double_T4", "triple"]
        assert "1e-05 + 1e-05·|e|" in lines[1]

    def test_an_area_without_functions_has_no_kinds(self):
        assert not kinds_of("nothing")


class TestScript:
    def check(self, *arguments) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=120)

    def test_passes_when_every_case_does(self, tmp_path):
        (tmp_path / "visil").mkdir()
        (tmp_path / "visil" / "losses").symlink_to(DATA / "visil" / "losses")
        done = self.check(tmp_path / "visil")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "1 passed, 0 failed, 0 not built, 0 no data"

    def test_an_unknown_kind_is_not_built_and_does_not_pass(self, tmp_path):
        write_case(tmp_path / "visil" / "teleportation", {"y": [0.0]})
        done = self.check(tmp_path / "visil")
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1] == "0 passed, 0 failed, 1 not built, 0 no data"

    def test_a_folder_without_cases_is_an_error(self, tmp_path):
        done = self.check(tmp_path)
        assert done.returncode == 2 and "holds no case" in done.stderr
