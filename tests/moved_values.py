"""A step that moves values to host memory and back: one that it keeps, and one that it holds between steps."""

from __future__ import annotations

from dataclasses import replace

from gradloom.ir import Graph, parse
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.target import Target

HOST_TARGET = replace(Target.cuda(emulated=True), name="test", workers=3)

STEP = """graph(%m: f32[20,20], %x: f32[20,20]) {
  %0: f32[20,20] = dot(%x, %x) {contract=((1,), (0,)), batch=((), ())}
  %1: f32[20,20] = to_host(%0) {beside=1}
  %2: f32[20,20] = dot(%0, %x) {contract=((1,), (0,)), batch=((), ())}
  %3: f32[20,20] = dot(%2, %2) {contract=((1,), (0,)), batch=((), ())}
  %4: f32[20,20] = dot(%3, %2) {contract=((1,), (0,)), batch=((), ())}
  %5: f32[20,20] = to_host(%3) {beside=0}
  %6: f32[20,20] = to_device(%1)
  %7: f32[20,20] = to_device(%m)
  %8: f32[20,20] = dot(%4, %2) {contract=((1,), (0,)), batch=((), ())}
  %9: f32[20,20] = dot(%8, %6) {contract=((1,), (0,)), batch=((), ())}
  %10: f32[20,20] = to_device(%5)
  %11: f32[20,20] = dot(%9, %7) {contract=((1,), (0,)), batch=((), ())}
  %12: f32[20,20] = dot(%11, %10) {contract=((1,), (0,)), batch=((), ())}
  %13: f32[20,20] = to_host(%12) {beside=0}
  return "m"=%13 -> %m, "y"=%9
}"""


def step_that_moves() -> Graph:
    """The step."""
    return parse(STEP)


def plan_that_moves() -> Plan:
    """Its plan for a GPU."""
    graph = step_that_moves()
    return plan(graph, HOST_TARGET.workers or 1, outputs_in_arena=True, target=HOST_TARGET)
