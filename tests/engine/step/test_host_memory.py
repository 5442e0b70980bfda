"""A step on a GPU within a budget moves values and optimizer state to host memory, and keeps its bits."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.report.schema import MemoryReport
from gradloom.tools.plan_diff import diff_text

TARGET = "cuda-emulated:h100"
ROWS, WIDTH = 64, 32


def recipe(optimizer: Any = None, layers: int = 4) -> tuple[Any, ...]:
    def loss_fn(model: Any, batch: Any) -> Any:
        return np.mean((model(batch["x"]) - batch["y"]) ** 2)

    model = nn.Sequential(*(layer for _ in range(layers) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())))
    batch = {"x": gl.spec((ROWS, WIDTH)), "y": gl.spec((ROWS, WIDTH))}
    return model, loss_fn, optimizer or gl.optim.AdamW(1e-2), batch


def batch(rows: int = ROWS) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    return {name: rng.normal(size=(rows, WIDTH)).astype("float32") for name in ("x", "y")}


def test_a_step_within_a_budget_has_the_bits_of_one_without():
    free = gl.compile_step(*recipe(), target=TARGET)
    tight = gl.compile_step(*recipe(), target=TARGET, memory="67%")
    assert tight.report.planner.endswith("offload")
    assert tight.report.total_bytes <= 0.67 * free.report.total_bytes
    for rows in (ROWS, ROWS, ROWS // 2):  # the last is another program, whose state lies where the first one's does
        assert free(batch(rows)).tobytes() == tight(batch(rows)).tobytes()
    for held in (lambda step: step.state(), lambda step: step.parameters()):
        assert {n: a.tobytes() for n, a in held(free).items()} == {n: a.tobytes() for n, a in held(tight).items()}


@pytest.fixture(scope="module")
def planned() -> Any:
    return gl.plan_step(*recipe(), target=TARGET, memory="67%")


def test_the_report_tells_what_moves(planned: Any):
    report, plan = planned.report, planned.plan
    report.check()
    assert report.host_bytes == plan.host_bytes + plan.host_input_bytes > 0
    on_host = {array.name for array in report.held if array.on_host}
    assert on_host
    assert all(name.startswith("exp_avg") for name in on_host)
    assert {one.held for one in report.transfers} - {""} == on_host
    assert report.state_bytes + plan.host_input_bytes == gl.plan_step(*recipe(), target=TARGET).report.state_bytes
    text = str(report)
    assert "of it optimizer state between its updates" in text
    assert "what lies in host memory for a while:" in text
    assert f"{len(report.transfers)} transfers" in text
    assert all(0 <= one.begin <= one.done < report.phases for one in report.transfers)


def test_the_report_is_read_back_from_json(planned: Any):
    report = planned.report
    again = MemoryReport.from_json(report.to_json())
    assert again.transfers == report.transfers
    assert (again.host_bytes, again.exposed_nanoseconds) == (report.host_bytes, report.exposed_nanoseconds)
    assert again.held == report.held
    assert str(again) == str(report)


def test_a_report_of_a_step_that_moves_nothing_says_nothing_of_it():
    report = gl.plan_step(*recipe(), target=TARGET).report
    assert not report.transfers
    assert "transfers" not in report.to_json()
    assert "on_host" not in report.to_json()
    assert "host memory" not in str(report)


def test_a_change_of_bytes_in_host_memory_is_told(planned: Any):
    free = gl.plan_step(*recipe(), target=TARGET).report
    assert "host memory" in diff_text(free, planned.report, "free", "tight")


def test_the_page_tells_the_bytes(planned: Any, tmp_path: Any):
    planned.report.to_html(tmp_path / "page.html")
    assert f'"host_bytes":{planned.report.host_bytes}' in (tmp_path / "page.html").read_text()


def test_host_memory_is_bounded_and_can_be_forbidden(planned: Any):
    most = planned.report.host_bytes // 2
    some = gl.plan_step(*recipe(), target=TARGET, memory="80%", host_memory=most).report
    assert 0 < some.host_bytes <= most
    without = gl.plan_step(*recipe(), target=TARGET, memory="80%", host_memory=0)
    assert without.report.host_bytes == 0
    assert without.slowdown > some.slowdown
    with pytest.raises(gl.MemoryBudgetError) as refused:
        gl.plan_step(*recipe(), target=TARGET, memory="67%", host_memory="0")
    fits = gl.plan_step(*recipe(), target=TARGET, memory=refused.value.least_bytes, host_memory="0")
    assert fits.report.total_bytes <= refused.value.least_bytes


def test_more_memory_never_takes_more_time():
    found = [gl.plan_step(*recipe(), target=TARGET, memory=f"{share}%") for share in (67, 70, 75, 80, 85, 90, 95, 100)]
    slowdowns = [plan.slowdown for plan in found]
    assert slowdowns == sorted(slowdowns, reverse=True)
    assert slowdowns[-1] == 0


def test_state_that_is_checked_before_it_is_written_stays_on_the_device():
    report = gl.plan_step(*recipe(), target=TARGET, memory="93%", check_finite=True).report
    report.check()
    assert not any(array.on_host for array in report.held)


def test_a_cpu_has_no_other_memory():
    with pytest.raises(gl.TargetError, match=r"host_memory is for GPUs.*leave it out"):
        gl.plan_step(*recipe(), target="cpu", host_memory="1GB")
    assert gl.plan_step(*recipe(), target="cpu", host_memory=0).report.host_bytes == 0


@pytest.mark.parametrize("wrong", ["much", "50%", -1, 1.5, True, float("nan")])
def test_what_is_no_number_of_bytes_is_refused(wrong: Any):
    with pytest.raises(ValueError, match="host_memory is a number of bytes or text such as '8GB'"):
        gl.plan_step(*recipe(), target=TARGET, host_memory=wrong)


def test_a_curve_and_the_search_for_the_largest_batch_count_host_memory():
    plan, without = (gl.plan_step(*recipe(), target=TARGET, host_memory=most) for most in (None, 0))
    totals = [point.total_bytes for point in plan.curve(4)]
    assert totals == sorted(totals, reverse=True)
    limit = int(0.67 * plan.report.total_bytes)
    assert totals[-1] <= limit
    assert plan._plans.needed(limit).nbytes <= limit < without._plans.needed(limit).nbytes
