"""Shells complete the command line by a script, which starts no Python."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
from pathlib import Path

import pytest
from gradloom.tools import completion
from gradloom.tools.cli import main
from gradloom.tools.completion import SHELLS
from gradloom.tools.recipes import RECIPES

pytest.importorskip("shtab")
bash_is_here = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script for bash."""
    path = tmp_path_factory.mktemp("completion") / "gradloom.bash"
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("builtins.print", lambda text: said.append(text))
        assert main(["completion", "bash"]) == 0
    path.write_text("\n".join(said))
    return path


COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p gradloom | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function gradloom "${@: -1}" "" 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(script: Path, folder: Path, *words: str) -> list[str]:
    """What bash offers for the last word. Neither Python nor the command can be started."""
    command = ["bash", "--norc", "--noprofile", "-c", COMPLETE, "bash", str(script), "gradloom", *words]
    (folder / "python").write_text("#!/bin/sh\necho started >&2; exit 1\n")
    (folder / "python").chmod(0o755)
    path = f"{folder}:/usr/bin:/bin"
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={"PATH": path})
    assert "started" not in run.stderr, run.stderr
    (folder / "python").unlink()
    return run.stdout.split()


@bash_is_here
def test_bash_completes_commands_options_recipes_and_files(script: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "saved.safetensors").write_text("")
    assert completed(script, tmp_path, "tra") == ["train"]
    assert {"train", "plan", "completion"} <= set(completed(script, tmp_path, ""))
    assert completed(script, tmp_path, "train", "--mem") == ["--memory"]
    assert completed(script, tmp_path, "train", "--optimizer", "adamw") == ["adamw"]
    assert set(completed(script, tmp_path, "train", "")) >= {*RECIPES, "mine.py"}
    assert completed(script, tmp_path, "train", "mi") == ["mine.py"]
    assert completed(script, tmp_path, "ir", "digits", "--after", "fuse-pro") == ["fuse-prologue"]
    assert "saved.safetensors" in completed(script, tmp_path, "train", "--resume", "sav")
    assert completed(script, tmp_path, "completion", "z") == ["zsh"]


@bash_is_here
def test_a_tab_at_a_prompt_completes_the_command(script: Path, tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.environ.update(PS1="> ", TERM="dumb")
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    seen = ""
    try:
        os.write(terminal, f"source {script}; echo sour''ced\n".encode())
        typed = False
        while "gradloom train --optimizer" not in seen and select.select([terminal], [], [], 60)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
            if not typed and "sourced" in seen:
                os.write(terminal, b"gradloom tra\t--optimiz\t")
                typed = True
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    assert "gradloom train --optimizer" in seen, seen


@pytest.mark.parametrize("shell", SHELLS)
def test_there_is_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("largest-batch", "mlp_s", "fuse-prologue", "warm-up-cosine"):
        assert word in script, word
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_without_shtab_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "shtab", None)
    assert completion.SHELLS
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err == "gradloom: completion needs shtab: pip install 'gradloom[completion]'\n"
