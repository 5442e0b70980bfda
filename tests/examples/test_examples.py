"""Examples that people start from are short, say how they are run, and have a test each."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEASUREMENTS = {"pass_gains", "narrow_storage", "optimizer_steps", "second_order", "adversarial"}
SHARED = {"digit_images", "reference_text"}
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("[!_]*.py") if path.stem not in MEASUREMENTS | SHARED)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_tested_and_says_its_command(path):
    text = path.read_text()
    assert 40 <= len(text.splitlines()) <= 120
    assert f"python examples/{path.name}" in (ast.get_docstring(ast.parse(text)) or "")
    assert "def main(argv=None):" in text
    assert (ROOT / "tests" / "examples" / f"test_{path.stem}.py").is_file()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_tells_what_it_is_and_its_options(path, capsys):
    module = importlib.import_module(f"gradloom.examples.{path.stem}")
    with pytest.raises(SystemExit) as end:
        module.main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert (module.__doc__ or "").splitlines()[0] in said
    assert "--seed" in said
