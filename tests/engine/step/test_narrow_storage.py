"""What is stored in bfloat16 while all arithmetic is float32: values that the backward reads, and moments."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import gradloom as gl
import ml_dtypes
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.step.narrow_moments import moment_of, stored_moment
from gradloom.engine.step.step_graph import trace_step
from gradloom.engine.tracing.precisions import checked_precision
from gradloom.ir import FLOAT16, Graph

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
RNG = np.random.default_rng(0)
BOTH = {"kept": "bf16", "moments": "bf16"}


class Blocks(nn.Module):
    """Layers with statistics of rows, an activation whose backward is no sign, and a softmax."""

    def __init__(self):
        self.norms = nn.ModuleList([nn.LayerNorm(24) for _ in range(4)])
        self.ups = nn.ModuleList([nn.Linear(24, 96) for _ in range(4)])
        self.downs = nn.ModuleList([nn.Linear(96, 24) for _ in range(4)])
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        for norm, up, down in zip(self.norms, self.ups, self.downs):
            x = x + down(nn.functional.gelu(up(norm(x))))
        return self.head(nn.functional.softmax(x, dim=-1))


class Recurrent(nn.Module):
    def __init__(self):
        self.lstm, self.head = nn.LSTM(24, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch["x"]), batch["y"])


def batch_of(*shape: int) -> dict[str, np.ndarray]:
    return {"x": RNG.normal(size=(*shape, 24)).astype("float32"), "y": RNG.integers(0, 5, shape[0])}


WIDE, LONG = batch_of(512), batch_of(16, 40)
CASES = [(Blocks, WIDE), (Recurrent, LONG)]


def crossing(graph: Graph) -> set[tuple[int, ...]]:
    """The shapes of the float32 values that the forward makes of the batch, and later nodes read; without one row of
    numbers for each.
    """
    later = [node for node in graph.nodes if node.origin.role in ("backward", "recompute")]
    return {
        v.type.shape
        for node in later
        for v in node.inputs
        if v.type.dtype == np.float32
        and len(v.type.shape) > 1
        and v.type.shape[-1] > 1
        and v.node is not None
        and v.node.origin.role == "forward"
        and not v.node.op.is_view
        and v.node.inputs
        and v.node.inputs[0].type.dtype != BFLOAT16
    }


@pytest.mark.parametrize(("model", "batch"), CASES)
def test_the_backward_reads_what_is_kept_rounded(model: type[nn.Module], batch: dict[str, np.ndarray]):
    wide = trace_step(model(), loss, gl.optim.SGD(), batch).graph
    narrow = trace_step(model(), loss, gl.optim.SGD(), batch, precision="kept=bf16").graph
    assert crossing(wide)
    assert not crossing(narrow)
    assert [v.type for v in wide.outputs] == [v.type for v in narrow.outputs]


@pytest.mark.parametrize(("model", "batch"), CASES)
def test_steps_train_alike_in_fewer_bytes(model: type[nn.Module], batch: dict[str, np.ndarray]):
    exact, narrow = (gl.compile_step(model(), loss, gl.optim.Adam(lr=3e-3), batch, precision=p) for p in ("fp32", BOTH))
    assert narrow.report.precision == "kept=bf16,moments=bf16"
    assert narrow.report.state_bytes < 0.51 * exact.report.state_bytes
    assert narrow.report.arena_bytes < exact.report.arena_bytes
    for name, gradient in exact.gradients(batch).items():
        rounded = narrow.gradients(batch)[name]
        assert np.linalg.norm(rounded - gradient) <= 0.01 * np.linalg.norm(gradient), name
    losses = [(float(exact(batch)), float(narrow(batch))) for _ in range(40)]
    np.testing.assert_allclose(losses[0][1], losses[0][0], rtol=1e-6)  # the forward rounds nothing
    assert losses[-1][0] < 0.9 * losses[0][0]
    np.testing.assert_allclose(losses[-1][1], losses[-1][0], rtol=0.01)


@pytest.mark.parametrize(("widths", "rows"), [((8, 16, 4), 4), ((8, 16, 4), 128), ((64, 64, 64, 10), 32)])
def test_nothing_is_rounded_where_the_arena_would_grow(widths: tuple[int, ...], rows: int):
    def plan(precision: object):
        layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.GELU())]
        batch = {"x": gl.spec((rows, widths[0])), "y": gl.spec(rows, "int64")}
        return gl.plan_step(nn.Sequential(*layers[:-1]), loss, gl.optim.SGD(), batch, precision=precision, threads=1)

    exact, narrow = plan("fp32"), plan({"kept": "bf16"})
    assert narrow.report.arena_bytes <= exact.report.arena_bytes
    assert (narrow.report.precision == "fp32") == (narrow.report.arena_bytes == exact.report.arena_bytes)


def test_threads_budgets_and_files_keep_the_bits(tmp_path: Path):
    def step(**options):
        return gl.compile_step(Recurrent(), loss, gl.optim.AdamW(), LONG, precision=BOTH, **options)

    whole, one = step(), step(threads=1)
    tight = step(memory="90%")
    assert tight.report.total_bytes < whole.report.total_bytes
    losses = [whole(LONG) for _ in range(3)]
    assert [one(LONG) for _ in range(3)] == losses
    # On some targets nothing but smaller tiles of the batch fits that, and the report says so.
    assert "tiles of" in tight.report.other_bits or [tight(LONG) for _ in range(3)] == losses
    whole.save(tmp_path / "step.safetensors")
    again = step()
    again.load(tmp_path / "step.safetensors")
    assert again(LONG) == whole(LONG)
    exact = gl.compile_step(Recurrent(), loss, gl.optim.AdamW(), LONG)
    with pytest.warns(gl.CheckpointWarning, match=r"precision: 'kept=bf16,moments=bf16' before, 'fp32' now"):
        exact.load(tmp_path / "step.safetensors")
    moment = next(name for name, array in whole.state().items() if name.startswith("exp_avg"))
    assert whole.state()[moment].dtype == BFLOAT16
    assert exact.state()[moment].dtype == np.float32


@pytest.mark.parametrize("before", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("now", ["fp32", "bf16", "fp16"])
def test_moments_of_a_file_are_taken_up_in_the_dtype_of_the_step(tmp_path: Path, before: str, now: str):
    def step_of(half: str) -> gl.Step:
        return gl.compile_step(Blocks(), loss, gl.optim.AdamW(), WIDE, precision={"moments": half})

    step, other = step_of(before), step_of(now)
    for _ in range(3):
        step(WIDE)
    step.save(tmp_path / "step.safetensors")
    with nullcontext() if before == now else pytest.warns(gl.CheckpointWarning, match="precision: "):
        other.load(tmp_path / "step.safetensors")
    for name, moment in step.state().items():
        if name.startswith("exp_avg"):
            taken = other.state()[name]
            assert taken.dtype == {"fp32": np.float32, "bf16": BFLOAT16, "fp16": np.float32}[now]  # roots are squared
            wide, near = taken.astype("float64"), moment.astype("float64")
            step_between = {"fp32": 0, "bf16": 2.0**-7, "fp16": 2.0**-9}[now] * (before != now)
            assert (np.abs(wide - near) <= step_between * np.abs(near) + 1e-11 * (now == "fp16")).all(), name
    assert other.steps == 3
    assert np.isfinite(other(WIDE))


def test_a_model_of_float64_is_told_that_nothing_of_it_is_rounded():
    def plan(dtype: str, **options: object) -> gl.MemoryReport:
        batch = {"x": WIDE["x"].astype(dtype), "y": WIDE["y"]}
        return gl.plan_step(nn.Linear(24, 5, dtype=dtype), loss, gl.optim.Adam(), batch, **options).report

    for precision in ("bf16", "fp16", BOTH):
        with pytest.warns(UserWarning, match="rounds float32, and the parameters are float64: nothing of them"):
            narrow = plan("float64", precision=precision)
        assert narrow.state_bytes - plan("float64").state_bytes in (0, 20)  # loss scaling has some numbers of its own
    assert plan("float32", precision=BOTH).state_bytes < plan("float32").state_bytes


def test_moments_round_up_and_down_as_often_as_they_are_near():
    numbers = RNG.normal(size=200_000).astype("float32") * 10.0 ** RNG.integers(-12, 12, 200_000).astype("float32")
    rounded = stored_moment(numbers, BFLOAT16)
    assert rounded.dtype == BFLOAT16
    wide = rounded.astype("float64")
    error = np.abs(wide - numbers) / np.abs(numbers)
    assert error.max() <= 2**-7
    steps = wide - numbers
    near = np.abs(numbers.astype(BFLOAT16).astype("float64") - numbers)
    assert 0.2 < np.mean(np.abs(steps) > near * 1.01) < 0.3  # a quarter of all goes to the farther neighbour
    assert abs(np.mean(steps / np.abs(numbers))) < 2e-5
    with np.errstate(all="ignore"):
        check_special_numbers()


def check_special_numbers():
    special = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, 3e38, 1e-40, -1e-45], "float32")
    np.testing.assert_array_equal(stored_moment(special, BFLOAT16)[:6], special[:6].astype(BFLOAT16))
    assert np.isfinite(stored_moment(special, BFLOAT16)[6:].astype("float32")).all()
    assert np.isnan(stored_moment(np.array([np.nan], "float32"), BFLOAT16).astype("float32")).all()


def test_moments_in_float16_are_roots_that_hold_squares_of_small_gradients():
    numbers = RNG.normal(size=100_000).astype("float32") * 10.0 ** RNG.integers(-16, 6, 100_000).astype("float32")
    stored = stored_moment(numbers, FLOAT16)
    assert stored.dtype == FLOAT16
    again = moment_of(stored)
    assert (np.sign(again) == np.sign(numbers)).all()
    normal = np.abs(numbers) > 1e-9
    assert (np.abs(again - numbers) <= 2.0**-9 * np.abs(numbers))[normal].all()
    error = again.astype("float64")[normal] / numbers[normal] - 1
    assert abs(error.mean()) < 1e-5
    assert moment_of(stored_moment(again, FLOAT16)).tobytes() == again.tobytes()  # what is stored already stays
    with np.errstate(over="ignore"):
        special = moment_of(stored_moment(np.array([0.0, -0.0, 1e-45, -1e-30, 1e30, np.inf], "float32"), FLOAT16))
    np.testing.assert_array_equal(np.sign(special), [0, 0, 1, -1, 1, 1])
    assert np.isfinite(special).all()
    assert np.isnan(moment_of(stored_moment(np.array([np.nan], "float32"), FLOAT16))).all()


def test_averages_of_parameters_and_factors_of_moments_stay_wide():
    averaged = trace_step(Blocks(), loss, gl.optim.EMA(gl.optim.Adam(), 0.99), WIDE, precision="moments=bf16")
    for name, type in averaged.state:
        assert (type.dtype == BFLOAT16) == name.startswith(("exp_avg.", "exp_avg_sq.")), name
    factored = trace_step(Blocks(), loss, gl.optim.Adafactor(), WIDE, precision="moments=bf16")
    for name, type in factored.state:
        assert (type.dtype == BFLOAT16) == name.startswith("variance."), name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"kept": "bf16"}, "kept=bf16"),
        ({"moments": "bf16", "kept": "bf16"}, "kept=bf16,moments=bf16"),
        ({"moments": "bf16", "products": "bf16"}, "products=bf16,moments=bf16"),
        ({"kept": "fp32", "products": "bf16"}, "bf16"),
        ({}, "fp32"),
        (" moments=bf16, kept=bf16", "kept=bf16,moments=bf16"),
        ({"parameters": "bfloat16", "moments": "float16"}, "moments=fp16,parameters=bf16"),
        ({"products": "float16"}, "fp16"),
    ],
)
def test_a_precision_has_one_name(given: object, name: str):
    assert checked_precision(given) == name
    assert checked_precision(name) == name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kept": "fp8"}, "of kept is 'fp32', 'bf16' or 'fp16', got 'fp8'"),
        ({"grads": "bf16"}, "has no 'grads'; it is a dict of products, kept, moments, parameters"),
        ("kept", r'a dict of what is rounded, got .kept.; write precision="bf16", or dict\(kept="bf16"\)'),
        (3, "got 3"),
    ],
)
def test_other_precisions_are_refused(given: object, message: str):
    with pytest.raises(ValueError, match=message):
        gl.plan_step(Blocks(), loss, gl.optim.SGD(), WIDE, precision=given)


def test_functions_store_nothing_for_later():
    with pytest.raises(ValueError, match=r"kept is of training steps.*write precision='bf16' here"):
        gl.compile(np.sin, precision={"kept": "bf16", "products": "bf16"})
