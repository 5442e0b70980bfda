"""What Python holds equal and is not never shares a program, however deep it stands."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import optree
import pytest
from gradloom.engine.compile.program_key import exact_key, structure_key


@dataclasses.dataclass(frozen=True)
class Config:
    value: Any


@dataclasses.dataclass(frozen=True)
class Uncompared:
    value: Any = dataclasses.field(compare=False)


class Slotted:
    """With an == and a hash of its own."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


class Number(float):
    """A float that holds more."""

    unit: Any


Pair = namedtuple("Pair", ["a", "b"])


class Colour(enum.Enum):
    RED = 1


def number(value: float, unit: Any) -> Number:
    result = Number(value)
    result.unit = unit
    return result


EQUAL = [(1, True), (1, 1.0), (0, False), (0.0, -0.0), (True, 1.0), (0j, complex(0.0, -0.0)), ("a", np.str_("a"))]
EQUAL += [(2.0, np.float64(2)), (2, np.int64(2)), (np.float32(0.0), np.float32(-0.0))]
OF_ONE: dict[str, Callable[[Any], Any]] = {
    "bare": lambda v: v,
    "dataclass": Config,
    "dataclass in a dataclass": lambda v: Config(Config(v)),
    "field that is not compared": Uncompared,
    "tuple in a dataclass": lambda v: Config((0, (v,))),
    "frozenset": lambda v: frozenset({v}),
    "frozenset of tuples": lambda v: frozenset({(v, 5)}),
    "dict in a dataclass": lambda v: Config({"k": [v]}),
    "key of a dict in a dataclass": lambda v: Config({v: 1}),
    "own ==": Slotted,
    "own == over a dataclass": lambda v: Slotted(Config(v)),
    "unit of a number": lambda v: number(1.0, v),
    "named tuple in a dataclass": lambda v: Config(Pair(1, v)),
}


@pytest.mark.parametrize("name", OF_ONE)
def test_equal_values_have_keys_of_their_own(name: str):
    make = OF_ONE[name]
    for one, other in EQUAL:
        assert one == other
        assert exact_key(make(one)) != exact_key(make(other)), (one, other)
        for value in (one, other):
            again = exact_key(copy.deepcopy(make(value)))
            assert exact_key(make(value)) == again
            assert hash(exact_key(make(value))) == hash(again)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
        (range(0, 3, 2), range(0, 4, 2)),
        (fractions.Fraction(1), decimal.Decimal(1)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(int, a=1), defaultdict(float, a=1)),
    ],
)
def test_other_equal_values_have_keys_of_their_own(one: Any, other: Any):
    assert one == other
    assert exact_key(Config(one)) != exact_key(Config(other))


@pytest.mark.parametrize(
    "value",
    [float("nan"), fractions.Fraction(1, 3), datetime.timedelta(3), Colour.RED, decimal.Decimal(2), int, np.arange(3)],
    ids=str,
)
def test_a_copy_has_the_same_key(value: Any):
    assert exact_key(Config(value)) == exact_key(Config(copy.deepcopy(value)))


def test_what_is_compared_by_identity_is_its_own_key():
    class Plain:
        pass

    one, other = Plain(), Plain()
    assert exact_key(one) == exact_key(one)
    assert exact_key(one) != exact_key(other)
    loop: list[Any] = []
    loop.append(loop)
    assert exact_key(loop) == exact_key(loop)


STRUCTURES: list[tuple[Any, Any]] = [
    ({1: 0}, {1.0: 0}),
    ({1: 0}, {True: 0}),
    ({0.0: 0}, {-0.0: 0}),
    ({(1, 2): 0}, {(True, 2): 0}),
    ({"a": 0, "b": 0}, {"b": 0, "a": 0}),
    ([{"x": {1: 0}}], [{"x": {True: 0}}]),
    ({Config(1): 0}, {Config(1.0): 0}),
]


@pytest.mark.parametrize(("one", "other"), STRUCTURES, ids=str)
def test_equal_structures_have_keys_of_their_own(one: Any, other: Any):
    trees = [optree.tree_structure(tree) for tree in (one, other)]
    assert trees[0] == trees[1]
    assert structure_key(trees[0]) != structure_key(trees[1])
    assert structure_key(trees[1]) == structure_key(optree.tree_structure(copy.deepcopy(other)))


def test_metadata_of_a_registered_class_counts():
    @optree.dataclasses.dataclass(namespace="program key")
    class Layer:
        w: Any
        scale: Any = optree.dataclasses.field(pytree_node=False)

    trees = [optree.tree_structure(Layer(0, s), namespace="program key") for s in (1, 1.0, True, 1)]
    assert trees[0] == trees[1]
    assert len({structure_key(tree) for tree in trees}) == 3


# ---- in compiled functions


def test_compiled_functions_give_each_its_own_program():
    x = np.arange(1, 4)
    scaled = gl.compile(lambda x, c: x * c.value)
    assert [str(scaled(x, Config(v)).dtype) for v in (1, 1.0, True, 1)] == ["int64", "float64", "int64", "int64"]
    divided = gl.compile(lambda x, c: x / c.value)
    assert [divided(x, Config(v))[0] for v in (0.0, -0.0, 0.0)] == [np.inf, -np.inf, np.inf]
    largest = gl.compile(lambda x, s: x * max(s))
    assert [str(largest(x, frozenset({v})).dtype) for v in (1, 1.0)] == ["int64", "float64"]
    first_key = gl.compile(lambda x, d: x * next(iter(d)))
    assert [str(first_key(x, {v: None}).dtype) for v in (1, 1.0)] == ["int64", "float64"]
    assert str(gl.compile(lambda x, *, k: x * k)(x, k=True).dtype) == "int64"


def test_the_order_of_a_dict_counts_where_the_function_sees_it():
    f = gl.compile(lambda d: next(iter(d.values())) * 2)
    one, two = np.ones(2), np.full(2, 2.0)
    assert f({"a": one, "b": two})[0] == 2
    assert f({"b": two, "a": one})[0] == 4
    step_input = gl.compile(lambda **given: next(iter(given.values())) * 2)
    assert step_input(a=one, b=two)[0] == 2
    assert step_input(b=two, a=one)[0] == 4
