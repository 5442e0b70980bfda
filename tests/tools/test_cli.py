"""The commands: help, version, printed graphs, and errors that end with exit code 2."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import gradloom as gl
import pytest
from child_processes import started
from gradloom.passes.pipeline import PASS_NAMES
from gradloom.tools import cli
from gradloom.tools.cli import main

COMMAND = [sys.executable, "-c", "import sys; from gradloom.tools.cli import main; sys.exit(main())"]


def test_version_and_help(capsys: pytest.CaptureFixture[str]):
    for arguments, expected in (
        (["--version"], f"gradloom {version('gradloom')}\n"),
        (["--help"], "train a model"),
        (["train", "--help"], "--resume FILE"),
        (["plan", "--help"], "--largest-batch"),
        (["draw", "--help"], "--depth N"),
        (["ir", "--help"], "--after PASS"),
        (["bench", "--help"], "--against SIDES"),
    ):
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        assert exit.value.code == 0
        assert expected in capsys.readouterr().out


def test_ir_prints_the_traced_graph_so_that_it_can_be_read_back(capsys: pytest.CaptureFixture[str]):
    assert main(["ir", "mlp_s"]) == 0
    text = capsys.readouterr().out.rstrip("\n")
    graph = gl.parse(text)
    graph.verify()
    assert str(graph) == text
    assert "region" not in text


@pytest.mark.parametrize("name", PASS_NAMES)
def test_ir_prints_the_graph_after_every_pass(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(["ir", "digits", "--after", name]) == 0
    text = capsys.readouterr().out.rstrip("\n")
    assert str(gl.parse(text)) == text
    assert ("region" in text) == (PASS_NAMES.index(name) >= PASS_NAMES.index("fuse"))


def test_ir_prints_the_graph_after_passes_of_a_gpu(capsys: pytest.CaptureFixture[str]):
    assert main(["ir", "digits", "--target", "cuda:h100", "--after", "fuse-attention"]) == 0
    assert str(gl.parse(text := capsys.readouterr().out.rstrip("\n"))) == text
    assert main(["ir", "digits", "--target", "cuda:h100", "--after", "tile-attention"]) == 2
    assert "no pass 'tile-attention' for cuda:h100; similar: fuse-attention; there are " in capsys.readouterr().err


SMALL = """
import gradloom as gl
from gradloom import nn

def line():
    def loss_fn(model, batch):
        return nn.mse_loss(model(batch["x"]), batch["y"])
    batch = {"x": gl.spec((16, 8)), "y": gl.spec((16, 8))}
    return nn.Sequential(nn.Linear(8, 8), nn.Tanh()), loss_fn, gl.optim.SGD(0.1), batch
