"""Editors and prompts complete names: by jedi, which reads source, and by `dir`, which consoles ask."""

from __future__ import annotations

import inspect
import json
import rlcompleter
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gradloom as gl
import pytest

FACES: dict[str, ModuleType] = {
    name.removeprefix("gradloom."): module
    for name, module in sys.modules.items()
    if name.startswith("gradloom.") and name.split(".")[1] in (*gl.__all__,)
}


def test_every_namespace_that_can_be_imported_has_a_file_for_editors() -> None:
    folder = Path(__file__).parents[2] / "faces"
    names = {path.relative_to(folder).with_suffix("").as_posix().replace("/", ".") for path in folder.rglob("*.py")}
    assert {name.removesuffix(".__init__") for name in names} == set(FACES)
    for name, module in FACES.items():
        at = folder.joinpath(*name.split("."))
        text = (at / "__init__.py" if at.is_dir() else at.with_suffix(".py")).read_text()
        target = module.__name__.removeprefix("gradloom.")
        assert f"{'.' * (name.count('.') + 2 - (not at.is_dir()))}{target} import *" in text, name


@pytest.mark.parametrize("name", ["", *FACES])
def test_dir_of_a_namespace_is_its_public_names(name: str) -> None:
    module = FACES[name] if name else gl
    assert [known for known in dir(module) if not known.startswith("_")] == sorted(module.__all__)
    assert list(module.__all__) == list(dict.fromkeys(module.__all__))
    for known in module.__all__:
        assert hasattr(module, known)


def test_public_functions_and_classes_have_docstrings_and_signatures() -> None:
    for module in (gl, *FACES.values()):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, ModuleType) or not getattr(value, "__module__", "").startswith("gradloom"):
                continue
            assert inspect.getdoc(value), name
            if not callable(value) or (isinstance(value, type) and issubclass(value, Exception)):
                continue
            shown = str(inspect.signature(value))
            assert "*args: P" not in shown, (name, shown)
            assert shown != "(*args: Any, **kwargs: Any) -> Any", name


def test_a_plain_prompt_completes_namespaces() -> None:
    complete = rlcompleter.Completer({"gl": gl}).complete
    assert complete("gl.nn.functional.scaled_", 0) == "gl.nn.functional.scaled_dot_product_attention("
    assert complete("gl.compile_s", 0) == "gl.compile_step("


CASES = {
    "gl.": ("compile_step", "nn", "fit"),
    "gl.nn.": ("Linear", "functional", "cross_entropy"),
    "gl.nn.functional.": ("relu", "scaled_dot_product_attention"),
    "gl.nn.init.": ("kaiming_normal_",),
    "gl.optim.": ("AdamW", "schedules"),
    "gl.optim.schedules.": ("Cosine",),
    "gl.numpy.": ("sum", "linalg"),
    "gl.numpy.linalg.": ("norm",),
    "gl.data.": ("batches", "Windows"),
    "gl.random.": ("normal",),
    "gl.callbacks.": ("EarlyStopping",),
    "gl.metrics.": ("accuracy",),
    "F.": ("relu",),
    "gl.compile_step(1, 2, 3, 4).": ("parameters", "report", "bind"),
    "gl.compile_step(1, 2, 3, 4).report.": ("total_bytes", "to_html"),
    "gl.nn.Linear(3, 4).": ("in_features", "parameters"),
}


ASK = """
import json, sys
import jedi

sys.setrecursionlimit(10_000)
site, cases, places = json.load(sys.stdin)
project = jedi.Project(site, sys_path=places)
answers = {}
for typed, expected in cases.items():
    source = f"import gradloom as gl\\nfrom gradloom.nn import functional as F\\n{typed}"
    found = {c.name: c for c in jedi.Script(source, project=project).complete()}
    answers[typed] = {name: found[name].docstring(raw=True) for name in expected if name in found}
print(json.dumps(answers))
"""


def test_jedi_completes_with_docstrings(built: Any) -> None:
    pytest.importorskip("jedi")
    # Where the tests run in place, a folder of the path holds this package without what is installed beside it.
    places = [str(built.site), *(place for place in sys.path if not (Path(place) / "gradloom").exists())]
    asked = json.dumps([str(built.site), CASES, places])
    run = subprocess.run([sys.executable, "-c", ASK], input=asked, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout)
    assert {typed: tuple(found) for typed, found in answers.items()} == CASES
    for typed, found in answers.items():
        assert all(found[name] for name in found if name not in ("in_features", "arena_bytes")), typed
