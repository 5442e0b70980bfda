"""What flows through chosen modules of a step: the cotangents of their outputs."""

import gradloom as gl
import numpy as np
from gradloom import nn, optim
from gradloom.engine import Trace
from gradloom.engine.step.step_tracer import StepTracer


class Model(nn.Module):
    """A layer that is called twice, one inside a checkpoint, one whose result is not read, and one in a loop."""

    def __init__(self):
        self.twice = nn.Linear(3, 3)
        self.inside = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
        self.unread = nn.Linear(3, 2)
        self.looped = nn.Linear(3, 3)

    def forward(self, x):
        x = np.tanh(self.twice(self.twice(x)))
        self.unread(x)
        x = gl.checkpoint(self.inside)(x)
        return gl.scan(lambda h, _: (np.tanh(self.looped(h)), None), x, None, length=2)[0]


def loss_fn(model, batch):
    return np.mean(model(batch) ** 2)


def test_cotangents_of_outputs_are_those_of_finite_differences():
    model = Model().to("float64")
    tracer = StepTracer(model, loss_fn, optim.SGD(0.1))
    batch = np.random.default_rng(0).standard_normal((4, 3))
    values = nn.init_parameters(model)
    with Trace() as trace:
        inputs = tracer.inputs(trace)
        x = trace.input(gl.spec((4, 3), "float64"))
        outcome = tracer.differentiate(trace, inputs, x, lambda call: not isinstance(call.module, Model))
        taps = [tap for tap in outcome.taps if tap.cotangents and tap.cotangents[0] is not None]
        graph = trace.graph([tap.cotangents[0] for tap in taps])
    assert [tap.call.path for tap in taps] == ["twice", "twice", "inside.0", "inside.1", "inside"]
    skipped = {tap.call.path: tap for tap in outcome.taps if tap not in taps}
    assert skipped["unread"].cotangents == (None,)
    assert "loop" in skipped["looped"].call.skipped
    carried = [*values.values(), *(np.zeros(t.shape, t.dtype) for _, t, _ in tracer.state), np.float64(0), np.int64(0)]
    results = gl.interpret(graph, *carried, batch)
    at = dict(zip(("first", "second", "inside.0", "inside.1"), results))

    def loss_with(number, change):
        """The loss where the output of one call is changed."""
        seen = []

        def changed(output):
            seen.append(None)
            return output + change if len(seen) == number else output

        class Changed(Model):
            def forward(self, x):
                x = np.tanh(changed(self.twice(changed(self.twice(x)))))
                x = changed(self.inside[1](changed(self.inside[0](x))))
                return gl.scan(lambda h, _: (np.tanh(self.looped(h)), None), x, None, length=2)[0]

        other = Changed().to("float64")
        return gl.trace(lambda x: loss_fn(lambda y: nn.functional_call(other, values, y), x), batch)

    rng = np.random.default_rng(1)
    for number, cotangent in enumerate(at.values(), 1):
        direction = rng.standard_normal((4, 3))
        up, down = (gl.interpret(loss_with(number, s * 1e-5 * direction), batch)[0] for s in (1, -1))
        np.testing.assert_allclose(np.sum(cotangent * direction), (up - down) / 2e-5, rtol=1e-6)


def test_a_tapped_step_has_the_gradients_of_one_without_taps():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    tracer = StepTracer(model, loss_fn, optim.SGD(0.1))
    texts = []
    for tapped in (None, lambda call: True):
        with Trace() as trace:
            inputs = tracer.inputs(trace)
            outcome = tracer.differentiate(trace, inputs, trace.input(gl.spec((4, 3))), tapped)
            texts.append(str(trace.graph(outcome.gradients)))
    assert texts[0] == texts[1]
