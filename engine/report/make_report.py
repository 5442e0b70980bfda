"""The report of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...ir import Graph
from ...passes.ranks.traffic import traffic
from ...passes.remat.from_plan import recompute_flops
from ...passes.remat.frontier import Choice
from .schema import HeldReport, MemoryReport, RoundedReport
from .values import open_plan


def make_report(
    choice: Choice,
    held: Sequence[HeldReport],
    no_recompute_arena_bytes: int,
    budget_bytes: int | None = None,
    other_bits: str = "",
    prepared: Graph | None = None,
    traced: Graph | None = None,
    precision: str = "fp32",
    rounded: Sequence[RoundedReport] = (),
) -> MemoryReport:
    """The report of a chosen plan for a step that holds these arrays from step to step; `prepared` is what was planned,
    `traced` what that was made of, and `rounded` what a budget stores in two bytes.
    """
    plan = choice.plan
    opened = open_plan(choice, traced)
    sends = traffic(plan.graph, plan.threads, plan.target)
    on_host = {plan.graph.inputs[i].name for i in plan.transfers.numbers}
    held = [replace(array, on_host=True) if array.name in on_host else array for array in held]
    parameter_bytes = sum(array.bytes for array in held if array.kind == "parameter")
    return MemoryReport(
        parameter_bytes,
        sum(array.bytes for array in held if not array.on_host) - parameter_bytes,
        plan.constant_bytes,
        plan.arena_bytes,
        plan.lower_bound_bytes,
        no_recompute_arena_bytes,
        plan.graph.flops(),
        recompute_flops(plan.graph),
        budget_bytes,
        choice.slowdown,
        opened.phases,
        plan.threads,
        tuple(held),
        tuple(opened.units),
        tuple(opened.loops),
        tuple(opened.values),
        plan,
        other_bits,
        prepared,
        choice.planner,
        choice.variant,
        plan.target,
        precision,
        plan.host_bytes + plan.host_input_bytes,
        choice.exposed,
        tuple(opened.transfers),
        sends.messages,
        sends.sent_bytes,
        sends.nanoseconds,
        sends.exposed_nanoseconds,
        tuple(rounded),
    )
