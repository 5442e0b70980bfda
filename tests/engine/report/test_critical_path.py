"""The critical path of a report, and what its peak would be without some values."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import pairwise

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.report.critical_path import CriticalPath, longest_units
from gradloom.engine.report.schema import LoopReport, MemoryReport, UnitReport
from gradloom.tools.find_recipe import make_recipe


@cache
def report(recipe: str = "gpt", threads: int = 2) -> MemoryReport:
    return gl.plan_step(*make_recipe(recipe), threads=threads).report


def unit(nanoseconds: float, *reads: int, loop: int | None = None, times: int = 1) -> UnitReport:
    return UnitReport("add", "", "", "forward", 0, 0, "", times, nanoseconds, loop, reads)


def loop_of(number: int, length: int, lanes: int = 1) -> LoopReport:
    return LoopReport(0, 1, length, lanes, "", "", False, number)


def with_units(*units: UnitReport, loops: tuple[LoopReport, ...] = ()) -> MemoryReport:
    return replace(report("mlp_s"), units=units, loops=loops, values=(), phases=1)


def test_the_path_is_the_longest_chain_and_not_the_one_of_most_units():
    made = with_units(unit(1), unit(2, 0), unit(3, 1), unit(9, 0), unit(1, 2, 3), unit(4))
    assert made.critical_path == CriticalPath((0, 3, 4), 11, 20)


def test_a_loop_takes_the_chain_of_its_iterations_by_as_many_as_run_at_a_time():
    inside = (unit(60, loop=0), unit(40, loop=0), unit(20, 1, 2, loop=0))
    units = (unit(1), unit(120, 0), *inside, unit(5, 1))
    assert with_units(*units, loops=(loop_of(1, 10),)).critical_path == CriticalPath((0, 1, 2, 4, 5), 86, 126)
    two = with_units(*units, loops=(loop_of(1, 10, lanes=2),))
    assert two.critical_path == CriticalPath((0, 1, 2, 4, 5), 46, 126)
    assert [time for _, time in longest_units(two)] == [46]


def test_a_loop_in_a_loop_is_opened_in_its_place():
    units = (unit(30), unit(30, loop=0), unit(20, loop=1), unit(10, 2, loop=1), unit(0, loop=0))
    made = with_units(*units, loops=(loop_of(0, 2), loop_of(1, 3)))
    assert made.critical_path == CriticalPath((0, 1, 2, 3), 30, 30)


@pytest.mark.parametrize("recipe", ["mlp_s", "gpt", "cnn", "lstm_bench"])
def test_the_path_of_a_step_is_a_chain_and_no_other_is_longer(recipe: str):
    made = report(recipe)
    loops = {told.unit: told for told in made.loops}
    ends: dict[int, float] = {}  # what the longest chain to the end of a unit takes, within its loop
    for k in sorted({None, *range(len(made.loops))}, key=lambda k: -1 if k is None else made.loops[k].unit or 0)[::-1]:
        for i, u in enumerate(made.units):
            if u.loop == k:
                takes = u.nanoseconds
                if i in loops:
                    inner = [
                        ends[j] for j, v in enumerate(made.units) if v.loop is not None and made.loops[v.loop].unit == i
                    ]
                    takes = max(inner) / loops[i].lanes
                ends[i] = takes + max((ends[j] for j in u.reads), default=0)
    path = made.critical_path
    assert path.nanoseconds == pytest.approx(max(ends[i] for i, u in enumerate(made.units) if u.loop is None))
    assert path.nanoseconds <= path.all_nanoseconds == sum(u.nanoseconds for u in made.units if u.loop is None)
    outside = [i for i in path.units if made.units[i].loop is None]
    assert all(before in made.units[i].reads for before, i in pairwise(outside))
    assert sum(time for _, time in longest_units(made)) == pytest.approx(path.nanoseconds)


@pytest.mark.parametrize("recipe", ["mlp_s", "gpt", "cnn", "lstm_bench"])
def test_without_some_values_the_peak_is_what_was_said(recipe: str):
    made = report(recipe)
    peak = max(made.live_bytes)
    assert made.removals
    assert [r.peak_bytes for r in made.removals] == sorted(r.peak_bytes for r in made.removals)
    for removal in made.removals:
        gone = set(removal.values)
        without = replace(
            made, values=tuple(replace(v, bytes=0) if i in gone else v for i, v in enumerate(made.values))
        )
        assert max(without.live_bytes) == removal.peak_bytes < peak
        assert removal.bytes == sum(made.values[i].bytes for i in gone) >= peak - removal.peak_bytes
        assert {made.values[i].kind for i in gone} != {"result"}
        assert (removal.recompute_nanoseconds is None) == (made.values[removal.values[0]].kind == "scratch")
    told = {i for removal in made.removals for i in removal.values}
    for i, value in enumerate(made.values):
        if i not in told and value.kind != "result":
            without = replace(made, values=(*made.values[:i], replace(value, bytes=0), *made.values[i + 1 :]))
            assert max(without.live_bytes) == peak, "by itself it would lower the peak too"


def test_what_is_computed_again_for_a_value_is_all_that_is_not_there_at_the_peak():
    """Values a -> b -> c -> d: at the peak a and c are live, and b is not."""
    value = next(v for v in report("mlp_s").values if v.kind == "activation")

    def made_by(number: int, birth: int, death: int, *readers: int, nbytes: int = 100):
        place = {"birth": birth, "death": death, "offset": number * 100, "block": number}
        return replace(value, name=f"v{number}", bytes=nbytes, made_by=number, read_by=readers, **place)

    values = (made_by(0, 0, 4, 1), made_by(1, 1, 2, 2), made_by(2, 2, 4, 3), made_by(3, 3, 3, 4, nbytes=500))
    units = tuple(replace(unit(10**i, *range(max(i - 1, 0), i)), phase=i) for i in range(5))
    made = replace(report("mlp_s"), values=values, units=units, loops=(), phases=5)
    assert made.peak_phase == 3
    again = {made.values[r.values[0]].name: r.recompute_nanoseconds for r in made.removals}
    assert again == {"v0": 1, "v2": 110, "v3": 1000}


def test_a_report_says_so_in_text_and_json_and_the_same_when_it_is_read_back():
    made = report()
    text = str(made)
    assert "would be lower without one of these" in text
    assert "the critical path is" in text
    whole = json.loads(made.to_json())
    assert tuple(whole["critical_path"]["units"]) == made.critical_path.units
    assert [removal["peak_bytes"] for removal in whole["removals"]] == [r.peak_bytes for r in made.removals]
    again = MemoryReport.from_json(made.to_json())
    assert (again.critical_path, again.removals) == (made.critical_path, made.removals)
    assert str(again) == text


def test_a_report_of_before_without_times_has_no_critical_path():
    whole = json.loads(report().to_json())
    for told in whole["units"]:
        del told["nanoseconds"], told["loop"], told["reads"]
    for told in whole["loops"]:
        del told["unit"]
    old = MemoryReport.from_json(json.dumps(whole))
    assert old.critical_path == CriticalPath()
    assert "critical path" not in str(old)
    assert [r.peak_bytes for r in old.removals] == [r.peak_bytes for r in report().removals]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reads": [7]}, r"its unit 3 comes after none of the units \[7\]"),
        ({"reads": [3]}, r"its unit 3 comes after none of the units \[3\]"),
        ({"loop": 9}, "it has no loop 9"),
        ({"nanoseconds": float("nan")}, "its nanoseconds is nan"),
    ],
)
def test_a_damaged_report_is_refused(change: dict[str, object], message: str):
    whole = json.loads(report("mlp_s").to_json())
    whole["units"][3] |= change
    with pytest.raises(ValueError, match=message):
        MemoryReport.from_json(json.dumps(whole))


def test_times_are_those_that_planners_predict():
    made = report("mlp_s")
    assert made.plan is not None
    from gradloom.passes.kernels.cost import node_nanoseconds

    outer = [u.nanoseconds for u in made.units if u.loop is None]
    assert np.allclose(
        outer, [node_nanoseconds(node, made.plan.target) for phase in made.plan.phases for node in phase]
    )
