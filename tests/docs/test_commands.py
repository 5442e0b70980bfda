"""The commands that pages show could be typed: their options, files, modules and extras are there."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, blocks
from gradloom.tools.cli import main, make_parser

WITH_COMMANDS = [page for page in PAGES if blocks(page, "sh", "console")]
CHECKED = ("gradloom", "pip", "python", "pytest")
OTHERS = (
    *("sphinx-build", "ruff", "pyright", "lint-imports", "git", "cd", ".", ".ci/run"),
    *("mpiexec", "mpirun", "sbatch", "taskset"),
)
"""What a line may begin with; `.` sources a file."""


def commands(page: Path) -> list[list[str]]:
    """The words of each command of a page, without comments and without the folder of an environment."""
    found: list[list[str]] = []
    for block in blocks(page, "sh", "console"):
        for line in block.text.splitlines():
            if block.language == "sh" or line.startswith("$ "):
                for command in re.split(r" && ", line.removeprefix("$ ").partition(" | ")[0]):
                    words = shlex.split(re.sub(r"^([A-Z_]+=\S+ )+", "", command), comments=True)
                    found += [[words[0].removeprefix(".venv/bin/"), *words[1:]]] if words else []
    return found


def printed(line: str) -> str:
    """What a command prints, and its first lines alone where `| head -N` follows."""
    command, _, head = line.removeprefix("$ ").partition(" | head -")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(shlex.split(command)[1:]) == 0
    return "".join(out.getvalue().splitlines(keepends=True)[: int(head) if head else None])


def launched(command: list[str]) -> list[str]:
    """What a command of MPI starts, where it starts one of those that are checked."""
    if command[0] in ("mpiexec", "mpirun"):
        started = next((i for i, word in enumerate(command) if word in CHECKED), None)
        return command if started is None else command[started:]
    return command


def could_be_parsed(words: list[str]) -> bool:
    try:
        make_parser().parse_args(words)
    except SystemExit as error:
        return error.code == 0  # of --help
    return True


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_could_be_typed(page: Path, capsys: pytest.CaptureFixture[str]):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in commands(page):
        program, *words = launched(command)
        assert program in CHECKED + OTHERS, program
        if program == "gradloom":
            assert could_be_parsed(words), (words, capsys.readouterr().err)
        elif program == "pip":
            asked = [name for word in words for name in re.findall(r"\[([\w,-]+)\]", word)]
            assert {name for names in asked for name in names.split(",")} <= extras.keys(), words
        elif program == "python" and words[0] == "-m":
            assert importlib.util.find_spec(words[1]) is not None, words
        elif program == "python":
            assert (ROOT / words[0]).is_file(), words
        elif program == "pytest":
            paths = [word.partition("::")[0] for word in words if word.startswith("tests/")]
            assert all((ROOT / path).exists() for path in paths), words


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console")], ids=lambda page: page.name)
def test_a_console_shows_what_is_printed(
    page: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In a folder that has the first block of Python of the page, as `your_code.py`."""
    monkeypatch.chdir(tmp_path)
    Path("your_code.py").write_text(blocks(page, "python")[0].text)
    text = page.read_text("utf-8")
    for block in reversed(blocks(page, "console")):
        lines = [line for line in block.text.splitlines() if line.startswith("$ ")]
        text = text[: block.start] + "".join(f"{line}\n{printed(line)}" for line in lines) + text[block.end :]
    if request.config.getoption("--update-cases"):
        page.write_text(text, "utf-8")
    else:
        assert text == page.read_text("utf-8"), "pytest tests/docs --update-cases writes what is printed now"
