"""`step.gradients`: the gradients of the next step by name, and nothing is updated."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 5)), RNG.integers(0, 3, 12)
BATCH = {"x": X, "y": Y}


def mlp(*extra):
    return nn.Sequential(nn.Linear(5, 7), *extra, nn.Tanh(), nn.Linear(7, 3)).to("float64")


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def compiled(model, optimizer=None, **options):
    return gl.compile_step(model, loss_fn, optimizer or gl.optim.SGD(0.1), BATCH, **options)


def test_gradients_are_those_of_gl_grad_and_of_the_update():
    step = compiled(mlp())
    before = step.parameters()
    found = step.gradients(BATCH)
    reference = gl.grad(lambda p: nn.cross_entropy(nn.functional_call(mlp(), p, X, training=True), Y))(before)
    step(BATCH)
    assert found.keys() == before.keys()
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, reference[name], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(before[name] - 0.1 * gradient, step.parameters()[name], rtol=1e-12)


def test_gradients_have_the_draws_of_the_next_step_and_change_nothing():
    step = compiled(mlp(nn.Dropout(0.4), nn.BatchNorm1d(7)), gl.optim.SGD(0.1))
    for _ in range(3):
        before = {**step.parameters(), **step.buffers(), **step.state()}
        found = step.gradients(BATCH)
        for name, array in {**step.parameters(), **step.buffers(), **step.state()}.items():
            np.testing.assert_array_equal(array, before[name])
        for name, gradient in step.gradients(BATCH).items():
            np.testing.assert_array_equal(gradient, found[name])
        step(BATCH)
        for name, gradient in found.items():
            np.testing.assert_allclose(step.parameters()[name], before[name] - 0.1 * gradient, rtol=1e-9, atol=1e-12)


def test_clipping_is_not_applied_and_parts_that_are_accumulated_are_the_whole():
    plain = compiled(mlp()).gradients(BATCH)
    for options in ({"clip_norm": 1e-3}, {"clip_value": 1e-4}, {"accumulate": 3}, {"accumulate": 5}):
        for name, gradient in compiled(mlp(), **options).gradients(BATCH).items():
            np.testing.assert_allclose(gradient, plain[name], rtol=1e-10, atol=1e-14)


def test_only_trained_parameters_have_gradients_and_unread_ones_have_zeros():
    class Unread(nn.Module):
        def __init__(self):
            self.used = nn.Linear(5, 3, dtype="float64")
            self.unread = nn.Linear(2, 2)
            self.used.bias.requires_grad = False

        def forward(self, x):
            return self.used(x)

    found = compiled(Unread()).gradients(BATCH)
    assert found.keys() == {"used.weight", "unread.weight", "unread.bias"}
    assert found["unread.weight"].dtype == np.float32
    assert not found["unread.weight"].any()
    assert compiled(mlp(), train="0.*").gradients(BATCH).keys() == {"0.weight", "0.bias"}


def test_other_batches_are_compiled_once_more_and_wrong_ones_are_refused():
    step = compiled(mlp())
    arena = step._live.arena

    def mean_loss(values, x, y):
        return nn.cross_entropy(nn.functional_call(mlp(), values, x), y)

    for rows in (12, 5, 5, 1):
        part = {"x": X[:rows], "y": Y[:rows]}
        reference = gl.grad(mean_loss)(step.parameters(), X[:rows], Y[:rows])
        for name, gradient in step.gradients(part).items():
            np.testing.assert_allclose(gradient, reference[name], rtol=1e-11, atol=1e-14)
    assert step._gradients._programs.made == 3
    assert step._live.arena.nbytes >= arena.nbytes
    with pytest.raises(TypeError, match="the batch comes without"):
        step.gradients({"x": X})
    with pytest.raises(TypeError, match="compiled for float64"):
        step.gradients({"x": X.astype("float32"), "y": Y})
    with pytest.raises(IndexError):
        step.gradients({"x": X, "y": Y + 9})


def test_a_budget_bounds_gradients_too():
    step = compiled(mlp())
    roomy = compiled(mlp(), memory=step.report.total_bytes + 4096)
    same = [one.gradients(BATCH)["0.weight"] for one in (step, roomy)]
    np.testing.assert_allclose(*same, rtol=1e-12)
    # A step does not hold all gradients at once.
    wide = nn.Sequential(nn.Linear(5, 200), nn.Tanh(), nn.Linear(200, 3)).to("float64")
    least = gl.plan_step(wide, loss_fn, gl.optim.SGD(0.1), BATCH).curve()[-1].total_bytes
    tight = compiled(wide, memory=least)
    with pytest.raises(gl.MemoryBudgetError, match=r"step.gradients needs .* compile a step with memory=") as caught:
        tight.gradients(BATCH)
    assert caught.value.least_bytes > least
    assert compiled(wide, memory=caught.value.least_bytes).gradients(BATCH).keys() == wide.state_dict(seed=0).keys()


@pytest.mark.peers
def test_gradients_are_those_of_torch():
    torch = pytest.importorskip("torch")
    step = compiled(mlp())
    peer = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)).double()
    peer.load_state_dict({name: torch.from_numpy(a) for name, a in step.state_dict().items()})
    torch.nn.functional.cross_entropy(peer(torch.from_numpy(X)), torch.from_numpy(Y)).backward()
    found = step.gradients(BATCH)
    for name, parameter in peer.named_parameters():
        np.testing.assert_allclose(found[name], parameter.grad.numpy(), rtol=1e-10, atol=1e-14)
