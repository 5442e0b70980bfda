"""The report of a step: its figures agree with each other and with what is allocated."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from itertools import pairwise
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.report.layers import layers
from gradloom.engine.report.schema import KINDS, LoopReport

ROWS = 32


class Blocks(nn.Module):
    """Linear maps with layer norms, each block checkpointed or not."""

    def __init__(self, checkpointed: bool) -> None:
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16), nn.LayerNorm(16)) for _ in range(3)]
        )
        self.out = nn.Linear(16, 4)
        self.checkpointed = checkpointed

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = x + (gl.checkpoint(block) if self.checkpointed else block)(x)
        return self.out(x)


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


SPECS = {"x": gl.spec((ROWS, 16)), "y": gl.spec(ROWS, "int64")}


@functools.cache
def report(checkpointed: bool = False, threads: int = 1) -> gl.MemoryReport:
    return gl.plan_step(Blocks(checkpointed), loss_fn, optim.AdamW(1e-3), SPECS, threads=threads).report


def held(step: gl.Step) -> int:
    """Bytes of all arrays that a step holds."""
    named = [*step._parameters.values(), *step._buffers.values(), *step._state.values()]
    return sum(array.nbytes for array in [*named, step._rates.arrays["default"], step._key, step._live.arena])


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_plan_verifier_agrees(checkpointed: bool, threads: int):
    report(checkpointed, threads).check()


def test_parameters_and_state_are_counted_to_the_byte():
    r = report()
    parameters = 3 * (16 * 64 + 64 + 64 * 16 + 16 + 2 * 16) + 16 * 4 + 4
    assert r.parameter_bytes == 4 * parameters
    # Two moments; the number of steps, the learning rate and the key.
    assert r.state_bytes == 2 * 4 * parameters + 3 * 8
    assert r.constant_bytes == 0
    assert r.total_bytes == r.parameter_bytes + r.state_bytes + r.arena_bytes
    assert 0 < r.lower_bound_bytes <= r.arena_bytes


@pytest.mark.parametrize("accumulate", [1, 4])
def test_what_is_allocated_is_what_was_predicted(accumulate: int):
    options: dict[str, Any] = {"accumulate": accumulate, "clip_norm": 1.0, "threads": 2}
    makers: list[Any] = [gl.plan_step, gl.compile_step]
    plan, step = (make(Blocks(True), loss_fn, optim.AdamW(1e-3), SPECS, **options) for make in makers)
    assert plan.report.to_json() == step.report.to_json()
    assert held(step) == step.report.total_bytes


def test_arrays_that_the_loss_closes_over_are_counted():
    table = np.random.default_rng(0).standard_normal((ROWS, 16)).astype("float32")
    r = gl.plan_step(
        Blocks(False), lambda model, batch: loss_fn(model, {**batch, "x": batch["x"] + table}), optim.SGD(0.1), SPECS
    ).report
    assert r.constant_bytes == table.nbytes
    assert r.total_bytes == r.parameter_bytes + r.state_bytes + r.arena_bytes + table.nbytes


def test_values_fill_the_arena_to_its_end():
    r = report()
    for value in r.values:
        assert 0 <= value.offset <= value.offset + value.bytes <= r.arena_bytes
        assert 0 <= value.birth <= value.death <= r.phases
    ends = [max(v.offset + v.bytes for v in r.values if v.birth <= p <= v.death) for p in range(r.phases)]
    # Blocks begin at cache lines.
    assert max(ends) <= r.arena_bytes < max(ends) + 64


def test_values_say_where_they_come_from():
    r = report()
    kept = [v for v in r.values if v.status == "kept"]
    assert kept
    assert {v.status for v in r.values} == {"kept", "temporary"}
    assert any(v.scope == "blocks.1.0" for v in r.values)
    assert all(re.search(r"test_report\.py:\d+$", v.source) for v in kept)


def test_recomputing_is_reported():
    plain, checkpointed = report(False), report(True)
    assert plain.recompute_flops == 0
    assert plain.no_recompute_arena_bytes == plain.arena_bytes
    assert checkpointed.no_recompute_arena_bytes == plain.arena_bytes
    # Each block has two products of 2 * 32 * 16 * 64 operations, of which the backward needs the first again.
    assert checkpointed.recompute_flops >= 3 * 2 * ROWS * 16 * 64
    assert checkpointed.flops >= plain.flops
    assert any(v.status == "recomputed" for v in checkpointed.values)


@pytest.mark.parametrize("rows", [8, 32, 128])
def test_checkpoint_makes_the_arena_smaller(rows: int):
    batch = {"x": gl.spec((rows, 16)), "y": gl.spec(rows, "int64")}
    plain, checkpointed = (
        gl.plan_step(Blocks(marked), loss_fn, optim.AdamW(1e-3), batch, threads=1).report for marked in (False, True)
    )
    assert checkpointed.arena_bytes < 0.8 * plain.arena_bytes


def test_flops_of_the_products_dominate():
    r = gl.plan_step(
        nn.Sequential(nn.Linear(300, 400, bias=False)),
        lambda model, batch: nn.mse_loss(model(batch), np.float32(0) * batch[:, :1] + np.zeros((50, 400), "float32")),
        optim.SGD(0.1),
        gl.spec((50, 300)),
    ).report
    product = 2 * 50 * 300 * 400
    assert 2 * product <= r.flops < 2.2 * product


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_live_adds_up_to_the_lower_bound(checkpointed: bool, threads: int):
    r = report(checkpointed, threads)
    assert len(r.live_bytes) == r.phases
    assert r.live_bytes[r.peak_phase] == max(r.live_bytes) == r.lower_bound_bytes
    assert sum(v.bytes for v in r.live(r.peak_phase)) == r.lower_bound_bytes
    for value, (first, end) in zip(r.values, r.charged):
        assert value.birth == first < end <= value.death + 1


def test_values_in_one_place_take_turns():
    r = report()
    turns: dict[int, list[tuple[int, int]]] = {}
    for value, span in zip(r.values, r.charged):
        turns.setdefault(value.block, []).append(span)
    assert any(len(spans) > 1 for spans in turns.values())
    for spans in turns.values():
        spans.sort()
        assert all(end == begin for (_, end), (begin, _) in pairwise(spans))


def test_kinds_say_what_a_value_is_for():
    plain, checkpointed = report(), report(True)
    assert {v.kind for r in (plain, checkpointed) for v in r.values} <= set(KINDS)
    for r in (plain, checkpointed):
        roles = [unit.role for unit in r.units]
        for v in r.values:
            assert (v.status == "kept") == (v.kind == "activation")
            assert (v.status == "recomputed") == (v.kind == "recomputed")
            if v.kind == "activation":
                assert any(roles[i] != "forward" for i in v.read_by)
                assert "read in the backward by" in v.why
            if v.kind == "gradient":
                assert any(roles[i] == "optimizer" for i in v.read_by)
    gradients = sum(v.bytes for v in plain.values if v.kind == "gradient")
    assert gradients == plain.parameter_bytes
    assert any(v.kind == "recomputed" for v in checkpointed.values)
    assert [v.bytes for v in plain.values if v.kind == "result"] == [4]


def test_what_a_product_reads_whose_result_is_used_at_once_is_no_gradient():
    model = nn.Sequential(nn.Linear(784, 512), nn.GELU(), nn.Linear(512, 512), nn.GELU(), nn.Linear(512, 10))
    specs = {"x": gl.spec((128, 784)), "y": gl.spec(128, "int64")}
    r = gl.plan_step(
        model, lambda model, batch: nn.cross_entropy(model(batch["x"]), batch["y"]), optim.AdamW(1e-3), specs
    ).report
    fused = [unit for unit in r.units if unit.role == "optimizer" and "dot" in unit.ops]
    assert fused
    read = [v for v in r.values if any(r.units[i] in fused for i in v.read_by) and v.type.startswith("f32[128,")]
    assert read
    assert {v.kind for v in read} <= {"backward", "activation"}
    shapes = {"x".join(map(str, p.shape)) for _, p in model.named_parameters()}
    gradients = [v for v in r.values if v.kind == "gradient"]
    assert gradients
    assert {v.type[4:-1].replace(",", "x") for v in gradients} <= shapes


def test_units_run_in_their_phases():
    r = report()
    assert [u.phase for u in r.units] == sorted(u.phase for u in r.units)
    assert r.units[-1].phase == r.phases - 1
    assert sum(u.flops for u in r.units) == r.flops
    for v in r.values:
        assert r.units[v.made_by].phase == v.birth
        assert all(v.birth <= r.units[i].phase <= v.death for i in v.read_by)


def tiled(threads: int) -> gl.MemoryReport:
    """Of a step that runs tile by tile of the batch."""
    specs = {"x": gl.spec((2048, 16)), "y": gl.spec(2048, "int64")}
    return gl.plan_step(Blocks(False), loss_fn, optim.AdamW(1e-3), specs, threads=threads).report


def test_layers_stand_in_the_order_of_the_model():
    r = report()
    names = [row.name for row in layers(r, 100)]
    assert names == [
        *(name for name in names if name.startswith("blocks.0")),
        *(name for name in names if name.startswith("blocks.1")),
        *(name for name in names if name.startswith("blocks.2")),
        "out",
        "(outside the layers)",
    ]
    assert [name for name in names if name.startswith("blocks.2.")] == [f"blocks.2.{i}" for i in range(4)]


@pytest.mark.parametrize("threads", [1, 2])
def test_loops_are_opened(threads: int):
    r = tiled(threads)
    assert r.loops
    assert {loop.lanes for loop in r.loops} >= {threads}
    assert sum(u.flops for u in r.units) == r.flops
    assert max(u.times for u in r.units) == math.prod(loop.length for loop in r.loops)
    for loop in r.loops:
        inside = [u for u in r.units if loop.first <= u.phase < loop.end and u.times > 1]
        assert {u.phase for u in inside} == set(range(loop.first, loop.end))
    kept = [v for v in r.values if v.kind == "activation" and v.scope.startswith("blocks.1")]
    assert kept
    # One tile of it, in each place of the arena where one may run.
    assert len({v.offset for v in kept}) % threads == 0
    assert all(v.bytes < 2048 * 64 * 4 for v in kept)
    gradients = [v for v in r.values if v.kind == "gradient"]
    assert {v.scope for v in gradients} >= {"blocks.0.0", "blocks.2.3", "out"}
    assert max(r.live_bytes) <= r.lower_bound_bytes <= 1.05 * max(r.live_bytes)


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_live_overlaps_in_loops_either(threads: int):
    r = tiled(threads)
    boxes = [(*span, v.offset, v.offset + v.bytes) for v, span in zip(r.values, r.charged)]
    for i, (first, end, low, high) in enumerate(boxes):
        assert 0 <= first < end <= r.phases
        assert 0 <= low < high <= r.arena_bytes
        for other_first, other_end, other_low, other_high in boxes[:i]:
            assert first >= other_end or other_first >= end or low >= other_high or other_low >= high


def test_what_is_held_adds_up():
    r = report()
    names = {h.name: h for h in r.held}
    assert sum(h.bytes for h in r.held if h.kind == "parameter") == r.parameter_bytes
    assert sum(h.bytes for h in r.held if h.kind != "parameter") == r.state_bytes
    assert names["out.weight"].bytes == 4 * 16 * 4
    assert names["exp_avg.out.weight"].scope == names["out.weight"].scope == "out"


def test_layers_add_up_and_stay_few():
    r = report()
    for most in (1, 3, 6, 100):
        rows = layers(r, most)
        assert len(rows) <= max(most, 1)
        assert sum(row.held_bytes for row in rows) == r.parameter_bytes + r.state_bytes
        assert sum(row.peak_bytes for row in rows) == r.lower_bound_bytes
        assert all(row.peak_bytes <= row.most_bytes for row in rows)
    assert {"blocks.1.0", "blocks.2.0"} <= {row.name for row in layers(r, 100)}
    assert {"blocks.*.0", "out"} <= {row.name for row in layers(r, 9)}
    assert {row.count for row in layers(r, 9) if row.name.startswith("blocks.*")} == {3}


def test_json_reads_back_as_the_same_report():
    r = report(True)
    text = r.to_json()
    fields = json.loads(text)
    assert fields["schema"] == "gradloom.report/1"
    assert fields["total_bytes"] == r.total_bytes
    again = gl.MemoryReport.from_json(text)
    assert again == dataclasses.replace(r, plan=None, prepared=None)
    assert again.to_json() == text
    assert str(again) == str(r)
    with pytest.raises(ValueError, match="plan the step again"):
        again.check()


def test_the_schema_stays():
    fields = json.loads(report().to_json())
    figures = ("parameter_bytes", "state_bytes", "constant_bytes", "arena_bytes", "lower_bound_bytes")
    figures += ("no_recompute_arena_bytes", "flops", "recompute_flops", "budget_bytes", "slowdown", "phases", "threads")
    lists = ("held", "units", "loops", "values")
    assert fields.keys() == {"schema", "total_bytes", *lists, *figures, "critical_path", "removals", "target"}
    target = {**dataclasses.asdict(report().target), "libraries": []}
    assert fields["target"] == {name: value for name, value in target.items() if value is not None}
    assert fields["critical_path"].keys() == {"units", "nanoseconds", "all_nanoseconds"}
    assert fields["removals"][0].keys() == {"values", "bytes", "peak_bytes", "recompute_nanoseconds"}
    assert fields["held"][0].keys() == {"name", "kind", "bytes"}
    assert fields["units"][0].keys() == {
        *("name", "scope", "source", "role", "phase", "flops", "ops", "times"),
        *("nanoseconds", "loop", "reads"),
    }
    assert fields["values"][0].keys() == {
        *("name", "scope", "source", "bytes", "birth", "death", "offset", "status", "why"),
        *("kind", "type", "block", "made_by", "read_by"),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "no memory report"),
        ("nothing", "no memory report"),
        ("{}", "it has no 'schema'"),
        ('{"schema": "gradloom.report/0"}', "expected 'gradloom.report/1'"),
        ('{"schema": "gradloom.report/1"}', "it has no 'parameter_bytes'"),
    ],
)
def test_what_is_no_report_is_refused(text: str, problem: str):
    with pytest.raises(ValueError, match=re.escape(problem)):
        gl.MemoryReport.from_json(text)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda whole: whole.update(arena_bytes="many"), "its arena_bytes is 'many', expected int"),
        (lambda whole: whole["values"][0].pop("why"), "it has no 'why'"),
        (lambda whole: whole["values"][0].update(bytes=None), "its bytes is None, expected int"),
        (lambda whole: whole["values"][0].update(read_by=[0, "one"]), "its read_by is (0, 'one')"),
        (lambda whole: whole["values"][0].update(read_by=1), "not iterable"),
        (lambda whole: whole["values"][0].update(made_by=10**6), "it has no unit 1000000"),
        (lambda whole: whole["values"][0].update(birth=-1), "it has no phase -1"),
        (lambda whole: whole["values"][0].update(death=10**6), "it has no phase 1000000"),
        (lambda whole: whole["units"][0].update(phase=10**6), "it has no phase 1000000"),
        (lambda whole: whole.update(units=[3]), "no memory report"),
        (lambda whole: whole.update(phases=10**12), "it has 1000000000000 phases, more than units"),
        (lambda whole: whole.update(threads=True), "its threads is True, expected int"),
        (lambda whole: whole.update(flops=-1), "its flops is -1, expected 0 to"),
        (lambda whole: whole.update(budget_bytes=0), "its budget is 0 bytes"),
        (lambda whole: whole.update(slowdown=float("nan")), "its slowdown is nan, expected 0 to"),
        (lambda whole: whole.update(arena_bytes=10**400), "its arena_bytes is 1000"),
        (lambda whole: whole["values"][0].update(kind="odd"), "it has a value of the kind 'odd'"),
        (lambda whole: whole.update(schema="x" * 10**6), "its schema is 'xxx"),
    ],
)
def test_a_report_that_somebody_changed_is_refused(change: Any, problem: str):
    whole = json.loads(report().to_json())
    assert gl.MemoryReport.from_json(json.dumps({**whole, "of": "later"})).to_json() == report().to_json()
    change(whole)
    with pytest.raises(ValueError, match=re.escape(problem)):
        gl.MemoryReport.from_json(json.dumps(whole))


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "[" * 10**5, '{"a":' * 10**5, "NaN", "\x00", '{"schema": []}'])
def test_what_is_no_report_is_one_short_error(text: str):
    with pytest.raises(ValueError, match="this is no memory report") as error:
        gl.MemoryReport.from_json(text)
    assert len(str(error.value)) < 300


def test_control_characters_of_names_are_shown_as_escapes():
    whole = json.loads(report().to_json())
    for value in whole["values"]:
        value.update(name="w\x1b]0;owned\x07", scope="layer\u202e\n0", source="a\x9b.py:1", why="because\x00")
    for array in whole["held"]:
        array.update(name="\x1b[2Jw")
    text = str(gl.MemoryReport.from_json(json.dumps(whole)))
    assert "\\x1b" in text
    assert text.replace("\n", "").isprintable()


def test_a_report_that_knew_of_no_lanes_in_turn_is_read():
    r = tiled(2)
    whole = json.loads(r.to_json())
    for loop in whole["loops"]:
        assert not loop.pop("in_turn")
    assert gl.MemoryReport.from_json(json.dumps(whole)) == dataclasses.replace(r, plan=None, prepared=None)


def test_text_keeps_to_its_width_where_paths_and_shapes_are_long():
    class Encoder(nn.Module):
        def __init__(self) -> None:
            self.intermediate_feed_forward_projection = nn.Linear(4096, 2048)
            self.normalization_before_the_attention = nn.LayerNorm((1, 2048))

        def forward(self, x: Any) -> Any:
            return self.normalization_before_the_attention(np.tanh(self.intermediate_feed_forward_projection(x)))

    batch = gl.spec((128, 64, 1, 4096))
    report = gl.plan_step(nn.Sequential(Encoder()), lambda m, x: (m(x) ** 2).mean(), optim.SGD(1e-3), batch).report
    text = str(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" in text
    assert max(report.values, key=lambda v: v.bytes).type in text


def test_text_says_all_that_there_is_to_say():
    r = report(True)
    text = str(r)
    assert f"{r.total_bytes:,} bytes" in text
    assert f"runs in {r.phases} phases on 1 thread" in text
    for title in ("by kind", "by layer", "largest values in the arena:", f"the peak is phase {r.peak_phase}"):
        assert text.count(title) == 1
    assert "  blocks.1.0\n" in text
    largest = text.partition("largest values in the arena:\n")[2].partition("\n\n")[0].splitlines()
    assert len(largest) == 1 + 10
    assert largest[0].split() == ["bytes", "value", "type", "layer", "phases", "line"]
    assert all("test_report.py:" in line for line in largest[1:])
    heads, whys = table_of_the_peak(text)
    assert all(re.match(r" +[\d.]+ k?B  \w+", line) for line in heads)
    live = r.live(r.peak_phase)
    assert set(whys) <= {v.why for v in live}
    assert any("kept: read in the backward by" in why for why in whys)
    more = re.search(r"and (\d+) smaller values, (\d+) B together", text)
    # At most a thousandth of the peak is not told value by value.
    assert more is None or int(more[2]) <= sum(v.bytes for v in live) / 1000
    assert all(len(line) <= 80 for line in text.splitlines())


def table_of_the_peak(text: str) -> tuple[list[str], list[str]]:
    """The rows of the values that live at the peak, and the reason below each."""
    lines = [
        line for line in text.partition(" why:\n")[2].partition("\n\n")[0].splitlines()[1:] if "smaller" not in line
    ]
    indent = max(len(line) - len(line.lstrip()) for line in lines)
    whys: list[str] = []
    for before, line in pairwise(lines):
        if not line.startswith(" " * indent):
            continue
        if before.startswith(" " * indent):
            whys[-1] += " " + line.strip()
        else:
            whys.append(line.strip())
    return [line for line in lines if not line.startswith(" " * indent)], whys


def test_text_says_what_loops_there_are():
    for threads in (1, 2):
        r = tiled(threads)
        loops = [line for line in str(r).splitlines() if line.startswith("phase")]
        iterations = math.prod(loop.length for loop in r.loops)
        assert any("one iteration of a loop over" in line for line in loops)
        assert math.prod(int(re.search(r" (\d+) tiles", line)[1]) for line in loops) == iterations  # pyright: ignore
    length = 5
    decay = gl.plan_step(
        nn.LSTM(3, 4, batch_first=True),
        lambda model, x: (model(x)[0] ** 2).mean(),
        optim.SGD(0.1),
        gl.spec((2, length, 3)),
        threads=1,
    ).report
    assert {loop.length for loop in decay.loops} == {length}
    assert f"one iteration of a loop of {length}" in str(decay)
    assert "tiles" not in str(decay)
    # A loop over time that runs segment by segment is one in one.
    loops = (LoopReport(0, 3, 20, 1, "1", ""), LoopReport(1, 2, 25, 1, "1", ""))
    segments = dataclasses.replace(decay, loops=loops)
    assert [segments.turns(loop) for loop in loops] == ["segments", "iterations"]
    assert "\nphases 0-2 are one iteration of a loop over 20 segments in 1\n" in str(segments)
    # What a loop makes is named by what makes it in each iteration.
    loops = [i for i, unit in enumerate(decay.units) if unit.name.startswith("loop")]
    names = {v.name for v in decay.values if v.made_by in loops}
    assert names & {"add", "sigmoid"}
    assert "scan" not in names


def test_what_the_forward_reads_last_says_so():
    class Late(nn.Module):
        def __init__(self) -> None:
            self.one, self.two = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: Any) -> Any:
            y = nn.tanh(self.one(x))
            return y, self.two(y)

    def loss(model: Any, x: Any) -> Any:
        y, z = model(x)
        return nn.mse_loss(z, np.zeros((8, 16), "float32")), {"most": y.max() + z.max()}

    for v in gl.plan_step(Late(), loss, optim.SGD(0.1), gl.spec((8, 16)), threads=1).report.values:
        last = re.findall(r"phase (\d+)", v.why)
        if v.kind == "activation":
            assert v.death in map(int, last), v


def images(memory: str | None = None) -> gl.MemoryReport:
    ways = [way for _ in range(3) for way in (nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16), nn.ReLU())]
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), *ways)
    batch = gl.spec((16, 3, 32, 32))
    return gl.plan_step(
        model, lambda model, x: (model(x) ** 2).mean(), optim.SGD(0.1), batch, memory=memory, threads=1
    ).report


def test_convolutions_that_are_done_again_are_told_as_such():
    r = images(memory="75%")
    again = [i for i, unit in enumerate(r.units) if unit.role == "recompute" and unit.name.startswith("conv ")]
    assert again
    made = [v for v in r.values if v.made_by in again]
    assert made
    assert {v.kind for v in made} == {"recomputed", "scratch"}
    read = [v for v in r.values if set(v.read_by) & set(again) and r.units[v.made_by].role == "forward"]
    assert {v.kind for v in read} <= {"activation"}


def test_convolutions_are_named_by_what_they_run():
    r = images()
    assert not any("region" in item.name for item in (*r.units, *r.values))
    assert any(unit.name.startswith("conv ") and unit.ops for unit in r.units)


def test_text_of_a_budget_says_how_much_of_it_is_used():
    free = report()
    r = gl.plan_step(Blocks(False), loss_fn, optim.AdamW(1e-3), SPECS, threads=1, memory=2 * free.total_bytes).report
    assert r.budget_bytes == 2 * free.total_bytes
    assert "50% of it used" in str(r)
    assert "budget" not in str(free)


def test_a_plan_of_a_model_larger_than_the_machine():
    model = nn.Sequential(*[layer for _ in range(100) for layer in (nn.Linear(20_000, 20_000), nn.ReLU())])
    plan = gl.plan_step(
        model,
        lambda model, batch: nn.mse_loss(model(batch), batch),
        optim.AdamW(1e-3),
        gl.spec((64, 20_000)),
        memory="490GB",
        threads=2,
    )
    r = plan.report
    assert r.parameter_bytes == 4 * 100 * (20_000**2 + 20_000)
    assert r.state_bytes == 2 * r.parameter_bytes + 24
    # Each gradient is used up before the next but one is made.
    assert r.arena_bytes < 3 * 4 * 20_000**2
    r.check()
