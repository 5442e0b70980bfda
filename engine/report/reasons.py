"""Why a value of a chosen plan is kept or recomputed, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ...ir import Graph, Node, Value
from ...passes.graph.rewrite import all_nodes
from ...passes.kernels.cost import node_nanoseconds
from ...passes.memory.plan import Plan
from ...passes.remat.from_plan import GraphProblem, graph_problem
from ...passes.remat.frontier import Choice


class Reasons:
    """What decided over the values of a chosen plan, and what it would take to recompute each of them. `traced` is the
    graph in which `gl.checkpoint` has marked what is recomputed.
    """

    def __init__(self, choice: Choice, traced: Graph | None = None) -> None:
        self.choice = choice
        self.marked = set(_recomputed(traced)) if traced is not None else set[_Key]()
        self.recomputed_in_all = Counter(_recomputed(choice.plan.graph))
        target = choice.plan.target
        self.time = max(sum(node_nanoseconds(node, target) for node in choice.plan.graph.nodes), 1.0)
        self.of_the_pipeline = Counter(_recomputed(choice.scheduled)) if choice.scheduled is not None else None
        self._problems: dict[Graph, GraphProblem] = {}

    def _problem(self, plan: Plan) -> GraphProblem:
        if plan.graph not in self._problems:
            self._problems[plan.graph] = graph_problem(plan)
        return self._problems[plan.graph]

    def kept(self, plan: Plan, value: Value, times: int) -> str:
        """Why a value stays from the forward to the backward, where its unit runs `times` times a step."""
        problem = self._problem(plan)
        number = problem.number_of(value)
        if problem.deadline[number] == 0:
            return "its unit cannot run a second time"
        if problem.deadline[number] <= problem.last_use(number):
            return "what it is computed from is no longer there when it is read"
        if problem.stays[number]:
            return "so few bytes always stay"
        nbytes, share = self._effort(problem, value, times)
        return f"recomputing it would read {nbytes} its bytes and take {share} of the step"

    def recomputed(self, plan: Plan, value: Value, node: Node, times: int) -> str:
        """Why a value is there for a second time, `node` what makes it."""
        who = self._who(_key(node))
        nbytes, share = self._effort(self._problem(plan), value, times)
        return f"{who}; this reads {nbytes} its bytes and takes {share} of the step"

    def _who(self, key: _Key) -> str:
        """What asks for the recomputation of nodes of one op and line; each with its number where there are several."""
        in_all = self.recomputed_in_all[key]
        pipeline = in_all if self.of_the_pipeline is None else min(self.of_the_pipeline[key], in_all)
        by_pipeline = f"by the pipeline, variant {self.choice.variant}"
        shares = (
            (pipeline, "because gl.checkpoint marks it" if key in self.marked else by_pipeline),
            (in_all - pipeline, f"for the budget, by the planner {self.choice.planner}"),
        )
        given = [(count, why) for count, why in shares if count]
        return given[0][1] if len(given) == 1 else ", ".join(f"{count} of {in_all} alike {why}" for count, why in given)

    def _effort(self, problem: GraphProblem, value: Value, times: int) -> tuple[str, str]:
        nbytes, nanoseconds = problem.recompute_effort(value)
        share = 100 * times * nanoseconds / self.time
        return f"{nbytes / value.type.nbytes:.1f} times", f"{share:.1f}%" if share >= 0.05 else "less than 0.1%"


_Key = tuple[str, str, str]


def _key(node: Node) -> _Key:
    return node.op.name, node.origin.scope, node.origin.source


def _recomputed(graph: Graph) -> Iterator[_Key]:
    """What is recomputed in a graph, in its bodies too."""
    return (_key(node) for node in all_nodes(graph) if node.origin.role == "recompute")
