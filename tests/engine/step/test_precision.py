"""`precision=`: a step of bfloat16 products and activations, with float32 parameters, state, sums and losses."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.ir import BFLOAT16
from gradloom.passes.graph.rewrite import all_nodes
from gradloom.tools.find_recipe import make_recipe
from gradloom.tools.training_data import RandomBatches

BATCH = {"x": gl.spec((32, 48)), "y": gl.spec((32,), "int64")}


def classifier():
    body = (nn.Linear(48, 64), nn.LayerNorm(64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 64), nn.ReLU())
    return nn.Sequential(*body, nn.Linear(64, 10))


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def batches(count, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((48, 10))
    for _ in range(count):
        x = rng.standard_normal((32, 48), np.float32)
        yield {"x": x, "y": (x @ weight).argmax(1)}


def make(precision="bf16", model=None, optimizer=None, **options):
    return gl.compile_step(
        model or classifier(), loss_fn, optimizer or gl.optim.AdamW(1e-3), BATCH, precision=precision, **options
    )


def bits(step):
    return {name: value.tobytes() for name, value in step.parameters().items()}


def trained(count=5, **options):
    step = make(**options)
    losses = [float(step(batch)) for batch in batches(count)]
    return losses, bits(step), step


def test_losses_stay_within_a_percent_of_float32_over_200_steps():
    rounded, exact = trained(200)[0], trained(200, precision="fp32")[0]
    np.testing.assert_allclose(rounded, exact, rtol=0.01, atol=0.01)
    assert rounded != exact
    assert exact[-1] < exact[0] / 2


def test_parameters_state_and_results_are_float32_and_the_graph_is_bfloat16():
    _, _, step = trained(1)
    assert {v.dtype.name for v in step.parameters().values()} == {"float32"}
    plan = gl.plan_step(classifier(), loss_fn, gl.optim.AdamW(1e-3), BATCH, precision="bf16")
    graph = plan.graph
    assert BFLOAT16 not in {v.type.dtype for v in (*graph.inputs, *graph.outputs)}
    of = {name: {v.type.dtype.name for n in all_nodes(graph) if n.op.name == name for v in n.inputs} for name in OPS}
    assert of == {"dot": {"bfloat16", "float32"}, "reduce_sum": {"float32"}, "exp": {"float32"}, "log": {"float32"}}
    plan.report.check()


OPS = ("dot", "reduce_sum", "exp", "log")


def test_fp32_is_the_step_without_a_precision():
    step = gl.compile_step(classifier(), loss_fn, gl.optim.AdamW(1e-3), BATCH)
    losses = [float(step(batch)) for batch in batches(3)]
    assert trained(3, precision="fp32")[:2] == (losses, bits(step))


class Deep(nn.Module):
    """Batch norm keeps the batch whole: there is something to recompute."""

    def __init__(self):
        layers = [nn.Sequential(nn.Linear(48, 48), nn.BatchNorm1d(48), nn.Tanh()) for _ in range(4)]
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(48, 10)

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x)


def test_a_budget_changes_no_bit():
    batch = {"x": gl.spec((512, 48)), "y": gl.spec((512,), "int64")}
    rng = np.random.default_rng(0)
    given = [{"x": rng.standard_normal((512, 48), np.float32), "y": rng.integers(0, 10, 512)} for _ in range(3)]
    found, arenas = [], []
    for memory in (None, "75%"):
        step = gl.compile_step(Deep(), loss_fn, gl.optim.SGD(0.1), batch, memory=memory, precision="bf16")
        found.append(([float(step(one)) for one in given], bits(step)))
        arenas.append(step.report.arena_bytes)
        step.report.check()
    assert arenas[0] > arenas[1]
    assert found[0] == found[1]


def test_threads_change_no_bit():
    assert trained(3, threads=1)[:2] == trained(3, threads=2)[:2]


@pytest.mark.parametrize(
    "options",
    [{"accumulate": 4}, {"clip_norm": 0.5}, {"diagnose": True}, {"check_finite": True}, {"train": "4.*"}],
    ids=str,
)
def test_it_goes_with_other_options(options):
    rounded, exact = trained(3, **options)[0], trained(3, precision="fp32", **options)[0]
    np.testing.assert_allclose(rounded, exact, rtol=0.01)


def test_averages_are_float32():
    step = make(optimizer=gl.optim.EMA(gl.optim.AdamW(1e-3), 0.9))
    for batch in batches(3):
        step(batch)
    assert {v.dtype.name for v in step.averaged_parameters().values()} == {"float32"}


def test_a_checkpoint_goes_on_to_the_same_bits_and_warns_of_another_precision(tmp_path):
    path = tmp_path / "run.safetensors"
    step = make()
    given = list(batches(4))
    for batch in given[:2]:
        step(batch)
    step.save(path)
    again = make()
    again.load(path)
    assert [float(again(batch)) for batch in given[2:]] == [float(step(batch)) for batch in given[2:]]
    with pytest.warns(gl.CheckpointWarning, match="precision"):
        make(precision="fp32", model=classifier()).load(path)


def test_bound_functions_have_the_precision_of_the_step():
    (batch,) = batches(1)
    by_precision = {p: make(p).bind(lambda model, x: model(x))(batch["x"]) for p in ("fp32", "bf16")}
    assert by_precision["bf16"].dtype == np.float32
    assert np.array_equal(by_precision["bf16"], by_precision["bf16"].astype(BFLOAT16).astype(np.float32))
    np.testing.assert_allclose(by_precision["bf16"], by_precision["fp32"], atol=0.03)
    assert not np.array_equal(by_precision["bf16"], by_precision["fp32"])


def test_gradients_are_those_of_the_step():
    (batch,) = batches(1)
    found = {p: make(p).gradients(batch) for p in ("fp32", "bf16")}
    for name, exact in found["fp32"].items():
        assert found["bf16"][name].dtype == np.float32
        np.testing.assert_allclose(found["bf16"][name], exact, atol=0.05 * np.abs(exact).max())


def test_the_emulated_gpu_trains_so():
    model = nn.Sequential(nn.Linear(48, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 10))
    losses = {
        target: [float(step(batch)) for batch in batches(2)]
        for target in ("cpu", "cuda-emulated")
        for step in [make(model=model, target=target)]
    }
    np.testing.assert_allclose(losses["cuda-emulated"], losses["cpu"], rtol=1e-3)


def test_plans_for_gpus_are_verified():
    batch = {"x": gl.spec((512, 48)), "y": gl.spec((512,), "int64")}
    plan = gl.plan_step(
        Deep(), loss_fn, gl.optim.AdamW(1e-3), batch, precision="bf16", target="cuda:h100", memory="80%"
    )
    plan.report.check()


def test_a_compiled_function_may_have_it():
    def f(x, w):
        return np.tanh(x @ w)

    x, w = np.random.default_rng(0).standard_normal((2, 8, 8), np.float32)
    rounded = gl.compile(f, precision="bf16")(x, w)
    assert rounded.dtype == np.float32
    wide = [a.astype(BFLOAT16).astype(np.float32) for a in (x, w)]
    expected = np.tanh((wide[0] @ wide[1]).astype(BFLOAT16).astype(np.float32)).astype(BFLOAT16)
    np.testing.assert_allclose(rounded, expected.astype(np.float32), rtol=2**-7)
    assert not np.array_equal(rounded, gl.compile(f)(x, w))
    with pytest.raises(ValueError, match="precision"):
        gl.compile(f, precision="half")


def test_tf32_is_of_gpus():
    with pytest.raises(gl.TargetError, match=r"tensor cores of a GPU.*leave precision out"):
        make("tf32")
    plan = gl.plan_step(classifier(), loss_fn, gl.optim.SGD(0.1), BATCH, precision="tf32", target="cuda:h100")
    assert plan.report.target is not None
    assert plan.report.target.precision == "tf32"


def test_a_wrong_precision_says_what_to_write():
    with pytest.raises(ValueError, match="write precision='bf16'"):
        make("mixed")


class Recurrent(nn.Module):
    def __init__(self, kind):
        self.rnn = kind(48, 24, batch_first=True)
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_networks_train(kind):
    batch = {"x": gl.spec((8, 12, 48)), "y": gl.spec((8,), "int64")}
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((8, 12, 48), np.float32), "y": rng.integers(0, 10, 8)}
    found = {}
    for precision in ("fp32", "bf16"):
        step = gl.compile_step(Recurrent(kind), loss_fn, gl.optim.Adam(1e-2), batch, precision=precision)
        found[precision] = [float(step(data)) for _ in range(12)]
    np.testing.assert_allclose(found["bf16"], found["fp32"], rtol=0.03)
    assert found["bf16"][-1] < found["bf16"][0] / 2


class Images(nn.Module):
    def __init__(self):
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        h = nn.relu(self.norm1(self.conv1(x)))
        h = nn.relu(h + self.norm2(self.conv2(h)))
        return self.head(nn.max_pool2d(h, 2).mean(axis=(2, 3)))


def test_convolutions_train():
    batch = {"x": gl.spec((8, 3, 12, 12)), "y": gl.spec((8,), "int64")}
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((8, 3, 12, 12), np.float32), "y": rng.integers(0, 10, 8)}
    found = {}
    for precision in ("fp32", "bf16"):
        step = gl.compile_step(Images(), loss_fn, gl.optim.Adam(1e-2), batch, precision=precision)
        found[precision] = [float(step(data)) for _ in range(12)]
        step.report.check()
    np.testing.assert_allclose(found["bf16"], found["fp32"], rtol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp_s", "mlp_m", "gpt", "cnn", "lstm_bench"])
def test_losses_of_the_workloads_stay_within_a_percent_over_200_steps(name):
    losses, arenas = {}, {}
    for precision in ("fp32", "bf16"):
        model, loss, optimizer, batch = make_recipe(name)
        given = RandomBatches(batch, seed=0)
        # A batch of its own for each step: learning a few by heart goes its own way after the first rounding.
        data = [next(given.epoch(i)) for i in range(200)]
        step = gl.compile_step(model, loss, optimizer, batch, precision=precision)
        results = [step(one) for one in data]
        losses[precision] = [float(r[0] if isinstance(r, tuple) else r) for r in results]
        arenas[precision] = step.report.arena_bytes
    np.testing.assert_allclose(losses["bf16"], losses["fp32"], rtol=0.01, atol=0.02)
    if name not in ("mlp_s", "mlp_m"):  # whose weights, widened for one product, are larger than their activations
        assert arenas["bf16"] < arenas["fp32"]
