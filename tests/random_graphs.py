"""Random valid graphs of many ops, for tests of what must hold of every graph.

    @given(graphs())
    def test_a_pass_keeps_the_values(graph):
        arrays = random_inputs(graph)
        expected = interpret(graph, *arrays)

Values stay finite and of the order of 1 to 100 on the inputs that `random_inputs` makes, whatever the ops: what grows
beyond is brought back. Integers stay small, indices in range, divisors and arguments of logarithms away from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gradloom.ir import OPS, Array, ArrayType, Builder, Graph, Origin, Value, interpret, is_float, spec
from gradloom.ir.ops import elementwise as ew
from hypothesis import strategies as st

LIMIT = 100.0
SHAPES = ((), (1,), (3,), (2, 3), (3, 1), (2, 3, 2), (0, 3))
ODD_NAMES = (
    "",
    "w",
    "batch['x']",
    "0",
    "12",
    "a b",
    'say "hi"',
    "tab\t",
    "back\\slash",
    "line\nend",
    "x:",
    "λ",
    "[0]",
    "%0",
    "-",
)
SCOPES = ("", "layers.0", "layers.1.attn", 'odd "scope"')
SOURCES = ("", "model.py:3", "C:\\users\\model.py:12")


def random_inputs(graph: Graph, seed: int = 0) -> list[Array]:
    """Arrays for a graph that `graphs` drew: floats of -2 to 2, integers of 0 to 4, bools."""
    rng = np.random.default_rng(seed)
    arrays: list[Array] = []
    for value in graph.inputs:
        shape, dtype = value.type.shape, value.type.dtype
        arrays.append((rng.uniform(-2, 2, shape) if is_float(dtype) else rng.integers(0, 5, shape)).astype(dtype))
    return arrays


class _Pool:
    """The values of the graph under construction, each with a bound of its magnitude."""

    def __init__(self, draw: Callable[..., Any], b: Builder, dtypes: tuple[str, ...], smooth: bool) -> None:
        self.draw = draw
        self.b = b
        self.smooth = smooth
        self.dtypes = [np.dtype(d) for d in dtypes]
        self.bounds: dict[Value, float] = {}

    def add(self, value: Value, bound: float) -> None:
        """Enter a value, brought back to a moderate size where it may be large."""
        if value.type.dtype.kind in "iu" and bound > LIMIT:
            value, bound = ew.mod(self.b, value, self.b.full_like(value, 7)), 7
        if is_float(value.type.dtype) and bound > LIMIT:
            value, bound = ew.tanh(self.b, ew.mul(self.b, value, self.b.full_like(value, 1 / 64))), 1
        self.bounds[value] = max(bound, 1)

    def any(self, fits: Callable[[ArrayType], bool] = lambda t: True) -> Value | None:
        """One of the values whose type fits, later ones as likely as early ones; None where there is none."""
        found = [v for v in self.bounds if fits(v.type)]
        return self.draw(st.sampled_from(found)) if found else None

    def like(self, x: Value) -> Value:
        """A value of the type of x: another one, x itself, or a constant."""
        same = [v for v in self.bounds if v.type == x.type]
        if len(same) > 1 or self.draw(st.booleans()):
            return self.draw(st.sampled_from(same))
        if x.type.dtype.kind == "b":
            value = self.b.full_like(x, True)
        else:
            value = self.b.full_like(x, self.draw(st.sampled_from([0, 1, 2, 3])))
        self.bounds[value] = 3
        return value


def _unary(p: _Pool) -> None:
    x = p.any(lambda t: is_float(t.dtype))
    if x is None:
        return
    kinky = dict.fromkeys(["abs", "relu", "floor", "ceil", "trunc", "rint"]) | {"sign": 1}
    bounded = {
        "tanh": 1,
        "sigmoid": 1,
        "erf": 1,
        "sin": 1,
        "cos": 1,
        "atan": 2,
        "asinh": None,
        "neg": None,
        "copy": None,
        "save": None,
    }
    bounded |= {} if p.smooth else {"stop_gradient": None, **kinky}
    name = p.draw(st.sampled_from(sorted(bounded)))
    p.add(OPS[name](p.b, x), bounded[name] or p.bounds[x] + 1)


def _guarded(p: _Pool) -> None:
    """exp, log, sqrt and division where they are tame: of x^2 + 1 or of a small x."""
    x = p.any(lambda t: is_float(t.dtype))
    if x is None:
        return
    b, bound = p.b, p.bounds[x]
    name = p.draw(
        st.sampled_from(
            [
                "exp",
                "log",
                "sqrt",
                "div",
                "pow",
                "log1p",
                "expm1",
                "sinh",
                "cosh",
                "tan",
                "asin",
                "acos",
                "atanh",
                "acosh",
                "atan2",
            ]
        )
    )
    small = ew.tanh(b, x)
    positive = ew.add(b, ew.mul(b, x, x), b.full_like(x, 1))
    if name in ("exp", "expm1", "sinh", "cosh", "tan"):
        p.add(OPS[name](b, small), 3)
    elif name in ("asin", "acos", "atanh"):
        p.add(OPS[name](b, ew.mul(b, small, b.full_like(x, 0.75))), 3)
    elif name == "acosh":
        p.add(ew.acosh(b, ew.add(b, positive, b.full_like(x, 1))), bound + 2)
    elif name == "atan2":
        p.add(ew.atan2(b, small, positive), 2)
    elif name == "div":
        y = p.like(x)
        p.add(ew.div(b, y, positive), p.bounds[y])
    elif name == "pow":
        p.add(ew.pow(b, positive, b.full_like(x, p.draw(st.sampled_from([-1.0, 0.5, 1.0, 2.0])))), (bound**2 + 1) ** 2)
    else:
        p.add(OPS[name](b, positive), bound + 2)


def _binary(p: _Pool) -> None:
    x = p.any(lambda t: t.dtype.kind != "b")
    if x is None:
        return
    y = p.like(x)
    names = (
        ["add", "sub", "mul"] if p.smooth and is_float(x.type.dtype) else ["add", "sub", "mul", "maximum", "minimum"]
    )
    name = p.draw(st.sampled_from(names))
    if x.type.dtype.kind == "u" and name == "sub":
        name = "minimum"
    product = p.bounds[x] * p.bounds[y]
    p.add(OPS[name](p.b, x, y), product if name == "mul" else p.bounds[x] + p.bounds[y])


def _integer(p: _Pool) -> None:
    x = p.any(lambda t: t.dtype.kind in "iu")
    if x is None:
        return
    name = p.draw(st.sampled_from(["floordiv", "mod", "and", "or", "xor", "shift_right", "shift_left"]))
    y = p.b.full_like(x, p.draw(st.sampled_from([1, 2, 5])))
    p.add(OPS[name](p.b, x, y), p.bounds[x] * 32)


def _choose(p: _Pool) -> None:
    x = p.any()
    if x is None:
        return
    y = p.like(x)
    name = p.draw(st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]))
    if p.smooth and is_float(x.type.dtype):
        condition = p.any(lambda t: t == ArrayType(x.type.shape, np.dtype("bool")))
        condition = p.b.full(True, ArrayType(x.type.shape, np.dtype("bool"))) if condition is None else condition
    else:
        condition = OPS[name](p.b, x, y)
    p.add(condition, 1)
    p.add(ew.select(p.b, condition, x, y), max(p.bounds[x], p.bounds[y]))


def _cast(p: _Pool) -> None:
    x = p.any(lambda t: t.dtype.kind == "b" or not p.smooth or not is_float(t.dtype))
    if x is None:
        return
    target = p.draw(st.sampled_from(p.dtypes))
    p.add(ew.cast(p.b, x, dtype=target), max(p.bounds[x], 255 if target.kind == "u" else 0))


def _move(p: _Pool) -> None:
    x = p.any()
    if x is None:
        return
    b, shape, n = p.b, x.type.shape, x.type.ndim
    name = p.draw(st.sampled_from(["reshape", "transpose", "broadcast", "slice", "reverse", "pad", "concatenate"]))
    if name == "reshape":
        flat = (*shape, 1) if p.draw(st.booleans()) and n < 4 else (x.type.size,)
        result = OPS[name](b, x, shape=flat)
    elif name == "transpose":
        result = OPS[name](b, x, perm=tuple(p.draw(st.permutations(range(n)))))
    elif name == "broadcast":
        if n >= 4 or x.type.size > 64:
            return
        at = p.draw(st.integers(0, n))
        longer = (*shape[:at], p.draw(st.integers(1, 3)), *shape[at:])
        result = OPS[name](b, x, shape=longer, axes=tuple(i for i in range(n + 1) if i != at))
    elif name == "slice":
        start = tuple(p.draw(st.integers(0, m)) if m > 2 else 0 for m in shape)
        result = OPS[name](b, x, start=start, stop=shape, step=tuple(p.draw(st.integers(1, 2)) for _ in shape))
    elif name == "reverse":
        result = OPS[name](b, x, axes=tuple(i for i in range(n) if p.draw(st.booleans())))
    elif name == "pad":
        if x.type.size > 64:
            return
        low, high, interior = (tuple(p.draw(st.integers(0, 1)) for _ in shape) for _ in range(3))
        result = OPS[name](b, x, low=low, high=high, interior=interior, value=x.type.dtype.type(1).item())
    elif n == 0 or x.type.size > 64:
        return
    else:
        axis = p.draw(st.integers(0, n - 1))
        y = p.like(x)
        p.add(OPS[name](b, x, y, axis=axis), max(p.bounds[x], p.bounds[y]))
        return
    p.add(result, p.bounds[x])


def _reduce(p: _Pool) -> None:
    x = p.any(lambda t: t.dtype.kind != "b" and t.size > 0)
    if x is None:
        return
    axes = tuple(i for i in range(x.type.ndim) if p.draw(st.booleans()))
    name = p.draw(
        st.sampled_from(["reduce_sum", "mean"] if p.smooth else ["reduce_sum", "reduce_max", "reduce_min", "arg"])
    )
    length = int(np.prod([x.type.shape[a] for a in axes], dtype=int))
    if name == "arg":
        if axes:
            p.add(p.b.emit(OPS[p.draw(st.sampled_from(["argmax", "argmin"]))], x, axis=axes[0]), x.type.shape[axes[0]])
    elif name == "mean" and is_float(x.type.dtype):
        total = OPS["reduce_sum"](p.b, x, axes=axes)
        p.add(ew.mul(p.b, total, p.b.full_like(total, 1 / length)), p.bounds[x])
    elif name in ("reduce_max", "reduce_min"):
        p.add(OPS[name](p.b, x, axes=axes), p.bounds[x])
    else:
        p.add(OPS["reduce_sum"](p.b, x, axes=axes), p.bounds[x] * length)


def _along_axis(p: _Pool) -> None:
    x = p.any(lambda t: t.dtype.kind != "b" and t.ndim > 0)
    if x is None:
        return
    axis = p.draw(st.integers(0, x.type.ndim - 1))
    if not p.smooth and p.draw(st.booleans()):
        p.add(OPS["sort"](p.b, x, axis=axis, descending=p.draw(st.booleans())), p.bounds[x])
    else:
        p.add(OPS["cumsum"](p.b, x, axis=axis, reverse=p.draw(st.booleans())), p.bounds[x] * x.type.shape[axis])


def _dot(p: _Pool) -> None:
    x = p.any(lambda t: t.dtype.kind != "b" and 0 < t.ndim <= 3 and t.size <= 64)
    if x is None:
        return
    y = p.any(lambda t: t.dtype == x.type.dtype and 0 < t.ndim <= 3 and t.size <= 64)
    assert y is not None
    pairs = [(i, j) for i, n in enumerate(x.type.shape) for j, m in enumerate(y.type.shape) if n == m]
    contract: list[tuple[int, int]] = []
    batch: list[tuple[int, int]] = []
    for i, j in p.draw(st.permutations(pairs)):
        if all(i != a and j != c for a, c in (*contract, *batch)):
            (batch if p.draw(st.integers(0, 2)) == 0 else contract).append((i, j))
    free = x.type.ndim + y.type.ndim - 2 * len(contract) - len(batch)
    if free > 4:
        return
    split = tuple(tuple(tuple(pair[k] for pair in part) for k in (0, 1)) for part in (contract, batch))
    depth = int(np.prod([x.type.shape[i] for i, _ in contract], dtype=int))
    p.add(OPS["dot"](p.b, x, y, contract=split[0], batch=split[1]), p.bounds[x] * p.bounds[y] * depth)


def _index(p: _Pool) -> None:
    x = p.any(lambda t: t.ndim > 0 and t.dtype.kind != "b")
    if x is None:
        return
    axis = p.draw(st.integers(0, x.type.ndim - 1))
    length = x.type.shape[axis]
    indices = p.any(lambda t: t.dtype.kind in "iu" and t.ndim <= 2 and t.size <= 6)
    if indices is None or length == 0 or x.type.size > 64 or x.type.ndim + indices.type.ndim > 5:
        return
    small = ew.mod(p.b, indices, p.b.full_like(indices, length))
    rows = OPS["gather"](p.b, x, small, axis=axis, batch=0)
    p.add(rows, p.bounds[x])
    if p.draw(st.booleans()):
        base = p.like(x)
        added = OPS["scatter_add"](p.b, base, small, rows, axis=axis, batch=0)
        p.add(added, p.bounds[base] + p.bounds[x] * indices.type.size)


def _create(p: _Pool) -> None:
    shape = p.draw(st.sampled_from(SHAPES))
    dtype = p.draw(st.sampled_from(p.dtypes))
    name = p.draw(st.sampled_from(["full", "constant", "iota", "random"]))
    if name == "full":
        p.add(p.b.full(p.draw(st.sampled_from([0, 1, 2])), ArrayType(shape, dtype)), 2)
    elif name == "constant":
        values = np.random.default_rng(p.draw(st.integers(0, 99))).integers(0, 4, shape)
        p.add(p.b.constant((values / 2).astype(dtype) if is_float(dtype) else values.astype(dtype)), 4)
    elif name == "iota":
        if shape and dtype.kind != "b":
            p.add(p.b.emit(OPS["iota"], shape=shape, axis=p.draw(st.integers(0, len(shape) - 1)), dtype=dtype), 3)
    else:
        key = p.any(lambda t: t == spec((), "int64"))
        key = p.b.full(7, spec((), "int64")) if key is None else key
        bits = OPS["random_bits"](p.b, key, shape=shape, dtype=np.dtype("int32"), stream=p.draw(st.integers(0, 9)))
        p.add(ew.shift_right(p.b, bits, p.b.full_like(bits, 28)), 8)


def _region(p: _Pool) -> None:
    """A region whose body is a random graph of its own; its inputs are read from the pool or made."""
    body = p.draw(graphs(max_nodes=4, dtypes=tuple(d.name for d in p.dtypes), smooth=p.smooth))
    body = Graph(body.inputs, body.nodes, list(dict.fromkeys(body.outputs)))
    inputs: list[Value] = []
    for value in body.inputs:
        # The body's bounds hold for inputs as `random_inputs` makes them: what is large is not for it.
        near = [v for v in p.bounds if v.type == value.type and p.bounds[v] <= 4 and v.type.dtype.kind not in "iu"]
        inputs.append(p.draw(st.sampled_from(near)) if near else p.b.full_like(value, 1))
    for output in p.b.emit_node(OPS["region"], *inputs, body=body, domain=(), rows=0).outputs:
        p.add(output, LIMIT)


def _scan(p: _Pool) -> None:
    """A loop whose body is a random graph of its own; its inputs are read from the pool or made."""
    inner = p.draw(graphs(max_nodes=4, dtypes=tuple(d.name for d in p.dtypes), smooth=p.smooth))
    length = p.draw(st.integers(0, 3))
    kinds = [p.draw(st.sampled_from(["const", "carry", "x"])) for _ in inner.inputs]
    kinds = ["const" if k == "carry" and not is_float(v.type.dtype) else k for k, v in zip(kinds, inner.inputs)]
    order = sorted(range(len(kinds)), key=lambda i: ["const", "carry", "x"].index(kinds[i]))
    b = Builder()
    made = {i: b.input(inner.inputs[i].type) for i in order}
    results = b.inline(inner, [made[i] for i in range(len(kinds))])
    carried: list[Value] = []
    for i in order:
        if kinds[i] == "carry":
            same = [v for v in results if v.type == made[i].type]
            # Nothing grows from step to step.
            carried.append(OPS["tanh"](b, p.draw(st.sampled_from(same))) if same else made[i])
    inputs: list[Value] = []
    for i in order:
        step = made[i].type
        whole = ArrayType((length, *step.shape), step.dtype) if kinds[i] == "x" else step
        inputs.append(_near(p, whole))
    node = p.b.emit_node(
        OPS["scan"],
        *inputs,
        body=b.graph([*carried, *results]),
        consts=kinds.count("const"),
        carries=kinds.count("carry"),
        length=length,
        reverse=p.draw(st.booleans()),
    )
    for output in node.outputs:
        p.add(output, LIMIT)


def _while(p: _Pool) -> None:
    """A loop of a few iterations, counted by a carry, whose body is a random graph of its own."""
    inner = p.draw(graphs(max_nodes=4, dtypes=tuple(d.name for d in p.dtypes)))
    number, flag = ArrayType((), np.dtype("int64")), ArrayType((), np.dtype("bool"))
    b = Builder()
    limit, _, count = (b.input(t) for t in (number, flag, number))
    inputs = [b.input(v.type) for v in inner.inputs]
    results = b.inline(inner, inputs)
    after = ew.add(b, count, b.full(1, number))
    carried: list[Value] = [ew.lt(b, after, limit), after]
    for value in inputs:
        same = [v for v in results if v.type == value.type] if is_float(value.type.dtype) else []
        # Nothing grows from one iteration to the next.
        carried.append(OPS["tanh"](b, p.draw(st.sampled_from(same))) if same else value)
    body = Graph([b.inputs[0], *b.inputs[1:]], b.nodes, carried)
    starts = [_near(p, value.type) for value in inner.inputs]
    zero, length = p.b.full(0, number), p.b.full(p.draw(st.integers(0, 3)), number)
    node = p.b.emit_node(OPS["while_loop"], length, ew.lt(p.b, zero, length), zero, *starts, body=body, consts=1)
    for output in node.outputs[2:]:
        p.add(output, LIMIT)


def _cond(p: _Pool) -> None:
    """A choice between a random graph and another one of its results."""
    true = p.draw(graphs(max_nodes=4, dtypes=tuple(d.name for d in p.dtypes), smooth=p.smooth))
    b = Builder()
    results = list(dict.fromkeys(b.inline(true, [b.input(v.type) for v in true.inputs])))
    others = [OPS["tanh"](b, v) if is_float(v.type.dtype) else v for v in results]
    false = b.graph(others)
    flag = p.b.full(p.draw(st.booleans()), ArrayType((), np.dtype("bool")))
    if p.draw(st.booleans()):
        # One that is not known before the program runs.
        seen = [v for v in p.bounds if v.type.shape == () and v.type.dtype.kind == "f"]
        number = p.draw(st.sampled_from(seen)) if seen else None
        flag = flag if number is None else ew.lt(p.b, number, p.b.full_like(number, 0.5))
    graphs_of = {"true": Graph(true.inputs, true.nodes, list(dict.fromkeys(true.outputs))), "false": false}
    node = p.b.emit_node(OPS["cond"], flag, *(_near(p, v.type) for v in true.inputs), **graphs_of)
    for output in node.outputs:
        p.add(output, LIMIT)


def _near(p: _Pool, type: ArrayType) -> Value:
    """A value of the pool that is small, or ones."""
    near = [v for v in p.bounds if v.type == type and p.bounds[v] <= 4 and v.type.dtype.kind not in "iu"]
    return p.draw(st.sampled_from(near)) if near else p.b.full(1, type)


_STEPS = (_unary, _unary, _guarded, _binary, _binary, _integer, _choose, _cast, _move, _move, _reduce, _dot)
_STEPS += (_along_axis, _index, _create)


@st.composite
def graphs(
    draw: st.DrawFn,
    max_nodes: int = 30,
    dtypes: tuple[str, ...] = ("float64", "float32", "int64", "int32", "uint8", "bool"),
    smooth: bool = False,
    decorated: bool = False,
    regions: bool = False,
    scans: bool = False,
) -> Graph:
    """A valid graph of 1 to about `max_nodes` nodes; at most, a few more.

    `smooth`: floats come only through ops without kinks. `decorated`: inputs and outputs have odd names,
    nodes have scopes, sources, roles and checkpoints, and some outputs are written to inputs. `regions`: some nodes are
    regions. `scans`: some are loops or branches, whose derivatives exist where they are `smooth`.
    """
    b = Builder()
    p = _Pool(draw, b, dtypes, smooth)
    for i in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(ODD_NAMES)) if decorated else f"x{i}"
        p.bounds[b.input(spec(draw(st.sampled_from(SHAPES)), draw(st.sampled_from(dtypes))), name)] = 4
    nested = (_scan, _scan, _cond, *(() if smooth else (_while,))) if scans else ()
    for _ in range(draw(st.integers(1, max_nodes))):
        if decorated:
            b.origin = Origin(
                draw(st.sampled_from(SCOPES)),
                draw(st.sampled_from(SOURCES)),
                draw(st.sampled_from(["forward", "forward", "backward", "recompute", "optimizer"])),
                draw(st.sampled_from(["", "", "1", "1/2", "1/2/3", "4"])),
            )
        if len(b.nodes) < max_nodes:
            draw(st.sampled_from((*_STEPS, *(_region,) * regions, *nested)))(p)
    if not b.nodes:
        p.add(ew.copy(b, b.inputs[0]), 4)
    values = list(p.bounds)
    outputs = [values[-1], *draw(st.lists(st.sampled_from(values), max_size=3))]
    if not decorated:
        return b.graph(outputs)
    names = [draw(st.sampled_from(ODD_NAMES)) for _ in outputs]
    aliases: dict[int, int] = {}
    for i, value in enumerate(outputs):
        free = [j for j, v in enumerate(b.inputs) if v.type == value.type and j not in aliases.values()]
        if free and draw(st.booleans()):
            aliases[i] = draw(st.sampled_from(free))
    return b.graph(outputs, aliases, names)


def assert_tame(graph: Graph) -> None:
    """Fail where a value of `graph` is not finite, or larger than its bound can be."""
    every = Graph(graph.inputs, graph.nodes, [v for node in graph.nodes for v in node.outputs])
    for value, array in zip(every.outputs, interpret(every, *random_inputs(graph)), strict=True):
        if is_float(value.type.dtype):
            assert np.isfinite(array).all(), value
            assert np.abs(array).max(initial=0) < LIMIT**4, value
