"""State dicts of models, and the walks over their modules and parameters: as torch gives them."""

import gc
import inspect

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn


class Tied(nn.Module):
    """A table that is the head too, a norm with buffers, and a buffer that is no part of state dicts."""

    def __init__(self):
        self.embed = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("angles", np.arange(3.0), persistent=False)

    def forward(self, tokens):
        return self.head(self.norm(self.embed(tokens)) * self.angles.astype("float32"))


def torchs_tied(torch):
    class Peer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(5, 3)
            self.norm = torch.nn.BatchNorm1d(3)
            self.head = torch.nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight
            self.register_buffer("angles", torch.arange(3.0), persistent=False)

    return Peer()


def test_a_state_dict_has_the_initial_values_of_a_seed_under_every_name():
    model = Tied()
    state = model.state_dict(seed=3)
    assert list(state) == [
        "embed.weight",
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
        "head.weight",
    ]
    assert state["head.weight"] is state["embed.weight"]
    for name, array in nn.init_parameters(model, seed=3).items():
        np.testing.assert_array_equal(state[name], array)
    assert (model.state_dict()["embed.weight"] != state["embed.weight"]).any()
    into = {"mine": 1}
    assert model.norm.state_dict(destination=into, prefix="n.") is into
    assert list(into)[:2] == ["mine", "n.weight"]
    with pytest.raises(NotImplementedError, match="named_parameters"):
        model.state_dict(keep_vars=True)
    with pytest.raises(ValueError, match="a seed is 0 or more"):
        model.state_dict(-1)


def test_what_is_loaded_is_what_a_step_begins_with_whatever_its_seed():
    model = Tied()
    state = {name: array + 1 for name, array in model.state_dict(seed=8).items()}
    keys = model.load_state_dict(state)
    assert keys == ([], [])
    assert str(keys) == "<All keys matched successfully>"
    for name, array in model.state_dict(seed=1).items():
        np.testing.assert_array_equal(array, state[name])
    batch = {"x": np.array([1, 2, 4])}
    step = gl.compile_step(model, lambda model, b: (model(b["x"]) ** 2).mean(), gl.optim.SGD(0.1), batch, seed=5)
    np.testing.assert_array_equal(step.parameters()["embed.weight"], state["embed.weight"])
    np.testing.assert_array_equal(step.buffers()["norm.num_batches_tracked"], 1)
    with pytest.warns(gl.TracingWarning, match=r"Embedding\.load_state_dict sets initial.*step\.load_state_dict"):
        model.embed.load_state_dict({"weight": np.ones((5, 3))})
    np.testing.assert_array_equal(step.parameters()["embed.weight"], state["embed.weight"])
    del step
    gc.collect()
    model.load_state_dict(state)


def test_initial_values_that_are_taken_for_trained_ones_are_a_warning():
    model = Tied()
    before = model.state_dict()
    batch = {"x": np.array([1, 2, 4])}
    step = gl.compile_step(model, lambda model, b: (model(b["x"]) ** 2).mean(), gl.optim.SGD(0.1), batch)
    step(batch)
    with pytest.warns(
        gl.TracingWarning, match=r"Tied\.state_dict\(\) gives initial values.*step\.state_dict\(\)"
    ) as told:
        after = model.state_dict()
    assert len(told) == 1
    for name, array in model.state_dict(seed=0).items():
        np.testing.assert_array_equal(array, after[name])
        np.testing.assert_array_equal(array, before[name])
    del step
    gc.collect()
    model.state_dict()


def test_loading_converts_to_the_models_dtypes_or_with_assign_takes_on_others():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": [[1, 2]], "bias": np.array([1e300])})
    assert {name: a.dtype.name for name, a in layer.state_dict().items()} == {"weight": "float32", "bias": "float32"}
    np.testing.assert_array_equal(layer.state_dict()["bias"], np.inf)
    layer.load_state_dict({"weight": np.ones((1, 2)), "bias": np.zeros(1)}, assign=True)
    assert layer.weight.dtype == np.float64
    assert layer.state_dict()["weight"].dtype == np.float64


