"""Graphs as graphs of networkx: what stands in them, and that its algorithms agree with ours."""

from __future__ import annotations

import doctest
import subprocess
import sys
from typing import Any

import networkx
from gradloom.ir import Graph, parse
from gradloom.ir.networkx_graph import to_networkx
from gradloom.passes.pipeline import run_passes
from hypothesis import given, settings
from random_graphs import graphs

LOOP = """
graph(%w: f32[4], %x: f32[3,4]) {
  %0: f32[4] = full() {value=0.0, shape=(4,), dtype=f32}
  %1: f32[4], %2: f32[3,4] = scan(%w, %0, %x) {body=graph(%w: f32[4], %s: f32[4], %x: f32[4]) {
      %0: f32[4] = mul(%x, %w) scope="cell" at="model.py:7"
      %1: f32[4] = add(%s, %0) backward
      return %1, %0
    }, consts=1, carries=1, length=3, reverse=False} scope="loop"
  %3: f32[4] = mul(%1, %1)
  return %3, %2, %w
}
"""


def test_the_docstring_holds():
    (test,) = doctest.DocTestFinder().find(Graph.to_networkx, "to_networkx", globs={})
    assert len(test.examples) == 6
    assert doctest.DocTestRunner().run(test).failed == 0


def test_nodes_and_edges_say_what_the_text_of_the_graph_does():
    found = parse(LOOP).to_networkx()
    assert list(found) == ["%w", "%x", "%0", "%1", "%3"]
    assert found.graph == {"inputs": ["%w", "%x"], "outputs": ["%3", "%2", "%w"]}
    of_input = {"op": "input", "scope": "", "source": "", "role": "input", "bytes": 48, "flops": 0, "body": None}
    assert found.nodes["%x"] == of_input | {"types": ("f32[3,4]",)}
    loop = dict(found.nodes["%1"])
    body = loop.pop("body")
    of_loop = {"op": "scan", "scope": "loop", "source": "", "role": "forward", "bytes": 64, "flops": 24}
    assert loop == of_loop | {"types": ("f32[4]", "f32[3,4]")}
    assert sorted(found.edges(keys=True, data=True), key=lambda edge: (edge[1], edge[2])) == [
        ("%w", "%1", 0, {"value": "%w", "bytes": 16}),
        ("%0", "%1", 1, {"value": "%0", "bytes": 16}),
        ("%x", "%1", 2, {"value": "%x", "bytes": 48}),
        ("%1", "%3", 0, {"value": "%1", "bytes": 16}),
        ("%1", "%3", 1, {"value": "%1", "bytes": 16}),
    ]
    product, total = body.nodes["%0"], body.nodes["%1"]
    assert (product["op"], product["scope"], product["source"]) == ("mul", "cell", "model.py:7")
    assert total["role"] == "backward"
    assert list(body.predecessors("%1")) == ["%s", "%0"]


def _same_graph(graph: Graph, found: Any) -> None:
    assert networkx.is_directed_acyclic_graph(found)
    place = {name: i for i, name in enumerate(found)}  # which is our order
    assert all(place[of] < place[to] for of, to in found.edges())
    assert found.number_of_edges() == sum(len(node.inputs) for node in graph.nodes)
    assert found.number_of_nodes() == len(graph.inputs) + len(graph.nodes)
    made = [name for name in found if found.nodes[name]["op"] != "input"]
    for node, name in zip(graph.nodes, made, strict=True):
        about = found.nodes[name]
        assert (about["op"], about["bytes"]) == (node.op.name, sum(v.type.nbytes for v in node.outputs))
        assert (about["body"] is None) == ("body" not in node.attrs)
        if about["body"] is not None:
            _same_graph(node.attrs["body"], about["body"])


@settings(max_examples=25)
@given(graph=graphs(max_nodes=12, regions=True, scans=True))
def test_our_order_of_nodes_is_topological_to_networkx(graph: Graph):
    _same_graph(graph, to_networkx(graph))
    scheduled = run_passes(graph)
    _same_graph(scheduled, to_networkx(scheduled))


def test_neither_importing_nor_planning_imports_networkx():
    code = "import sys, gradloom as gl; from gradloom.tools.find_recipe import make_recipe"
    code += "; gl.plan_step(*make_recipe('mlp_s')); assert 'networkx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
