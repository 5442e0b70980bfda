"""What a program moves to and from memory, as a cache of what was used last would have it."""

from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.passes.memory.plan import Plan
from gradloom.passes.pipeline import plan_graph
from gradloom.runtime.cpu.memory_traffic import LastCache, memory_traffic
from gradloom.runtime.cpu.unit_tables import UnitTables

PAGE = 1 << 14


def test_what_is_read_again_soon_is_in_the_cache():
    cache = LastCache(4 * PAGE)
    cache.use(0, 0, 2 * PAGE, written=False)
    cache.use(0, 0, 2 * PAGE, written=False)
    assert cache.moved == 2 * PAGE
    cache.use(1, 0, 4 * PAGE, written=False)
    cache.use(0, 0, 2 * PAGE, written=False)
    assert cache.moved == 8 * PAGE


def test_what_is_written_goes_to_memory_when_it_leaves():
    cache = LastCache(2 * PAGE)
    cache.use(0, 0, 2 * PAGE, written=True)
    assert cache.moved == 0
    cache.use(1, 100, 2 * PAGE - 100, written=False)
    assert cache.moved == 2 * PAGE - 100 + 2 * PAGE


def test_an_update_larger_than_the_cache_reads_and_writes_all_of_it():
    def update(w: Any, g: Any) -> Any:
        return w - 0.1 * g

    w = gl.spec((1 << 20,))
    plan = plan_graph(gl.trace(update, w, w), 2)
    assert sum(memory_traffic(UnitTables(plan), 1 << 20)) == 3 * (4 << 20)
    assert sum(memory_traffic(UnitTables(plan), 1 << 26)) == 0


def planned_step(rows: int) -> Plan:
    def loss_fn(model: Any, batch: Any) -> Any:
        return np.mean(np.tanh(model(batch)) ** 2)

    planned = gl.plan_step(nn.Linear(64, 32), loss_fn, gl.optim.SGD(0.1), gl.spec((rows, 64)), threads=2)
    assert planned.plan is not None
    return planned.plan


def test_every_call_is_of_a_unit_in_loops_too():
    for rows in (16, 2048):
        plan = planned_step(rows)
        tables = UnitTables(plan)
        rows_of = tables.stretches.launches.tolist()
        units = [unit for _, _, first, count, *_ in rows_of for unit in tables.units_of(first, count)]
        assert units
        assert all(unit.node is None or unit.ranges for unit in units if unit.node is None or not unit.node.op.bodies)
        assert len(memory_traffic(tables, 1 << 20)) == len(rows_of)


def test_a_look_up_reads_rows_of_a_table_and_not_all_of_it():
    def fn(table: Any, places: Any) -> Any:
        return np.tanh(table[places])

    plan = plan_graph(gl.trace(fn, gl.spec((100_000, 32)), gl.spec((64,), "int64")), 2)
    rows = 64 * 32 * 4
    assert rows <= sum(memory_traffic(UnitTables(plan), 1 << 20)) <= 3 * rows