def test_a_part_of_a_state_dict_is_loaded_where_it_is_not_strict():
    model = Tied()
    before = model.state_dict()
    keys = model.load_state_dict({"head.weight": np.ones((5, 3)), "other": 1, "norm.bias": [1, 2, 3]}, strict=False)
    assert keys.unexpected_keys == ["other"]
    assert keys.missing_keys == ["norm.weight", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    assert "missing_keys=['norm.weight'" in repr(keys)
    np.testing.assert_array_equal(model.state_dict()["embed.weight"], 1)
    np.testing.assert_array_equal(model.state_dict()["norm.weight"], before["norm.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm.bias": np.ones(4)}, r"norm\.bias has shape \(4,\), the model's is \(3,\)"),
        ({"norm.bias": ["a", "b", "c"]}, r"norm\.bias is <U1, which does not become the model's float32"),
        ({"norm.num_batches_tracked": 0.5}, r"num_batches_tracked is float64, .* int64"),
        ({"head.weight": np.ones((5, 3))}, r"embed\.weight and head\.weight differ"),
        ({"more": 1, "angles": np.ones(3)}, "not in the model: more, angles"),
        ({"norm.bias": None}, "missing: norm.bias"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_has_changed(change, message):
    model = Tied()
    state = {name: array + 1 for name, array in model.state_dict().items()} | change
    with pytest.raises(RuntimeError, match=f"(?s)the state dict does not fit Tied.*{message}"):
        model.load_state_dict({name: array for name, array in state.items() if array is not None})
    np.testing.assert_array_equal(model.state_dict()["norm.weight"], 1)


def test_a_state_dict_inside_a_step_has_its_values_and_cannot_be_loaded():
    layer = nn.Linear(2, 2)

    class Reading(nn.Module):
        def __init__(self):
            self.layer = layer

        def forward(self, load):
            if load:
                self.load_state_dict({})
            return self.state_dict()["layer.weight"]

    values = {"layer.weight": np.eye(2), "layer.bias": np.zeros(2)}
    assert nn.functional_call(Reading(), values, False) is values["layer.weight"]
    with pytest.raises(RuntimeError, match="does not fit Reading\n  missing: layer"):
        nn.functional_call(Reading(), values, True)
    with pytest.raises(TypeError, match="a dict of arrays by name, got list"):
        layer.load_state_dict([])


def test_walks_have_prefixes_stop_at_the_first_level_and_repeat_what_is_tied_where_asked():
    model = nn.Sequential(Tied(), nn.Linear(1, 1))
    assert [n for n, _ in model[0].named_parameters("p", recurse=False)] == []
    assert [n for n, _ in model[1].named_parameters("p", recurse=False)] == ["p.weight", "p.bias"]
    assert [n for n, _ in model.named_parameters("p", remove_duplicate=False)][:4] == [
        "p.0.embed.weight",
        "p.0.norm.weight",
        "p.0.norm.bias",
        "p.0.head.weight",
    ]
    assert [b.shape for b in model[0].buffers(recurse=False)] == [(3,)]
    assert [n for n, _ in model.named_modules(prefix="m")] == ["m", "m.0", "m.0.embed", "m.0.norm", "m.0.head", "m.1"]
    twice = nn.Sequential(model[1], model[1])
    assert [n for n, _ in twice.named_modules()] == ["", "0"]
    assert [n for n, _ in twice.named_modules(remove_duplicate=False)] == ["", "0", "1"]
    memo = {model[1]}
    assert [n for n, _ in twice.named_modules(memo)] == [""]
    assert memo == {model[1], twice}
    order = []
    assert nn.Sequential(model, nn.ReLU()).apply(lambda m: order.append(type(m).__name__)) is not None
    assert order == ["Embedding", "BatchNorm1d", "Linear", "Tied", "Linear", "Sequential", "ReLU", "Sequential"]


def test_modules_and_parameters_are_found_by_their_paths():
    model = nn.Sequential(Tied(), nn.Linear(1, 1))
    assert model.get_submodule("") is model
    assert model.get_submodule("0.norm") is model[0].norm
    assert model.get_parameter("0.norm.weight") is model[0].norm.weight
    assert model.get_buffer("0.angles").shape == (3,)
    with pytest.raises(AttributeError, match=r"Sequential has no parameter '0\.norm\.running_mean'"):
        model.get_parameter("0.norm.running_mean")
    with pytest.raises(AttributeError, match=r"no attribute 'nrm'"):
        model.get_submodule("0.nrm")
    with pytest.raises(AttributeError, match=r"eps of 0\.norm\.eps is no module, but float"):
        model.get_submodule("0.norm.eps")


@pytest.mark.peers
def test_state_dicts_go_to_torch_and_come_back_whatever_their_dtype():
    torch = pytest.importorskip("torch")
    model, peer = Tied(), torchs_tied(torch)
    peer.load_state_dict({name: torch.from_numpy(a) for name, a in model.state_dict(7).items()}, strict=True)
    np.testing.assert_array_equal(peer.head.weight.detach().numpy(), model.state_dict(7)["embed.weight"])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in torchs_tied(torch).state_dict().items()}
        assert model.load_state_dict(state) == ([], [])
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, state[name].float().numpy())
    partial = {name: tensor for name, tensor in peer.state_dict().items() if not name.startswith("norm.r")}
    ours, theirs = model.load_state_dict(partial, strict=False), peer.load_state_dict(partial, strict=False)
    assert tuple(ours) == tuple(theirs)


@pytest.mark.peers
def test_methods_of_modules_take_torchs_arguments():
    torch = pytest.importorskip("torch")
    names = (
        "named_modules named_parameters parameters named_buffers buffers named_children children modules apply "
        "get_submodule get_parameter get_buffer state_dict load_state_dict register_buffer register_parameter "
        "add_module register_module train eval"
    )
    for name in names.split():
        own = inspect.signature(getattr(nn.Module, name)).parameters
        theirs = list(inspect.signature(getattr(torch.nn.Module, name)).parameters)
        assert [n for n in theirs if n not in own and n != "args"] == [], name


def test_modules_are_put_at_paths():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    model.set_submodule("0.1", nn.Tanh(), strict=True)
    model.set_submodule("0.2", nn.Linear(3, 1))
    assert [type(m).__name__ for m in model[0]] == ["Linear", "Tanh", "Linear"]
    for target, module, error, message in (
        ("0.3", nn.ReLU(), AttributeError, "no attribute '3'"),
        ("1.0", nn.ReLU(), AttributeError, "no attribute '1'"),
        ("0.0.weight", nn.ReLU(), AttributeError, "weight of weight is no module, but Parameter"),
        ("", nn.ReLU(), ValueError, "got an empty path"),
        ("0.1", 3, ValueError, "got a int for a module"),
    ):
        with pytest.raises(error, match=message):
            model.set_submodule(target, module, strict=True)
    assert len(model[0]) == 3
