"""Names of modules and metrics that are made to be taken for something else: in drawings, on pages, on a terminal."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from shutil import which
from xml.etree import ElementTree

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.fit.means import Means
from gradloom.engine.fit.progress import TrainingProgress
from gradloom.engine.saving.checkpoint_file import CheckpointError, CheckpointWarning, arrays_and_metadata, save_arrays
from gradloom.tools.cli import main
from rich.console import Console

NAMES = (
    '<a> ]; evil [label="PWNED" URL="javascript:alert(1)"]; x [label=<b>',
    '"]; evil [label="PWNED"',
    "ends with a backslash\\",
    "</script><script>alert(1)</script>",
    "<b>bold</b>",
    "[red]markup[/red] [/]",
    "\x1b]0;owned\x07\x1b[2J\x9b",
    "two\nlines\ttab\r",
    "\u202eright to left",
    "half of a pair \ud800",
    "\\N\\G &amp; <![CDATA[",
)

RECIPE = """
import gradloom as gl
from gradloom import nn

NAMES = {names!r}

class Hostile(nn.Module):
    def __init__(self):
        self.layers = nn.ModuleDict(
            {{name: nn.Sequential(nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 8)) for name in NAMES}}
        )

    def forward(self, x):
        for name in NAMES:
            x = self.layers[name](x)
        return x

def recipe():
    batch = {{"x": gl.spec((16, 8)), "y": gl.spec((16, 8))}}
    return Hostile(), lambda m, b: nn.mse_loss(m(b["x"]), b["y"]), gl.optim.SGD(0.1), batch
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "hostile_recipe.py").write_text(RECIPE.format(names=NAMES))
    return f"{tmp_path / 'hostile_recipe.py'}:recipe"


@pytest.mark.parametrize("depth", ["1", "2", "4"])
def test_a_dot_file_holds_one_graph_with_our_own_attributes_alone(recipe: str, tmp_path: Path, depth: str):
    out = tmp_path / "step.dot"
    assert main(["draw", recipe, "-o", str(out), "--depth", depth]) == 0
    text = out.read_bytes().decode("utf-8")
    assert text.replace("\n", "").replace("\t", "").isprintable()
    # Without the texts in quotes, what is left is what graphviz takes as its own.
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text, flags=re.DOTALL)
    assert "evil" not in outside
    assert "URL" not in outside
    assert not re.findall(r"<(?!<table)[^>]*script", outside)
    if which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=text.encode(), check=True, capture_output=True, timeout=60)


def test_an_svg_is_well_formed_and_names_are_text_alone(recipe: str, tmp_path: Path):
    out = tmp_path / "step.svg"
    assert main(["draw", recipe, "-o", str(out), "--layout", "u"]) == 0
    tree = ElementTree.parse(out)
    assert {element.tag.rpartition("}")[2] for element in tree.iter()} <= {
        *("svg", "style", "rect", "text", "title", "path", "g", "line", "circle", "defs"),
    }


def test_a_page_keeps_names_out_of_its_markup(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "step.html"
    assert main(["plan", recipe, "--html", str(out)]) == 0
    assert "<script>alert" not in out.read_text("utf-8")
    assert capsys.readouterr().out.replace("\n", "").isprintable()


def test_reports_differences_and_graphs_show_control_characters_as_escapes(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    saved = tmp_path / "plan.json"
    assert main(["plan", recipe, "--json", str(saved)]) == 0
    assert main(["plan", "digits", "--diff", str(saved)]) == 0
    assert main(["plan", str(saved)]) == 0
    assert main(["ir", recipe]) == 0
    out = capsys.readouterr().out
    assert "\\x1b" in out
    assert out.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["\x1b[2J", "a\x07b:f", "\x1b]0;x\x07.py:f", "no\nsuch.json"])
def test_names_on_the_command_line_come_back_as_escapes(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", name]) == 2
    error = capsys.readouterr().err
    assert error.startswith("gradloom: ")
    assert error.replace("\n", "").isprintable()


def test_a_refusal_shows_names_as_escapes():
    model = nn.ModuleDict({"\x1b[2J": nn.Linear(64, 64)})
    with pytest.raises(gl.MemoryBudgetError) as refused:
        gl.plan_step(model, lambda m, x: np.mean(m["\x1b[2J"](x) ** 2), gl.optim.SGD(0.1), gl.spec((64, 64)), memory=1)
    assert str(refused.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("terminal", [True, False])
def test_names_of_metrics_are_no_markup(terminal: bool):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=200, color_system=None)
    with TrainingProgress(1, 1, 0, console) as progress:
        means = Means()
        means.add((np.float32(1), {"[/red]\x1b[2J": np.float32(2)}))
        progress.begin_epoch(0)
        progress.step(means)
        progress.end_epoch(1.0, {})
    assert "[/red]\\x1b[2J 2.0000" in out.getvalue()


def test_means_name_metrics_in_one_line():
    means = Means()
    means.add((np.float32(1), {"a\nb": np.float32(2)}))
    assert str(means) == "loss 1.0000  a\\nb 2.0000"


def test_python_writes_pages_of_names_that_no_encoding_has(tmp_path: Path):
    code = (
        "import gradloom as gl, numpy as np; from gradloom import nn, optim\n"
        "report = gl.plan_step(nn.Linear(2, 1), lambda m, b: np.mean(m(b)), optim.SGD(0.1), gl.spec((2, 2))).report\n"
        f"report.to_html({str(tmp_path / 'page.html')!r}, title='\\ud800')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert "\\ud800" in (tmp_path / "page.html").read_text("utf-8")


def test_what_a_model_of_hostile_text_writes_comes_as_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = tmp_path / "hostile.txt"
    data.write_text("\x1b[2J\x07\x9b31m\u202e\tab\n" * 200, newline="")
    assert main(["train", "lstm", "--data", str(data), "--steps", "1", "--out", str(tmp_path / "out.safetensors")]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert r"\x1b" in out


def test_texts_of_a_checkpoint_come_as_escapes_and_cut_off(tmp_path: Path):
    path, hostile = tmp_path / "x.safetensors", "\x1b[2J\u202e" * 10_000
    step = gl.compile_step(nn.Linear(2, 1), lambda m, b: np.mean(m(b)), gl.optim.SGD(0.1), gl.spec((3, 2)))
    step.save(path)
    arrays, metadata = arrays_and_metadata(path)
    texts: list[str] = []
    save_arrays(path, arrays, {**metadata, "gradloom.settings": json.dumps({"SGD's momentum": hostile})})
    with pytest.warns(CheckpointWarning) as warned:
        step.load(path)
    texts += [str(warning.message) for warning in warned]
    for other in (
        (arrays, {**metadata, "gradloom.optimizer": hostile}),
        ({**arrays, hostile: arrays["bias"]}, metadata),
        ({**arrays, ".optimizer." + hostile: arrays["bias"]}, metadata),
    ):
        save_arrays(path, *other)
        with pytest.raises(CheckpointError) as refused:
            step.load(path)
        texts.append(str(refused.value))
    header = json.dumps({hostile: {"dtype": hostile, "shape": [], "data_offsets": [0, 0]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError) as refused:
        step.load(path)
    texts.append(str(refused.value))
    for text in texts:
        assert text.replace("\n", "").isprintable()
        assert r"\x1b[2J" in text
        assert len(text) < 4000
