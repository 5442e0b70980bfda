"""Averages of the parameters: torch's formulas, state that is counted and saved, and what computes with them."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

BATCH = {"x": np.random.default_rng(0).standard_normal((6, 4)).astype("float32"), "y": np.arange(6) % 3}


def model_of():
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def trained(optimizer, steps, model=None):
    """A step, its parameters at first and after each update, and the averages after each."""
    step = gl.compile_step(model or model_of(), loss_fn, optimizer, BATCH)
    path, averages = [step.parameters()], []
    for _ in range(steps):
        step(BATCH)
        path.append(step.parameters())
        averages.append(step.averaged_parameters())
    return step, path, averages


def ema(path, decay):
    average = path[0]
    yield average
    for now in path[1:]:
        average = {name: decay * average[name] + (1 - decay) * now[name] for name in now}
        yield average


def close(ours, theirs):
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_an_exponential_average_begins_with_a_copy_and_the_training_is_that_without():
    step, path, averages = trained(optim.EMA(optim.AdamW(0.1), decay=0.75), 5)
    for ours, theirs in zip(averages, ema(path[1:], 0.75), strict=True):
        close(ours, theirs)
    np.testing.assert_equal(averages[0], path[1])
    alone = gl.compile_step(model_of(), loss_fn, optim.AdamW(0.1), BATCH)
    for _ in range(5):
        alone(BATCH)
    close(step.parameters(), alone.parameters())
    assert step.state()["n_averaged"] == 5


def test_a_mean_is_taken_from_its_start_every_so_many_steps_and_until_then_is_the_parameters():
    step, path, averages = trained(optim.SWA(optim.SGD(0.5), start=2, every=3), 10)
    for i in range(2):
        np.testing.assert_equal(averages[i], path[i + 1])
    for i in range(2, 10):
        taken = [path[k + 1] for k in range(2, i + 1, 3)]
        close(averages[i], {name: np.mean([p[name] for p in taken], axis=0) for name in path[0]})
    assert step.state()["n_averaged"] == 3


def test_averages_of_averaged_groups_are_nested_resumed_and_bound(tmp_path):
    groups = optim.groups({"*.bias": {"lr": 0.05}}, default=optim.SGD(optim.Exponential(0.5, 0.9), momentum=0.5))
    optimizer = optim.EMA(optim.SWA(groups, 1, 2), np.float32(0.5))
    step, path, averages = trained(optimizer, 4)
    for ours, theirs in zip(averages, ema(path[1:], 0.5), strict=True):
        close(ours, theirs)
    state = step.state()
    close({name: state[f"averaged.{name}"] for name in path[0]}, {n: (path[2][n] + path[4][n]) / 2 for n in path[0]})
    assert state["n_averaged"] == 2
    assert state["n_averaged_2"] == 4
    assert step.learning_rates == {"default": 0.5 * 0.9**4, "*.bias": 0.05}
    held = [*state.values(), *step.buffers().values()]
    assert step.report.state_bytes == sum(array.nbytes for array in held) + 3 * 8

    step.learning_rates = {"*.bias": 0.25}
    step.save(tmp_path / "a.safetensors")
    other = gl.compile_step(model_of(), loss_fn, optimizer, BATCH, seed=1)
    other.load(tmp_path / "a.safetensors")
    assert other.learning_rates == step.learning_rates
    for each in (step, other):
        each(BATCH)
    np.testing.assert_equal(other.parameters() | other.state(), step.parameters() | step.state())

    live, average = step.bind(lambda m, x: m(x)), step.bind(lambda m, x: m(x), averaged=True)
    for parameters, predict in ((step.parameters(), live), (step.averaged_parameters(), average)):
        expected = nn.functional_call(model_of(), parameters | step.buffers(), BATCH["x"])
        np.testing.assert_allclose(predict(BATCH["x"]), expected, rtol=1e-4, atol=1e-6)
    before = average(BATCH["x"])
    step(BATCH)
    assert np.any(average(BATCH["x"]) != before)


def test_frozen_and_unread_parameters_average_to_themselves():
    class Model(nn.Module):
        def __init__(self):
            self.read, self.unread, self.frozen = nn.Linear(4, 3), nn.Linear(2, 2), nn.Parameter((3,))
            self.frozen.requires_grad = False

        def forward(self, x):
            return self.read(x) + self.frozen

    step, path, averages = trained(optim.EMA(optim.SGD(0.5), 0.5), 2, Model())
    assert not any("frozen" in name for name in step.state())
    for name in ("unread.weight", "unread.bias", "frozen"):
        np.testing.assert_array_equal(averages[-1][name], path[0][name])


def test_before_the_first_step_the_average_is_the_parameters_also_those_that_were_set(tmp_path):
    step = gl.compile_step(model_of(), loss_fn, optim.EMA(optim.SGD(0.5)), BATCH)
    np.testing.assert_equal(step.averaged_parameters(), step.parameters())
    weights = {name: array + 1 for name, array in step.parameters().items()}
    step.set_parameters(weights)
    np.testing.assert_equal(step.averaged_parameters(), weights)
    predict = step.bind(lambda m, x: m(x), averaged=True)
    expected = nn.functional_call(model_of(), weights | step.buffers(), BATCH["x"])
    np.testing.assert_allclose(predict(BATCH["x"]), expected, rtol=1e-4, atol=1e-6)
    path = tmp_path / "weights.safetensors"
    gl.compile_step(model_of(), loss_fn, optim.SGD(0.5), BATCH, seed=3).save(path)
    step(BATCH)
    step.load(path, weights_only=True)
    np.testing.assert_equal(step.averaged_parameters(), step.parameters())
    with pytest.raises(gl.CheckpointError, match=r"come from SGD, the step's optimizer is EMA\(SGD\)"):
        step.load(path)


def test_other_hyper_parameters_of_an_average_are_a_warning(tmp_path):
    path = tmp_path / "a.safetensors"
    gl.compile_step(model_of(), loss_fn, optim.EMA(optim.SGD(0.5), 0.5), BATCH).save(path)
    step = gl.compile_step(model_of(), loss_fn, optim.EMA(optim.SGD(0.5, momentum=0.0, dampening=0.5), 0.9), BATCH)
    with pytest.warns(gl.CheckpointWarning, match=r"EMA's decay: 0\.5 before, 0\.9 now\n  SGD's dampening: 0\.0 bef"):
        step.load(path)


def test_options_go_to_what_is_wrapped():
    assert optim.EMA(optim.AdamW(1e-3), 0.5).with_options(lr=0.5, decay=0.25) == optim.EMA(optim.AdamW(0.5), 0.25)
    assert optim.EMA(optim.AdamW(0.5)).lr == 0.5
    assert optim.EMA(optim.AdamW(optim.StepDecay(0.5, 1, 0.5))).learning_rate(2) == 0.125


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.EMA(optim.AdamW), TypeError, "EMA wraps an optimizer, got the class AdamW; write gl.optim.EMA"),
        (lambda: optim.EMA(0.999), TypeError, r"EMA wraps an optimizer, got a float;.*, at .*test_averaging\.py:\d"),
        (lambda: optim.SWA(nn.Linear(2, 2)), TypeError, "SWA wraps an optimizer, got a Linear"),
        (lambda: optim.EMA(optim.SGD(), 1.5), ValueError, "EMA: decay is from 0 to 1, got 1.5"),
        (lambda: optim.EMA(optim.SGD(), True), ValueError, "EMA: decay is from 0 to 1, got True"),
        (lambda: optim.SWA(optim.SGD(), -1), ValueError, "SWA: start is a whole number of 0 or more, got -1"),
        (lambda: optim.SWA(optim.SGD(), 0, 0), ValueError, "SWA: every is a whole number of 1 or more, got 0"),
        (lambda: optim.groups({"a": optim.EMA(optim.SGD())}, optim.SGD()), TypeError, "goes around all groups"),
    ],
)
def test_bad_averages_are_told(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_step_without_averages_says_how_to_have_them():
    step = gl.compile_step(model_of(), loss_fn, optim.AdamW(0.5), BATCH)
    message = r"AdamW keeps no average of the parameters; wrap it, as in gl\.optim\.EMA\(AdamW\(\.\.\.\), 0\.999\)"
    for read in (step.averaged_parameters, lambda: step.bind(lambda m, x: m(x), averaged=True)):
        with pytest.raises(ValueError, match=message):
            read()


def test_what_computes_with_averages_may_not_assign_to_them():
    step = gl.compile_step(model_of(), loss_fn, optim.EMA(optim.SGD(0.5)), BATCH)

    def assign(model, x):
        model[0].bias = model[0].bias + 1
        return model(x)

    with pytest.raises(TypeError, match=r"averaged=True assigns 0\.bias: the averages are the optimizer's alone"):
        step.bind(assign, averaged=True)(BATCH["x"])


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_averages_are_torchs(kind):
    torch = pytest.importorskip("torch")
    swa_utils = torch.optim.swa_utils
    inner = optim.AdamW(0.05)
    optimizer = optim.EMA(inner, 0.9) if kind == "ema" else optim.SWA(inner)
    function = swa_utils.get_ema_multi_avg_fn(0.9) if kind == "ema" else swa_utils.get_swa_multi_avg_fn()
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    step = gl.compile_step(model, loss_fn, optimizer, BATCH, threads=1)
    peer = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    peer.load_state_dict({name: torch.tensor(array) for name, array in step.parameters().items()})
    theirs, average = torch.optim.AdamW(peer.parameters(), 0.05), swa_utils.AveragedModel(peer, multi_avg_fn=function)
    for _ in range(20):
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(peer(torch.tensor(BATCH["x"])), torch.tensor(BATCH["y"])).backward()
        theirs.step()
        average.update_parameters(peer)
        step(BATCH)
    for name, parameter in average.module.named_parameters():
        np.testing.assert_allclose(step.averaged_parameters()[name], parameter.detach().numpy(), rtol=1e-4, atol=1e-5)
