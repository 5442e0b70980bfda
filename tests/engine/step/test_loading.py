"""Loading into a step what is not a checkpoint of its own: other names, other dtypes, a part, weights alone."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

RNG = np.random.default_rng(0)
BATCH = {"x": RNG.standard_normal((4, 3), np.float32), "y": RNG.standard_normal((4, 2), np.float32)}


class Model(nn.Module):
    def __init__(self):
        self.body = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 2)
        self.register_buffer("scale", np.full(4, 2.0, "float32"), persistent=False)

    def forward(self, x):
        return self.head(self.norm(self.body(x)) * self.scale)


def loss_fn(model, batch):
    return nn.mse_loss(model(batch["x"]), batch["y"])


def a_step(dtype="float32", seed=0):
    batch = {name: array.astype(dtype) for name, array in BATCH.items()}
    return gl.compile_step(Model().to(dtype), loss_fn, optim.Adam(1e-2), batch, threads=1, seed=seed)


def arrays_of(step):
    return step.parameters() | step.buffers()


@pytest.fixture(scope="module")
def step():
    return a_step()


@pytest.fixture
def trained(tmp_path):
    step = a_step(seed=5)
    for _ in range(3):
        step(BATCH)
    step.save(tmp_path / "trained")
    return tmp_path / "trained", arrays_of(step)


def test_arrays_are_read_and_written_by_name(tmp_path):
    gl.save_arrays(tmp_path / "a", {"x": np.eye(2), "y": np.arange(3)}, {"who": "me"})
    found = gl.load_arrays(tmp_path / "a")
    assert list(found) == ["x", "y"]
    np.testing.assert_array_equal(found["x"], np.eye(2))
    with pytest.raises(gl.CheckpointError, match="there is no such file"):
        gl.load_arrays(tmp_path / "b")


def test_weights_alone_leave_the_optimizer_fresh(step, trained):
    path, arrays = trained
    step(BATCH)
    assert step.load(path, weights_only=True) == {}
    assert step.steps == 0
    assert not step.state()["exp_avg.body.weight"].any()
    for name, array in arrays_of(step).items():
        np.testing.assert_array_equal(array, arrays[name])
    other = gl.compile_step(Model(), loss_fn, optim.SGD(0.1), BATCH, threads=1)
    with pytest.raises(gl.CheckpointError, match="come from Adam, the step's optimizer is SGD"):
        other.load(path)
    other.load(path, weights_only=True)
    np.testing.assert_array_equal(other.parameters()["head.bias"], arrays["head.bias"])


def test_a_part_of_a_file_is_taken_up_where_it_is_not_strict(step, trained, tmp_path):
    _, arrays = trained
    before = arrays_of(step)
    gl.save_arrays(tmp_path / "part", {"head.bias": arrays["head.bias"] + 1, "more": np.ones(3)})
    with pytest.raises(gl.CheckpointError, match=r"(?s)missing: body.weight.*not in the model: more"):
        step.load(tmp_path / "part")
    step.load(tmp_path / "part", strict=False)
    for name, array in arrays_of(step).items():
        np.testing.assert_array_equal(array, arrays[name] + 1 if name == "head.bias" else before[name])
    gl.save_arrays(tmp_path / "none", {"more": np.ones(3)})
    gl.save_arrays(tmp_path / "wide", {"head.bias": np.ones(3, "float32"), "body.bias": np.ones(4, "float32")})
    with pytest.raises(gl.CheckpointError, match="not in the model: more"):
        step.load(tmp_path / "none", strict=False)
    with pytest.raises(gl.CheckpointError, match=r"head\.bias has shape \(3,\), the model's is \(2,\)"):
        step.load(tmp_path / "wide", strict=False)
    assert step.parameters()["body.bias"].tolist() == before["body.bias"].tolist()


def test_names_are_changed_as_they_are_read(step, trained, tmp_path):
    path, arrays = trained
    gl.save_arrays(tmp_path / "theirs", {f"module.{n.replace('body', 'trunk')}": a for n, a in arrays.items()})
    step.load(tmp_path / "theirs", rename={"module.trunk.*": "body.*", "module.*": "*"})
    for name, array in arrays_of(step).items():
        np.testing.assert_array_equal(array, arrays[name])
    step.load(path, rename={"head.*": None}, strict=False)
    with pytest.raises(gl.CheckpointError, match=r"missing: head\.weight, head\.bias"):
        step.load(path, rename={"head.*": None})
    with pytest.raises(ValueError, match=r"'hed\.\*' fits none"):
        step.load(path, rename={"hed.*": None})


def test_buffers_that_are_no_part_of_state_dicts_may_be_missing(step, trained, tmp_path):
    _, arrays = trained
    gl.save_arrays(tmp_path / "state", {name: a + 1 for name, a in arrays.items() if name != "scale"})
    step.load(tmp_path / "state")
    np.testing.assert_array_equal(step.buffers()["scale"], 2)
    np.testing.assert_array_equal(step.parameters()["head.bias"], arrays["head.bias"] + 1)


def test_narrower_floats_are_widened_and_wider_ones_refused(step, trained, tmp_path):
    _, arrays = trained
    gl.save_arrays(tmp_path / "single", arrays)
    wide = a_step("float64")
    wide.load(tmp_path / "single")
    for name, array in arrays_of(wide).items():
        np.testing.assert_array_equal(array, arrays[name])
    wide.set_parameters({name: a.astype("float16") if a.dtype.kind == "f" else a for name, a in arrays.items()})
    np.testing.assert_array_equal(wide.parameters()["head.bias"], arrays["head.bias"].astype("float16"))
    wide.save(tmp_path / "double")
    with pytest.raises(
        gl.CheckpointError, match=r"head\.bias is float64, the model's is float32; step\.load_state_dict"
    ):
        step.load(tmp_path / "double", weights_only=True)
    step.load_state_dict(gl.load_arrays(tmp_path / "double"), strict=False)
    np.testing.assert_array_equal(step.parameters()["head.bias"], arrays["head.bias"].astype("float16"))


@pytest.mark.peers
def test_halves_of_torch_are_read_bit_for_bit(step, trained, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    _, arrays = trained
    special = torch.tensor([float("inf"), float("nan"), -0.0, 1e-40, 3e38, 65504, 2**-24, 1 / 3])
    wide = a_step("float64")
    for dtype in (torch.bfloat16, torch.float16):
        state = {n: torch.tensor(a) for n, a in arrays.items()}
        state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}
        state |= {"large": torch.randn(3_000_000).to(dtype), "special": special.to(dtype)}
        save_file(state, tmp_path / "half")
        found = gl.load_arrays(tmp_path / "half")
        for name, tensor in state.items():
            np.testing.assert_array_equal(found[name], tensor.float().numpy())
        for each in (step, wide):
            each.load(tmp_path / "half", rename={"large": None, "special": None})
            for name, array in arrays_of(each).items():
                np.testing.assert_array_equal(array, state[name].float().numpy())
        state.pop("large"), state.pop("special")
        step.set_parameters({name: tensor.requires_grad_(tensor.is_floating_point()) for name, tensor in state.items()})
        np.testing.assert_array_equal(step.parameters()["body.bias"], state["body.bias"].detach().float().numpy())
