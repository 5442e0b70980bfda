"""Collectives in machine code: what ends a wait."""

from __future__ import annotations

from gradloom.ir import parse
from gradloom.runtime.lowering.launch import Trap
from gradloom.runtime.lowering.refusal import refusal


def test_a_rank_that_does_not_come_is_told():
    graph = parse("""graph(%x: f32[4]) {
  %0: f32[4] = start_swap(%x) {ranks=2, tag=0, distance=1}
  %1: f32[4] = finish(%0, %x) {ranks=2, tag=0}
  return %1
}""")
    error = refusal(Trap(graph.nodes[-1], 0))
    assert isinstance(error, ConnectionError)
    assert "did not come in time" in str(error)
