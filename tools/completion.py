"""Completion of the command line in shells: scripts that shtab makes of the parser, and that start no Python."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from ..passes.pipeline import PASS_NAMES
from .command_error import CommandError
from .recipes import RECIPES

SHELLS = ("bash", "zsh", "fish")

Complete = dict[str, Any]
"""What completes an argument, for each shell, as shtab takes it."""


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell. Raises `CommandError` without shtab."""
    try:
        import shtab  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise CommandError("completion needs shtab: pip install 'gradloom[completion]'") from error
    for action in _arguments(parser):
        if isinstance(action, argparse._SubParsersAction):
            for line in action._choices_actions:  # shells show a line for each command
                action.choices[line.dest].description = line.help
        completes = _completes(str(action.metavar), shtab.FILE)
        if completes is not None:
            action.complete = completes  # pyright: ignore[reportAttributeAccessIssue]
    return shtab.complete(parser, shell)


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of all commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _arguments(command)


def _completes(metavar: str, files: Complete) -> Complete | None:
    """What completes an argument of this kind; `None` for numbers and names that only the user knows."""
    if metavar in ("FILE", "OTHER"):
        return files
    if metavar == "PASS":
        return _words("pass", PASS_NAMES)
    if metavar in ("RECIPE", "WORKLOAD"):
        return _words("recipe", RECIPES, "py", "json")
    return None


def _words(name: str, words: Iterable[str], *suffixes: str) -> Complete:
    """Names, and files with these suffixes."""
    function, listed = f"_gradloom_{name}", " ".join(words)
    patterns = [f"*.{suffix}" for suffix in suffixes]
    bash = [f"compgen -W '{listed}' -- $1", *(f"compgen -f -X '!{pattern}' -- $1" for pattern in patterns)]
    zsh = [f"compadd -- {listed}", *(f"_files -g '{pattern}'" for pattern in patterns)]
    fish = [f"string split ' ' '{listed}'", *(f"__fish_complete_suffix .{suffix}" for suffix in suffixes)]
    if suffixes:
        bash.append("compgen -d -S / -- $1")
    return {
        "bash": function,
        "zsh": function,
        "fish": f"({function})",
        "preamble": {
            "bash": _body(f"{function}() {{", bash, "}"),
            "zsh": _body(f"{function}() {{", zsh, "}"),
            "fish": _body(f"function {function}", fish, "end"),
        },
    }


def _body(first: str, lines: list[str], last: str) -> str:
    return "\n".join([first, *(f"  {line}" for line in lines), last, ""])
