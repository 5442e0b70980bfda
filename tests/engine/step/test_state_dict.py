"""State dicts of a step, and files with the weights alone."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

X = np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32)


class Tied(nn.Module):
    """A tied parameter, running statistics, and a buffer that is no part of state dicts."""

    def __init__(self):
        self.first = nn.Linear(3, 3, bias=False)
        self.norm = nn.BatchNorm1d(3)
        self.last = nn.Linear(3, 3)
        self.last.weight = self.first._parameters["weight"]
        self.seen = nn.Buffer((2,), persistent=False)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


def compiled(seed=0, model=None):
    return gl.compile_step(model or Tied(), lambda m, x: (m(x) ** 2).mean(), gl.optim.Adam(0.1), X, seed=seed)


def torch_twin():
    torch = pytest.importorskip("torch")

    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 3, bias=False)
            self.norm = torch.nn.BatchNorm1d(3)
            self.last = torch.nn.Linear(3, 3)
            self.last.weight = self.first.weight
            self.register_buffer("seen", torch.zeros(2), persistent=False)

        forward = Tied.forward

    return torch, Twin()


NAMES = ["first.weight", "norm.weight", "norm.bias", "last.weight", "last.bias"]
STATISTICS = ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]


def test_a_state_dict_has_live_copies_under_every_persistent_name():
    step = compiled()
    step(X)
    held = step.state_dict()
    assert sorted(held) == sorted([*NAMES, *STATISTICS])
    assert held["first.weight"] is held["last.weight"]
    assert held["norm.num_batches_tracked"] == 1
    for name, array in {**step.parameters(), **step.buffers()}.items():
        if name != "seen":
            np.testing.assert_array_equal(held[name], array)
    held["norm.bias"][:] = 7
    assert (step.state_dict()["norm.bias"] != 7).all()


def test_a_state_dict_is_loaded_whole_and_in_part_and_keeps_the_optimizers_state():
    step, other = compiled(), compiled(seed=1)
    step(X)
    assert other.load_state_dict(step.state_dict()) == ([], [])
    for name, array in step.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)
    assert other.steps == 0
    part = {"last.weight": np.ones((3, 3)), "head.bias": np.ones(2)}  # float64, and one that is not there
    missing, unexpected = other.load_state_dict(part, strict=False)
    assert sorted(missing) == sorted({*NAMES, *STATISTICS} - {"first.weight", "last.weight"})
    assert unexpected == ["head.bias"]
    assert (other.parameters()["first.weight"] == 1).all()


def test_a_state_dict_that_does_not_fit_changes_nothing():
    step = compiled()
    before = step.state_dict()
    short = {name: array for name, array in before.items() if name != "norm.running_var"}
    for wrong, message in (
        (short, "missing: norm.running_var"),
        ({**before, "head": np.ones(2)}, "not in the model: head"),
        ({**before, "last.bias": np.ones(2)}, r"last.bias has shape \(2,\)"),
        ({**before, "last.weight": np.ones((3, 3))}, "first.weight and last.weight differ"),
        ({**before, "norm.num_batches_tracked": np.array(1.5)}, "num_batches_tracked is float64"),
    ):
        with pytest.raises(gl.CheckpointError, match=message):
            step.load_state_dict({name: array + 1 if name == "norm.bias" else array for name, array in wrong.items()})
    with pytest.raises(TypeError, match=r"a state dict is a dict of arrays by name, got list, at .*test_state_dict"):
        step.load_state_dict([])
    for name, array in step.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_file_of_weights_alone_has_the_state_dict_and_no_more(tmp_path):
    step, path = compiled(), tmp_path / "weights.safetensors"
    step(X)
    step.save(path, {"epoch": "3"}, weights_only=True)
    arrays = gl.load_arrays(path)
    held = step.state_dict()
    assert arrays.keys() == held.keys()
    assert all(np.array_equal(arrays[name], held[name]) for name in held)
    other = compiled(seed=1)
    assert other.load(path)["epoch"] == "3"
    assert other.steps == 0
    assert np.array_equal(other.bind(lambda m, x: m(x))(X), step.bind(lambda m, x: m(x))(X))


@pytest.mark.peers
def test_torch_loads_a_file_of_weights_with_strict_and_we_load_its_state_dict(tmp_path):
    torch, twin = torch_twin()
    load_file = pytest.importorskip("safetensors.torch").load_file
    step = compiled()
    for _ in range(3):
        step(X)
    step.save(tmp_path / "w.safetensors", weights_only=True)
    twin.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    twin.eval()
    with torch.no_grad():
        expected = twin(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(step.bind(lambda m, x: m(x))(X), expected, rtol=1e-5, atol=1e-6)
    assert sorted(twin.state_dict()) == sorted(step.state_dict())
    other = compiled(seed=1)
    assert other.load_state_dict(twin.state_dict()) == ([], [])
    assert np.array_equal(other.bind(lambda m, x: m(x))(X), step.bind(lambda m, x: m(x))(X))
