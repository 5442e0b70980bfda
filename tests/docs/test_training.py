"""What the page on training shows runs as it is written."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_pieces_form_a_file_that_runs(tmp_path: Path):
    pieces = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "training.py").write_text("\n".join(pieces))
    done = subprocess.run([sys.executable, "-W", "error", "training.py"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "vanishing" in done.stdout
