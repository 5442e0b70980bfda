"""`train=`: the part of the parameters that a step trains."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

X = np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32)


class Gan(nn.Module):
    def __init__(self):
        self.generator = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
        self.discriminator = nn.Linear(3, 1)

    def forward(self, x):
        return self.discriminator(self.generator(x))


def loss_fn(model, x):
    return (model(x) ** 2).mean()


def changed(step, batch=X):
    before = step.parameters()
    step(batch)
    return [name for name, array in step.parameters().items() if not np.array_equal(array, before[name])]


NAMES = [f"generator.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")]
HEAD = ["discriminator.weight", "discriminator.bias"]


@pytest.mark.parametrize(
    ("train", "names"),
    [
        ("generator.*", NAMES),
        (["discriminator.bias", "*.2.*"], [*NAMES[2:], HEAD[1]]),
        (("discriminator.*",), HEAD),
        ("*.[0-1].weight", NAMES[:1]),
        (lambda name, type: type.ndim == 1, [*NAMES[1::2], HEAD[1]]),
        ("*", [*NAMES, *HEAD]),
        (None, [*NAMES, *HEAD]),
    ],
)
def test_the_chosen_parameters_move_and_have_state_and_no_others(train, names):
    plan = gl.plan_step(Gan(), loss_fn, gl.optim.Adam(0.1), X, train=train)
    step = gl.compile_step(Gan(), loss_fn, gl.optim.Adam(0.1), X, train=train)
    assert plan.report.total_bytes == step.report.total_bytes
    assert sorted(changed(step)) == sorted(names)
    assert step.state().keys() == {f"{kind}.{name}" for kind in ("exp_avg", "exp_avg_sq") for name in names} | {"step"}
    assert step.parameters().keys() == {*NAMES, *HEAD}
    sizes = {name: array.nbytes for name, array in step.parameters().items()}
    assert step.report.parameter_bytes == sum(sizes.values())
    assert step.report.state_bytes - 2 * sum(sizes[name] for name in names) <= 64
    assert sorted(changed(step, X[:2])) == sorted(names)  # a batch of other shapes trains the same


def test_what_is_not_trained_takes_no_backward_and_moves_as_if_frozen():
    frozen = Gan()
    for parameter in frozen.discriminator.parameters():
        parameter.requires_grad = False
    steps = [
        gl.compile_step(Gan(), loss_fn, gl.optim.AdamW(0.1), X, train="generator.*"),
        gl.compile_step(frozen, loss_fn, gl.optim.AdamW(0.1), X),
    ]
    assert steps[0].report.flops == steps[1].report.flops
    assert steps[0].report.flops < gl.plan_step(Gan(), loss_fn, gl.optim.AdamW(0.1), X).report.flops
    for _ in range(3):
        assert steps[0](X) == steps[1](X)
    for name, array in steps[0].parameters().items():
        np.testing.assert_array_equal(array, steps[1].parameters()[name])


def test_a_frozen_parameter_stays_frozen_and_a_tied_one_is_meant_by_any_name():
    class Tied(nn.Module):
        def __init__(self):
            self.first = nn.Linear(3, 3, bias=False)
            self.last = nn.Linear(3, 3)
            self.last.weight = self.first._parameters["weight"]

        def forward(self, x):
            return self.last(np.tanh(self.first(x)))

    model = Tied()
    assert changed(gl.compile_step(model, loss_fn, gl.optim.SGD(0.1), X, train="last.w*")) == ["first.weight"]
    model.last.bias.requires_grad = False
    assert changed(gl.compile_step(model, loss_fn, gl.optim.SGD(0.1), X, train="*")) == ["first.weight"]
    with pytest.raises(ValueError, match=r"nothing to train: all that train='last.bias' chooses are frozen"):
        gl.compile_step(model, loss_fn, gl.optim.SGD(0.1), X, train="last.bias")


@pytest.mark.parametrize(
    ("train", "error", "message"),
    [
        ("generatr.*", ValueError, r"'generatr.\*' fits no parameter; near names are generator.*test_trained"),
        (["generator.*", "critic.*"], ValueError, r"the pattern 'critic.\*' fits no parameter"),
        ("generator", ValueError, r"'generator' fits no parameter; write 'generator.\*'"),
        ([], ValueError, "train is empty; None trains all"),
        (lambda name, type: False, ValueError, r"is true of no parameter; there are generator.0.weight \[5, 3\]"),
        (3, TypeError, "train is a pattern of names.*got 3"),
        ([None], TypeError, r"train is a pattern of names.*got \[None\]"),
    ],
)
def test_what_chooses_nothing_is_refused_with_what_there_is(train, error, message):
    for build in (gl.plan_step, gl.compile_step):
        with pytest.raises(error, match=message):
            build(Gan(), loss_fn, gl.optim.SGD(0.1), X, train=train)


def test_a_module_that_is_given_in_place_of_a_pattern_is_told_its_pattern():
    model = Gan()
    for train, message in (
        (model.generator, r"got a Sequential; write train='generator\.\*'"),
        (model.generator[2], r"got a Linear; write train='generator\.2\.\*'"),
        (nn.Linear(1, 1), "it is no part of the model"),
    ):
        with pytest.raises(TypeError, match=message):
            gl.plan_step(model, loss_fn, gl.optim.SGD(0.1), X, train=train)
    with pytest.raises(TypeError, match="train is a pattern of names such as"):
        gl.plan_step(model, loss_fn, gl.optim.SGD(0.1), X, train=list(model.generator.parameters()))


def test_a_loss_that_reads_none_of_the_chosen_parameters_is_an_error():
    with pytest.raises(gl.TracingError, match=r"depends on no trained parameter, of which there are 2 here"):
        gl.compile_step(Gan(), lambda m, x: m.generator(x).mean(), gl.optim.SGD(0.1), X, train="discriminator.*")


def test_a_checkpoint_says_what_was_trained(tmp_path):
    path = tmp_path / "part.safetensors"
    gl.compile_step(Gan(), loss_fn, gl.optim.SGD(0.1), X, train="generator.*").save(path)
    gl.compile_step(Gan(), loss_fn, gl.optim.SGD(0.1), X, train="generator.*").load(path)
    with pytest.warns(gl.CheckpointWarning, match=r"train: 'generator.\*' before, 'g\*' now"):
        gl.compile_step(Gan(), loss_fn, gl.optim.SGD(0.1), X, train="g*").load(path)
