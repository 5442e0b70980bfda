"""What the README shows works as it is written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from gradloom.tools.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_python_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    assert len(blocks("python")) == 5
    # As a file, so that tracing finds the lines.
    (tmp_path / "readme.py").write_text("\n".join(blocks("python")))
    done = subprocess.run([sys.executable, "-W", "error", "readme.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "graph(" in done.stdout
    assert (tmp_path / "model.safetensors").is_file()


def test_ci_does_what_the_readme_says():
    script = (ROOT / ".ci" / "run").read_text()
    set_up, test = blocks("sh")[:2]
    for line in (set_up, test):
        for command in line.replace(".venv/bin/", "").strip().split(" && ")[1:]:
            assert command in script, command


def test_its_files_and_commands_exist(capsys: pytest.CaptureFixture[str]):
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert path.startswith("https://") or (ROOT / path).exists(), path
    floor = ROOT
    for indent, folder in re.findall(r"^( {4}| {8})(?=\w+/ )(.*?/)  ", README, re.MULTILINE):
        for name in folder.split():
            assert (ROOT / name if len(indent) == 4 else floor / name).is_dir(), folder
        floor = ROOT / folder if len(indent) == 4 else floor
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    help_text = capsys.readouterr().out
    for option in set(re.findall(r"gradloom train[^`\n]* (--[a-z-]+)", README)):
        assert option in help_text, option


def test_the_environment_variables_are_those_that_are_read():
    folders = ("ir", "passes", "runtime", "engine", "tools")
    sources = "".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))
    told = set(re.findall(r"^\| `(GRADLOOM_\w+)=", README, re.MULTILINE))
    assert told == set(re.findall(r"environ\.get\(\"(GRADLOOM_\w+)\"", sources))


def test_the_commands_that_look_at_a_plan_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    lines = [line.partition("#")[0].split() for block in blocks("sh") for line in block.splitlines()]
    commands = [line[1:] for line in lines if line[:2] in (["gradloom", "plan"], ["gradloom", "draw"])]
    assert len(commands) == 9
    (recipe,) = [block for block in blocks("python") if "def line" in block]
    (tmp_path / "my_recipes.py").write_text(recipe)
    for command in commands:
        assert main(command) == 0, (command, capsys.readouterr().err)
    assert {"step.html", "step.svg", "plan.json"} <= {path.name for path in tmp_path.iterdir()}
