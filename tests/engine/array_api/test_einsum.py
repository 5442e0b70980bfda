"""`np.einsum` and broadcasting on traced arrays against NumPy."""

from __future__ import annotations

import gradloom as gl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

RNG = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def check(subscripts: str, *arrays: np.ndarray) -> None:
    graph = gl.trace(lambda *a: np.einsum(subscripts, *a), *arrays)
    graph.verify()
    (result,) = gl.interpret(graph, *arrays)
    wanted = np.asarray(np.einsum(subscripts, *arrays))
    assert result.dtype == wanted.dtype
    np.testing.assert_allclose(result, wanted, rtol=1e-9, atol=1e-9)


CASES = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk", (3, 4), (4, 5)),
    ("ij,jk->ki", (3, 4), (4, 5)),
    ("i,i", (4,), (4,)),
    ("i,i->i", (4,), (4,)),
    ("i,j->ij", (3,), (4,)),
    ("i,j->ji", (3,), (4,)),
    ("ij->ji", (3, 4)),
    ("ij->", (3, 4)),
    ("ij->j", (3, 4)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iij->ij", (3, 3, 2)),
    ("iii->i", (3, 3, 3)),
    ("iji->j", (3, 2, 3)),
    ("ii,ij->j", (3, 3), (3, 2)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 5)),
    ("...ij,...jk", (6, 2, 3, 4), (2, 4, 5)),
    ("...i->...", (2, 3, 4)),
    ("i...->...", (2, 3, 4)),
    ("...,...", (3, 4), (4,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ij,jk,kl,lm", *[(3, 3)] * 4),
    ("ij,kj,lj->ikl", (2, 3), (4, 3), (5, 3)),
    ("a,b,c->abc", (2,), (3,), (4,)),
    ("ij,ij,ij->", *[(2, 3)] * 3),
    ("ij,k->i", (2, 3), (4,)),
    (",ij->ij", (), (2, 3)),
    ("->", ()),
    ("ij,ik->jk", (1, 3), (4, 2)),
    ("...j,j...", (1, 3), (3, 4)),
    ("ba,ac->bc", (3, 0), (0, 2)),
    (" i j , j k -> i k ", (3, 4), (4, 5)),
    ("ZA,Ab->Zb", (2, 3), (3, 4)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_einsum(case: tuple[str, ...]) -> None:
    subscripts, *shapes = case
    check(subscripts, *(floats(*shape) for shape in shapes))


def test_einsum_of_integers_keeps_their_dtype() -> None:
    check("ij,jk->ik", RNG.integers(0, 5, (3, 4)).astype("int32"), RNG.integers(0, 5, (4, 2)).astype("int32"))
    check("ij->i", RNG.integers(0, 5, (3, 4)).astype("int32"))


def test_a_matrix_product_is_one_contraction() -> None:
    graph = gl.trace(lambda x, y: np.einsum("bhqd,bhkd->bhqk", x, y), gl.spec((2, 3, 4, 5)), gl.spec((2, 3, 6, 5)))
    assert [node.op.name for node in graph.nodes] == ["dot"]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_einsum_of_drawn_labels(data: st.DataObject) -> None:
    lengths = {label: data.draw(st.integers(1, 3)) for label in "abcde"}
    terms = data.draw(st.lists(st.text("abcde", max_size=3), min_size=1, max_size=4))
    known = sorted(set("".join(terms)))
    result = "".join(data.draw(st.permutations(known))[: data.draw(st.integers(0, len(known)))])
    arrays = [floats(*(lengths[a] for a in term)) for term in terms]
    check(",".join(terms) + "->" + result, *arrays)


@settings(max_examples=50, deadline=None)
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, min_side=0, max_side=3))
def test_broadcasting(shapes: hnp.BroadcastableShapes) -> None:
    x, y, z = (np.asarray(floats(*shape)) for shape in shapes.input_shapes)
    graph = gl.trace(lambda x, y, z: (np.where(x > y, x * z, y), np.broadcast_to(x, shapes.result_shape)), x, y, z)
    graph.verify()
    first, second = gl.interpret(graph, x, y, z)
    np.testing.assert_array_equal(first, np.where(x > y, x * z, y))
    np.testing.assert_array_equal(second, np.broadcast_to(x, shapes.result_shape))


@settings(max_examples=50, deadline=None)
@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=3, max_side=3))
def test_matmul(shapes: hnp.BroadcastableShapes) -> None:
    x, y = (np.asarray(floats(*shape)) for shape in shapes.input_shapes)
    graph = gl.trace(lambda x, y: x @ y, x, y)
    graph.verify()
    np.testing.assert_allclose(gl.interpret(graph, x, y)[0], x @ y, rtol=1e-9, atol=1e-12)
