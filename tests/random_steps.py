"""Random graphs as a training step makes them: with derivatives, and with outputs that overwrite inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from gradloom.ir import OPS, Builder, Graph, Value, is_float, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.autodiff.backward import vjp_graph
from hypothesis import strategies as st
from random_graphs import graphs


@st.composite
def backward_graphs(draw: st.DrawFn, scans: bool = False) -> Graph:
    """A random graph together with its derivative by all of its inputs; with `scans` some nodes are loops."""
    graph = draw(graphs(max_nodes=12, dtypes=("float64", "float32", "int64"), smooth=True, scans=scans))
    return vjp_graph(graph, [i for i, v in enumerate(graph.inputs) if is_float(v.type.dtype)])


@st.composite
def step_graphs(draw: st.DrawFn, scans: bool = False) -> Graph:
    """A random graph, perhaps with its derivative, whose outputs overwrite inputs where their types allow; with `scans`
    some nodes are loops.
    """
    graph = draw(st.one_of(graphs(max_nodes=16, scans=scans), backward_graphs(scans)))
    aliases: dict[int, int] = {}
    for i, value in enumerate(graph.outputs):
        free = [j for j, v in enumerate(graph.inputs) if v.type == value.type and j not in aliases.values()]
        if free and draw(st.integers(0, 3)):
            aliases[i] = draw(st.sampled_from(free))
    return Graph(graph.inputs, graph.nodes, graph.outputs, aliases, graph.output_names)


@st.composite
def net_steps(draw: st.DrawFn) -> Graph:
    """A step of a deep net of random layers, with dropout whose key comes from a counter that the step advances.

    The inputs are the counter, the batch, and the weights of the layers; weights and counter are overwritten.
    """
    rows, width = draw(st.sampled_from([(3, 5), (8, 16), (5, 40)]))
    layers = draw(
        st.lists(st.sampled_from(["dense", "dense", "norm", "softmax", "dropout", "skip"]), min_size=2, max_size=9)
    )
    b = Builder()
    counter, x = b.input(spec((), "int64"), "counter"), b.input(spec((rows, width), "float64"), "x")
    weights = [b.input(spec((width, width), "float64"), f"w{i}") for i, kind in enumerate(layers) if kind == "dense"]
    unused = iter(weights)
    h = first = x
    for stream, kind in enumerate(layers):
        h = ew.add(b, h, first) if kind == "skip" else _layer(b, kind, h, counter, stream, unused)
        first = h if kind == "dense" else first
    loss = OPS["reduce_sum"](b, ew.mul(b, h, h), axes=(0, 1))
    scale = b.full_like(loss, 1 / (rows * width))
    n = len(weights) + 2
    gradient = vjp_graph(b.graph([ew.mul(b, loss, scale)]), range(1, n))
    b = Builder()
    inputs = [b.input(v.type, v.name) for v in gradient.inputs[:n]]
    value, *gradients = b.inline(gradient, [*inputs, b.full(1.0, loss.type)])
    new = [ew.sub(b, w, ew.mul(b, g, b.full_like(g, 0.01))) for w, g in zip(inputs[2:], gradients[1:])]
    advanced = ew.add(b, inputs[0], b.full_like(inputs[0], 1))
    return b.graph([advanced, *new, value, gradients[0]], {0: 0, **{i: i + 1 for i in range(1, n - 1)}})


def _layer(b: Builder, kind: str, h: Value, counter: Value, stream: int, weights: Iterator[Value]) -> Value:
    rows, width = h.type.shape

    def along(total: Value) -> Value:
        return OPS["broadcast"](b, total, shape=(rows, width), axes=(0,))

    match kind:
        case "dense":
            return ew.tanh(b, OPS["dot"](b, h, next(weights), contract=((1,), (0,)), batch=((), ())))
        case "softmax":
            e = ew.exp(b, ew.sub(b, h, along(OPS["reduce_max"](b, h, axes=(1,)))))
            return ew.div(b, e, along(OPS["reduce_sum"](b, e, axes=(1,))))
        case "norm":
            mean = ew.mul(b, OPS["reduce_sum"](b, h, axes=(1,)), b.full(1 / width, spec((rows,), "float64")))
            centred = ew.sub(b, h, along(mean))
            square = OPS["reduce_sum"](b, ew.mul(b, centred, centred), axes=(1,))
            return ew.div(b, centred, along(ew.sqrt(b, ew.add(b, square, b.full_like(square, 1.0)))))
        case _:
            bits = OPS["random_bits"](b, counter, shape=(rows, width), dtype=np.dtype("int64"), stream=stream)
            kept = ew.lt(b, bits, b.full_like(bits, 0))
            return ew.select(b, kept, h, b.full_like(h, 0))
