"""Help and wrong calls: what needs no library, no video and no network, and loads none."""

from __future__ import annotations

import re

import pytest

import visil
from tests.cli.commands import loaded_by
from visil.cli.main import COMMANDS

GROUPS = {"models": ("list", "show", "convert"), "s2vs": ("train", "preview")}  # of commands, each with its own help


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_of_every_command_says_what_it_does_shows_an_example_and_names_its_exit_status(self, run, command):
        ended = run(command, "--help")
        assert (ended.status, ended.err) == (0, "")
        assert f"visil {command} [OPTIONS]" in ended.out
        if command not in GROUPS:
            assert re.search(rf"Examples?:\n\s+visil {command}", ended.out)
            assert "Exit status: 0" in ended.out

    @pytest.mark.parametrize(("group", "command"), [(group, name) for group, names in GROUPS.items() for name in names])
    def test_of_the_commands_of_a_group_shows_an_example(self, run, group, command):
        assert re.search(rf"Examples?:\n\s+visil {group} {command}", run(group, command, "--help").out)

    @pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
    def test_of_visil_names_every_command(self, run, arguments):
        ended = run(*arguments)
        assert ended.status == 0
        for command in COMMANDS:
            assert re.search(rf"^  {command}  ", ended.out, re.MULTILINE)

    def test_the_version_is_printed(self, run):
        ended = run("--version")
        assert (ended.status, ended.out.strip()) == (0, f"visil, version {visil.__version__}")

    @pytest.mark.parametrize(
        "arguments", [["serach"], ["search"], ["list", "--fromat", "csv"], ["index", "a", "--workers", "0"]]
    )
    def test_a_wrong_call_ends_with_2_and_no_traceback(self, run, arguments):
        ended = run(*arguments)
        assert (ended.status, ended.out) == (2, "")
        assert "Error: " in ended.err and "Traceback" not in ended.err

    @pytest.mark.parametrize(
        ("arguments", "meant"),
        [(["serach", "a.mp4"], "search"), (["idnex"], "index"), (["list", "--fromat", "csv"], "--format")],
    )
    def test_a_slip_of_the_pen_is_answered_with_what_was_meant(self, run, arguments, meant):
        last = run(*arguments).err.splitlines()[-1]
        assert last.endswith(f"Did you mean {meant!r}?")

    def test_a_word_that_is_like_no_command_is_answered_with_no_guess(self, run):
        assert run("xyz").err.splitlines()[-1] == "Error: No such command 'xyz'."


class TestImports:
    HEAVY = frozenset({"torch", "timm", "torchvision", "lance", "pyarrow", "av", "faiss", "rich", "numpy", "filelock"})

    @pytest.mark.parametrize(
        "arguments", [["--help"], ["search", "--help"], ["index", "--help"], ["evaluate", "--help"], ["--version"]]
    )
    def test_help_loads_nothing_heavy(self, arguments, tmp_path):
        assert loaded_by(*arguments, home=tmp_path).isdisjoint(self.HEAVY)
