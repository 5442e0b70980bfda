"""The tables of the page on GPUs are those of the code."""

import re
from pathlib import Path

from gradloom.passes.cards import CARDS, TYPICAL
from gradloom.tools.prove_cuda.stages import STAGES

PAGE = Path(__file__).parents[2] / "docs" / "cuda.md"


def test_the_table_of_stages_is_that_of_the_script():
    rows = re.findall(r"^\| `(\w+)` \| .* \| (yes|no) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(stage.name, "yes" if stage.needs_gpu else "no") for stage in STAGES]


def test_every_card_is_named():
    assert set(re.findall(r'"cuda:(\w+)"', PAGE.read_text())) == {*CARDS, *TYPICAL}
