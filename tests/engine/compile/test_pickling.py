"""What is pickled and copied, and what says how to keep it."""

import copy
import pickle

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

X = np.ones((2, 3), "float32")


def double(x):
    return x * 2


@gl.compile
def triple(x):
    return x * 3


def loss_fn(model, batch):
    return np.mean(model(batch) ** 2)


ARGUMENTS = nn.Linear(3, 1), loss_fn, optim.AdamW(optim.WarmUp(optim.OneCycle(0.1, 9), 2)), X


def pickled(what):
    return pickle.loads(pickle.dumps(what))


def test_steps_and_plans_say_how_they_are_kept():
    step = gl.compile_step(*ARGUMENTS)
    for what, way in (
        (step, r"step\.save\(path\).*other\.load\(path\)"),
        (step.bind(lambda model, x: model(x)), r"step\.save\(path\)"),
        (gl.plan_step(*ARGUMENTS), r"plan\.report"),
    ):
        for keep in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=way):
                keep(what)


@pytest.mark.parametrize("again", [pickled, copy.deepcopy, copy.copy])
def test_what_is_a_value_comes_back(again):
    plan = gl.plan_step(*ARGUMENTS)
    report = again(plan.report)
    assert report.to_json() == plan.report.to_json()
    assert str(report) == str(plan.report)
    for graph in (plan.graph, plan.plan.graph):
        assert str(again(graph)) == str(graph)
        assert [node.origin for node in again(graph).nodes] == [node.origin for node in graph.nodes]
    assert again(ARGUMENTS[2]) == ARGUMENTS[2]


@pytest.mark.parametrize("again", [pickled, copy.deepcopy, copy.copy])
def test_a_compiled_function_comes_back_as_one(again):
    compiled = gl.compile(double, threads=1)
    compiled(X)
    np.testing.assert_array_equal(again(compiled)(X), 2 * X)
    np.testing.assert_array_equal(again(triple)(X), 3 * X)
    assert pickled(triple) is triple


def test_a_compiled_function_without_a_name_says_so():
    with pytest.raises(TypeError, match=r"the compiled function .*<lambda> cannot be pickled"):
        pickle.dumps(gl.compile(lambda x: x))
    np.testing.assert_array_equal(copy.deepcopy(gl.compile(lambda x: x + 1))(X), X + 1)
