"""Batches of other shapes: compiled for and told, within a limit, or refused."""

import logging

import gradloom as gl
import numpy as np
import pytest


def make_step(**options):
    return gl.compile_step(
        gl.nn.Linear(3, 1), lambda m, b: np.mean(m(b["x"]) ** 2), gl.optim.SGD(0.1), {"x": gl.spec((4, 3))}, **options
    )


def rows(n):
    return {"x": np.ones((n, 3), "float32")}


def test_other_shapes_are_refused_where_that_is_asked_for():
    step = make_step(shapes="fixed")
    step(rows(4))
    with pytest.raises(gl.ShapeError, match=r"batch\.x is \(2, 3\), the step is for \(4, 3\): .* shapes='fixed'.*any"):
        step(rows(2))
    assert step.steps == 1
    step(rows(4))
    with pytest.raises(TypeError, match="float64"):
        step({"x": np.ones((4, 3))})


def test_programs_of_other_shapes_are_kept_within_a_limit_and_their_memory_is_given_back(caplog):
    step = make_step(max_programs=2)
    with caplog.at_level(logging.WARNING, "gradloom"):
        losses = [float(step(rows(n))) for n in (4, 64, 5, 6, 4, 7)]
    assert len(caplog.records) == 4
    assert "the step was compiled for other shapes, in" in caplog.messages[0]
    assert "batch.x is (64, 3), before (4, 3)" in caplog.messages[0]
    assert len(step._signatures) == 3
    assert step._live.arena.nbytes < 4 * make_step()._live.arena.nbytes
    other = make_step()
    assert losses == [float(other(rows(n))) for n in (4, 64, 5, 6, 4, 7)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shapes": "some"}, "shapes is 'any', which compiles for each, 'bucket', which .* or 'fixed'"),
        ({"max_programs": 0}, "max_programs is a whole number of 1 or more, got 0"),
    ],
)
def test_what_there_is_not_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        make_step(**options)
