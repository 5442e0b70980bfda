"""Type checkers see the package from outside: the types of what is there, and an error for each name that is not."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gradloom as gl
import pytest

PROGRAM = Path(__file__).parent / "typed_program.py"
LINES = PROGRAM.read_text().splitlines()
WRONG = [i for i, line in enumerate(LINES, 1) if line.endswith("# wrong")]
TYPES = {
    "nn.Linear(3, 4)": "Linear",
    "net.first.in_features": "int",
    "net.scale": "Parameter",
    'F.relu(arrays["x"])': "Any",
    "optim.AdamW(1e-3)": "AdamW",
    "step": "Step",
    "plan": "StepPlan",
    "step.report": "MemoryReport",
    "step.report.total_bytes": "int",
    "history": "History",
    "graph": "Graph",
    'gl.load(net, "x.safetensors")': "Loaded",
    "gl.__version__": "str",
    "error.least_bytes": "int",
}


def revealed() -> dict[int, str]:
    """The type that each line reveals."""
    asked = {i: line.strip()[len("reveal_type(") : -1] for i, line in enumerate(LINES, 1) if "reveal_type(" in line}
    assert sorted(asked.values()) == sorted(TYPES)
    return {i: TYPES[what] for i, what in asked.items()}


def test_pyright_sees_types_and_misspelt_names(built: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    (tmp_path / "program.py").write_text(PROGRAM.read_text())
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(built.site)], "reportUnusedExpression": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    found = json.loads(run.stdout)["generalDiagnostics"]
    lines = {
        message["range"]["start"]["line"] + 1: message for message in found if message["severity"] != "information"
    }
    assert sorted(lines) == WRONG, found
    said = {m["range"]["start"]["line"] + 1: m["message"] for m in found if m["severity"] == "information"}
    assert {i: message.rpartition(" is ")[2].strip('"') for i, message in said.items()} == revealed()


def calls_of_everything() -> str:
    """A program that calls each public function, class and method: mypy refuses calls of what has no annotations."""
    lines = ["from typing import Any", "import gradloom as gl", "a: Any = ()", "k: dict[str, Any] = {}"]
    faces = [name for name in sys.modules if name.startswith("gradloom.") and name.split(".")[1] in gl.__all__]
    for face in ["gradloom", *faces]:
        for name in sys.modules[face].__all__:
            value, path = getattr(sys.modules[face], name), f"gl{face.removeprefix('gradloom')}.{name}"
            if not getattr(value, "__module__", "").startswith("gradloom") or not callable(value):
                continue
            lines.append(f"{path}(*a, **k)")
            if isinstance(value, type):
                methods = [m for m in dir(value) if not m.startswith("_") and inspect.isfunction(getattr(value, m))]
                lines += [
                    f"def f{len(lines)}(x: {path}) -> None:",
                    *(f"    x.{m}(*a, **k)" for m in methods),
                    "    pass",
                ]
    return "\n".join(lines) + "\n"


@pytest.mark.peers
def test_mypy_sees_types_and_misspelt_names(built: Any, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(PROGRAM.read_text())
    (tmp_path / "calls.py").write_text(calls_of_everything())
    options = ["--strict", "--no-error-summary", "--follow-imports=silent"]  # as those of what pip installed
    command = [sys.executable, "-m", "mypy", *options, "program.py", "calls.py"]
    environment = {**os.environ, "MYPYPATH": str(built.site)}
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert "calls.py:" not in run.stdout, run.stdout
    messages = [line.split(":", 3) for line in run.stdout.splitlines()]
    assert sorted({int(m[1]) for m in messages if m[2] == " error"}) == WRONG, run.stdout
    said = {int(m[1]): m[-1] for m in messages if "Revealed type is" in m[-1]}
    assert {i: text.split('"')[1].rpartition(".")[2] for i, text in said.items()} == revealed()