"""


@pytest.mark.parametrize("of", [["--memory", "1MB"], ["--after", "fuse"], ["--after", "prepack-weights"]])
@pytest.mark.parametrize("command", [["ir"], ["draw", "-o", "step.dot"]])
def test_graphs_are_those_of_a_target(
    command: list[str],
    of: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    Path("small.py").write_text(SMALL)
    code = main([*command, "small.py:line", *of, "--target", "cuda:a100"])
    error = capsys.readouterr().err
    if "prepack-weights" in of:
        assert code == 2
        assert "there is no pass 'prepack-weights' for cuda:a100; there are regather-parameters," in error
    else:
        assert (code, error) == (0, "")


@pytest.mark.parametrize("command", [["train", "--epochs", "1"], ["diagnose", "--steps", "1"], ["compile"]])
def test_steps_run_on_a_target(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("small.py").write_text(SMALL)
    assert main([*command, "small.py:line", "--target", "cuda-emulated"]) == 0
    assert main([*command, "small.py:line", "--target", "cuda-emulatd"]) == 2
    assert "target 'cuda-emulatd' is not available" in capsys.readouterr().err
    if command[0] == "train":  # the checkpoint keeps it
        resume = ["train", "small.py:line", "--resume", "gradloom-line.safetensors", "--epochs"]
        assert main([*resume, "2"]) == 0
        assert "on 132 SMs" in capsys.readouterr().out
        assert main([*resume, "3", "--target", "cpu"]) == 0
        assert "on 132 SMs" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ["ir", "--memory", "1MB"],
        ["ir", "--after", "fuse"],
        ["draw", "-o", "step.dot"],
        ["draw", "-o", "step.dot", "--after", "fuse"],
        ["compile"],
        ["diagnose", "--steps", "1"],
    ],
)
def test_a_step_is_cut_for_a_number_of_cores(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("small.py").write_text(SMALL)
    arguments = [command[0], "small.py:line", *command[1:]]
    assert main([*arguments, "--cores", "12"]) == 0
    assert main([*arguments, "--cores", "4", "--target", "cuda-emulated"]) == 2
    assert "cores is for the CPU, got 4 for 'cuda-emulated:sm_90'; leave it out\n" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit:
        main([*arguments, "--cores", "4000"])
    assert exit.value.code == 2
    assert "4000 is more than 256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ir", "digits", "--after", "magic"], f"there is no pass 'magic' for cpu; there are {', '.join(PASS_NAMES)}"),
        (["ir", "digits", "--after", "fuse", "--memory", "90%"], "--memory prints the graph that runs within a budget"),
        (["ir", "nothing"], "there is no recipe 'nothing'"),
        (["bench", "mlp_xxl"], "there is no workload 'mlp_xxl'; there are mlp_s, mlp_m, mlp_l, gpt, cnn, lstm"),
        (["bench", "--against", "numpy"], "cannot measure against 'numpy'; there are torch, torch-compile, "),
        (["bench", "--json", "nowhere/x.json"], "cannot write nowhere/x.json"),
    ],
)
def test_what_cannot_be_done_is_one_error(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err == f"gradloom: {err.removeprefix('gradloom: ')}"
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["ir"],
        ["train", "--optimizer", "tiger"],
        ["train", "--epochs", "0"],
        ["train", "--epochs", "-1"],
        ["train", "--batch-size", "1.5"],
        ["train", "--seed", "-1"],
        ["train", "--lr", "-0.1"],
        ["train", "--lr", "nan"],
        ["train", "--memory", "much"],
        ["train", "--memory", "0MB"],
        ["train", "--threads", "0"],
        ["plan", "digits", "--memory", "150%"],
        ["bench", "--rounds", "0"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_an_error_of_the_step_names_the_line_and_has_no_traceback(tmp_path: Path):
    (tmp_path / "r.py").write_text(
        "import gradloom as gl\n"
        "def loss_fn(model, x):\n"
        "    y = model(x)\n"
        "    return (y @ y).sum()\n"
        "def recipe():\n"
        "    return gl.nn.Linear(3, 2), loss_fn, gl.optim.SGD(0.1), gl.spec((5, 3))\n"
    )
    for command in ("ir", "train"):
        done = subprocess.run([*COMMAND, command, "r.py:recipe"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert "r.py:4" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_error():
    with started([*COMMAND, "ir", "mlp_l"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as (run,):
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.read(10)
        run.stdout.close()
        assert run.stderr.read() == b""
        run.stderr.close()
        assert run.wait(60) == 0


def test_a_lack_of_memory_is_one_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def no_room(*_: object) -> None:
        raise MemoryError("Unable to allocate 8.00 TiB")

    monkeypatch.setattr(cli, "step_text", no_room)
    assert main(["ir", "digits"]) == 2
    assert capsys.readouterr().err == "gradloom: there is not enough memory: Unable to allocate 8.00 TiB\n"


def test_an_unknown_front_end_is_one_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("GRADLOOM_FRONT_END", "llvm")
    assert main(["compile", "mlp_s"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("gradloom: GRADLOOM_FRONT_END='llvm' is no front end; write GRADLOOM_FRONT_END=numba or")


@pytest.mark.parametrize("command", ["plan digits", "ir digits --after fuse", "ir gpt --memory 80%"])
def test_a_dump_that_has_no_folder_is_a_message(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "file"
    file.write_text("mine")
    monkeypatch.setenv("GRADLOOM_DUMP", str(file))
    assert main(command.split()) == 2
    assert capsys.readouterr().err.startswith(f"gradloom: GRADLOOM_DUMP={file} is no folder to write to (")
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "argument COMMAND: there is no 'trian'; similar: train"),
        (["train", "--optimizer", "adma"], "argument --optimizer: there is no 'adma'; similar: adam"),
        (["train", "--schedule", "quite-another"], "there is no 'quite-another'; there are constant, cosine, "),
        (["train", "--memmory", "3"], "unrecognized arguments: --memmory; similar: --memory"),
        (["train", "digitz"], "there is no recipe 'digitz'; similar: digits; write one of "),
        (["ir", "digits", "--after", "fus"], "there is no pass 'fus' for cpu; similar: fuse; there are "),
        (["plan", "mine.py:lin"], "mine.py has no function 'lin'; similar: line"),
    ],
)
def test_a_misspelt_word_is_told_the_one_that_is_near(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def line():\n    pass\n")
    try:
        code: object = main(arguments)
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    err = capsys.readouterr().err
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
