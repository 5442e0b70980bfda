"""The calls of modules that a binding writes down."""

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.engine import Trace
from gradloom.engine.nn.binding import bind
from gradloom.engine.nn.calls import CallRecorder


def calls_of(model, forward, *types):
    """The calls of `forward(model, *inputs)`, with the inputs."""
    with Trace() as trace:
        values = {p: trace.input(p.type, name) for name, p in model.stored_parameters()}
        inputs = [trace.input(t) for t in types]
        recorder = CallRecorder(trace)
        with bind(model, values, recorder=recorder):
            result = forward(model, *inputs)
        return recorder.calls, inputs, result


class Pair(nn.Module):
    """Returns a dict of arrays, an integer and None, and calls one layer twice."""

    def __init__(self):
        self.layer = nn.Linear(3, 3)

    def forward(self, x, scale=2.0):
        first = self.layer(x)
        second = self.layer(first)
        x += 1.0
        return {"a": first, "b": (second, None, 3), "c": np.argmax(second, -1) * scale}


def test_calls_come_as_they_return_with_arguments_as_they_were_and_all_arrays_of_the_result():
    calls, (x,), result = calls_of(Pair(), lambda model, x: model(x * 1.0), gl.spec((2, 3)))
    assert [call.path for call in calls] == ["layer", "layer", ""]
    assert [type(call.module).__name__ for call in calls] == ["Linear", "Linear", "Pair"]
    first, second, whole = calls
    assert second.inputs[0].value is first.outputs[0].value
    assert [o.value for o in whole.outputs] == [result["a"].value, result["b"][0].value, result["c"].value]
    assert whole.inputs[0].value is first.inputs[0].value, "before the module added to its argument"
    assert x.shape == (2, 3)


def test_a_call_in_a_loop_is_skipped_and_says_why():
    def forward(model, xs):
        with_checkpoint = gl.checkpoint(model)(xs[0])
        return gl.scan(lambda carry, x: (model(carry + x), None), with_checkpoint, xs)[0]

    calls, _, _ = calls_of(nn.Linear(3, 3), forward, gl.spec((4, 2, 3)))
    assert [bool(call.skipped) for call in calls] == [False, True]
    assert "loop" in calls[1].skipped
    assert calls[1].outputs == ()


def test_calls_with_other_values_are_told_from_those_with_its_own():
    def forward(model, x):
        other = {name: 2.0 * value for name, value in model[0].named_parameters()}
        return nn.functional_call(model[0], other, x) + model(x)

    calls, _, _ = calls_of(nn.Sequential(nn.Linear(3, 3)), forward, gl.spec((2, 3)))
    assert [(call.path, call.own) for call in calls] == [("0", False), ("0", True), ("", True)]
    assert calls[0].outputs[0].value is not calls[1].outputs[0].value
