"""What the page on GPUs shows runs as it is written, here without one, and its tables are those of the code."""

import re
import subprocess
import sys
from pathlib import Path

from gradloom.passes.cards import CARDS, TYPICAL
from gradloom.tools.prove_cuda.stages import STAGES

PAGE = Path(__file__).parents[2] / "docs" / "cuda.md"


def test_the_pieces_form_a_file_that_runs(tmp_path: Path):
    pieces = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "gpus.py").write_text("\n".join(pieces))
    done = subprocess.run([sys.executable, "-W", "error", "gpus.py"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plans, losses, *_ = re.findall(r"^(?:\w+ \d+\n){3}|^\[[\d., ]+\]$", done.stdout, re.MULTILINE)
    assert plans.count("\n") == 3
    assert losses.count(".") == 3


def test_the_table_of_stages_is_that_of_the_script():
    rows = re.findall(r"^\| `(\w+)` \| .* \| (yes|no) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(stage.name, "yes" if stage.needs_gpu else "no") for stage in STAGES]


def test_every_card_is_named():
    assert set(re.findall(r'"cuda:(\w+)"', PAGE.read_text())) == {*CARDS, *TYPICAL}
