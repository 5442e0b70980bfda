"""A GPT trains as in float32 with each kind of what is stored in two bytes."""

from __future__ import annotations

import numpy as np
import pytest
from gradloom.examples.narrow_storage import KINDS, losses


@pytest.mark.slow
def test_losses_stay_within_a_hundredth_of_those_of_float32():
    exact, whole = losses("fp32")
    assert np.mean(exact[-20:]) < 0.7 * exact[0]
    for name, precision in KINDS.items():
        run, report = losses(precision)
        assert abs(np.mean(run[-20:]) / np.mean(exact[-20:]) - 1) < 0.01, name
        if "kept" in name or "moments" in name:
            assert report.total_bytes < whole.total_bytes, name
