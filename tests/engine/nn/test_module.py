"""Modules: names, registration, binding, buffers, modes, scopes and initial values."""

import copy
import pickle

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn


class Block(nn.Module):
    def __init__(self, width):
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x):
        return x + self.down(nn.relu(self.up(x)))


class Model(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.layers = nn.ModuleList([Block(4) for _ in range(depth)])
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Mean(nn.Module):
    """A running mean, as batch norm keeps one."""

    def __init__(self, width):
        self.mean = nn.Buffer((width,), "float32", nn.init.ones())
        self.count = nn.Buffer((), "int64")

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=0)
            self.count = self.count + 1
        return x - self.mean


NAMES = [
    "embed.weight",
    "layers.0.up.weight",
    "layers.0.up.bias",
    "layers.0.down.weight",
    "layers.1.up.weight",
    "layers.1.up.bias",
    "layers.1.down.weight",
]


def test_parameters_have_torchs_names_in_torchs_order_and_tied_ones_come_once():
    model = Model()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert model.tied_names() == {"head.weight": "embed.weight"}
    assert model.all_stored()[-1][0] == "head.weight"
    assert [p.shape for p in model.parameters()][:2] == [(7, 4), (8, 4)]
    assert [path for path, _ in model.named_modules()][:4] == ["", "embed", "layers", "layers.0"]


def test_printing_is_torchs():
    text = repr(nn.Sequential(nn.Linear(3, 4), nn.Residual(nn.LayerNorm(4)), nn.ModuleList([nn.ReLU(), nn.ReLU()])))
    assert text == (
        "Sequential(\n"
        "  (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "  (1): Residual(\n"
        "    (module): LayerNorm((4,), eps=1e-05, elementwise_affine=True)\n"
        "  )\n"
        "  (2): ModuleList(\n"
        "    (0-1): 2 x ReLU()\n"
        "  )\n"
        ")"
    )


def test_a_plain_list_or_dict_of_modules_is_registered():
    class Listed(nn.Module):
        def __init__(self):
            self.parts = [nn.Linear(2, 2), nn.Linear(2, 2, bias=False)]
            self.by_name = {"a": nn.Linear(2, 2, bias=False)}
            self.sizes = [1, 2]

    model = Listed()
    assert [n for n, _ in model.named_parameters()] == [
        "parts.0.weight",
        "parts.0.bias",
        "parts.1.weight",
        "by_name.a.weight",
    ]
    assert model.sizes == [1, 2]


def test_a_list_that_is_filled_after_it_was_assigned_is_refused():
    model = nn.Sequential()
    model.parts = []
    model.parts.append(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"parts\[0\] is a Linear that is not registered.*use nn.ModuleList"):
        nn.functional_call(model, {}, np.zeros(2))


def test_containers_index_slice_append_and_insert():
    sequence = nn.Sequential({"first": nn.Linear(2, 3), "second": nn.ReLU()})
    assert isinstance(sequence[-1], nn.ReLU)
    assert [n for n, _ in sequence[:1].named_parameters()] == ["first.weight", "first.bias"]
    modules = nn.ModuleList([nn.ReLU()]).append(nn.Tanh())
    modules.insert(0, nn.Linear(1, 1))
    assert [type(m).__name__ for m in modules] == ["Linear", "ReLU", "Tanh"]
    assert len(modules[1:]) == 2
    with pytest.raises(IndexError, match="index 3 is out of range for 3 modules"):
        modules[3]
    with pytest.raises(TypeError, match="expected a module, got the class ReLU"):
        nn.Sequential(nn.ReLU)
    parameters = nn.ParameterList([nn.Parameter(3), nn.Parameter(np.ones(2, np.float32))])
    assert [(n, p.shape) for n, p in parameters.named_parameters()] == [("0", (3,)), ("1", (2,))]


def test_initial_values_depend_on_the_seed_and_the_name_alone():
    small, large = nn.init_parameters(Model(1), seed=3), nn.init_parameters(Model(3), seed=3)
    for name, array in small.items():
        np.testing.assert_array_equal(array, large[name])
    assert (nn.init_parameters(Model(1), seed=4)["embed.weight"] != small["embed.weight"]).any()
    assert (large["layers.0.up.weight"] != large["layers.1.up.weight"]).any()
    with pytest.raises(ValueError, match="a seed is 0 or more"):
        nn.init_parameters(Model(1), seed=-1)


def test_a_model_of_billions_of_parameters_costs_nothing():
    model = nn.Sequential(*(nn.Linear(65536, 65536) for _ in range(96)))
    assert sum(p.size for p in model.parameters()) > 4e11


def test_functional_call_computes_with_arrays_under_any_of_the_names():
    model = Model()
    values = nn.init_parameters(model)
    tokens = np.array([[1, 2], [6, 0]])
    expected = values["embed.weight"][tokens]
    for i in range(2):
        hidden = np.maximum(expected @ values[f"layers.{i}.up.weight"].T + values[f"layers.{i}.up.bias"], 0)
        expected = expected + hidden @ values[f"layers.{i}.down.weight"].T
    expected = expected @ values["embed.weight"].T
    np.testing.assert_allclose(nn.functional_call(model, values, tokens), expected, rtol=1e-5, atol=1e-5)
    values["head.weight"] = values.pop("embed.weight")
    np.testing.assert_allclose(nn.functional_call(model, values, tokens), expected, rtol=1e-5, atol=1e-5)
    graph = gl.trace(lambda values, tokens: nn.functional_call(model, values, tokens), values, tokens)
    inputs = [values[name] for name in sorted(values)]
    np.testing.assert_allclose(gl.interpret(graph, *inputs, tokens)[0], expected, rtol=1e-5, atol=1e-5)


def test_gradients_flow_to_a_tied_parameter_from_both_its_uses():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    w, x = np.random.default_rng(0).standard_normal((2, 3, 3))
    gradient = gl.grad(lambda v: nn.functional_call(model, v, x).sum())({"0.weight": w})["0.weight"]
    ones = np.ones((3, 3))
    expected = ones.T @ (x @ w.T) + (ones @ w).T @ x
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_functional_call_names_all_that_is_wrong():
    model = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(
        TypeError, match=r"0.weight has shape \(3,\), expected \(3, 2\); other is not in .*0.bias is missing"
    ):
        nn.functional_call(model, {"0.weight": np.zeros(3), "other": np.zeros(1)}, np.zeros(2))


@pytest.mark.parametrize(
    "use",
    [lambda p: p + 1, lambda p: np.ones(2) * p, lambda p: p.T, lambda p: np.asarray(p), lambda p: p[0], np.exp, np.sum],
)
def test_a_parameter_outside_a_step_says_what_to_write(use):
    model = nn.Linear(2, 3)
    with pytest.raises(
        (TypeError, AttributeError), match=r"parameter Linear.weight has no value here.*gl.compile_step.*step.bind"
    ):
        use(model.weight)


def test_a_model_called_outside_a_step_says_what_to_write():
    with pytest.raises(TypeError, match=r"parameter Linear.weight has no value.*functional_call.*test_module.py:\d+"):
        nn.Sequential(nn.Linear(2, 3))(np.zeros((1, 2)))


def test_an_error_inside_a_module_names_it():
    model = nn.Sequential(nn.Linear(2, 3), nn.Residual(nn.Linear(4, 4)))
    with pytest.raises(gl.ShapeError, match=r"the last axis of x, \(1, 3\) float64") as caught:
        nn.functional_call(model, nn.init_parameters(model), np.zeros((1, 2)))
    assert caught.value.__notes__ == ["in 1.module: Linear(in_features=4, out_features=4, bias=True)"]


def test_nodes_carry_the_path_of_their_module():
    model = Model(1)
    values = nn.init_parameters(model)
    graph = gl.trace(lambda values, tokens: nn.functional_call(model, values, tokens), values, np.zeros(2, np.int64))
    scopes = list(dict.fromkeys(node.origin.scope for node in graph.nodes))
    assert scopes == ["embed", "layers.0.up", "layers.0", "layers.0.down", "head"]


def test_a_module_used_outside_its_parent_keeps_its_own_path():
    class Reversed(nn.Module):
        def __init__(self, encoder):
            self.inner = nn.Linear(2, 2)
            self.__dict__["encoder"] = encoder

        def forward(self, x):
            return self.encoder(self.inner(x))

    class Both(nn.Module):
        def __init__(self):
            self.encoder = nn.Linear(2, 2)
            self.decoder = Reversed(self.encoder)

        def forward(self, x):
            return self.decoder(x)

    model = Both()
    with pytest.raises(TypeError, match="no value"):
        model(np.zeros(2))
    graph = gl.trace(lambda v, x: nn.functional_call(model, v, x), nn.init_parameters(model), np.zeros(2, np.float32))
    assert {node.origin.scope for node in graph.nodes} == {"decoder.inner", "encoder"}


def test_buffers_are_updated_in_training_and_read_in_evaluation():
    model = Mean(2)
    x = np.array([[1.0, 3.0], [3.0, 5.0]], np.float32)
    buffers = {b: b.initial(name) for name, b in model.stored_buffers()}
    with nn.bind(model, buffers) as binding:
        model(x)
        model(x)
        np.testing.assert_allclose(model.mean, 0.81 + 0.19 * np.array([2, 4]), rtol=1e-6)
    assert [name for name, _ in model.named_buffers()] == ["mean", "count"]
    assert binding.buffer(model._buffers["count"]) == 2
    np.testing.assert_array_equal(nn.functional_call(model, {}, x), x - 1)
    held = {"mean": np.full(2, 3, np.float32)}
    np.testing.assert_array_equal(nn.functional_call(model, held, x), x - 3)


def test_a_buffer_keeps_its_shape_and_dtype_and_is_not_assigned_in_evaluation():
    class Wrong(nn.Module):
        def __init__(self):
            self.total = nn.Buffer((2,))

        def forward(self, x):
            self.total = x

    model = nn.Sequential(Wrong())
    with pytest.raises(RuntimeError, match=r"buffer 0.total is assigned in eval mode.*if self.training"):
        nn.functional_call(model, {}, np.zeros(2, np.float32))
    for bad in (np.zeros(3, np.float32), np.zeros(2, np.float64)):
        with pytest.raises(TypeError, match=r"buffer 0.total is f32\[2\] and stays so"):
            nn.functional_call(model, {}, bad, training=True)
    model[0].total = np.array([1.0, 2.0])
    np.testing.assert_array_equal(nn.init_buffers(model)["0.total"], np.array([1, 2], np.float32))


def test_train_and_eval_reach_all_modules_and_evaluation_overrules():
    class Flag(nn.Module):
        def forward(self, x):
            return self.training

    model = nn.Sequential(nn.Sequential(Flag()))
    assert model.training
    assert nn.functional_call(model, {}, 0, training=True)
    assert not nn.functional_call(model, {}, 0)
    model.eval()
    assert not nn.functional_call(model, {}, 0, training=True)
    assert not model[0][0].training
    assert model.train()[0][0].training


def test_a_parameter_cannot_be_assigned_an_array_but_initialized_with_one():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"Linear.weight is a parameter .* nn.init.constant_"):
        layer.weight = np.zeros((2, 2))
    nn.init.constant_(layer.weight, np.arange(4).reshape(2, 2))
    np.testing.assert_array_equal(nn.init_parameters(layer)["weight"], np.arange(4.0).reshape(2, 2))
    layer.bias = None
    assert [n for n, _ in layer.named_parameters()] == ["weight"]
    with pytest.raises(TypeError, match="a parameter is float32 or float64"):
        nn.Parameter(3, "int64")


def test_the_dtype_of_a_model_is_changed_at_once():
    model = nn.Sequential(nn.Linear(2, 2), Mean(2)).to("float64")
    assert {str(p.dtype) for p in model.parameters()} == {"float64"}
    assert [str(b.dtype) for b in model.buffers()] == ["float64", "int64"]
    assert nn.init_parameters(model)["0.weight"].dtype == np.float64


def test_models_are_copied_and_pickled():
    model = Model()
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied.tied_names() == model.tied_names()
        assert copied.embed.weight is not model.embed.weight
        for name, array in nn.init_parameters(copied).items():
            np.testing.assert_array_equal(array, nn.init_parameters(model)[name])


def test_parameters_inside_a_step_are_values():
    model = nn.Sequential(nn.Linear(2, 2))

    def penalty(values):
        with nn.bind(model, {p: values[name] for name, p in model.stored_parameters()}):
            return sum((p * p).sum() for p in model.parameters())

    values = nn.init_parameters(model)
    gradient = gl.grad(penalty)(values)
    np.testing.assert_allclose(gradient["0.weight"], 2 * values["0.weight"], rtol=1e-6)


@pytest.mark.parametrize("name", ["to", "apply", "modules", "training", "forward", "extra", "scale", "_parameters"])
def test_what_is_named_like_something_of_the_class_is_refused_where_it_is_assigned(name):
    class Net(nn.Module):
        scale = 1.0

        @property
        def extra(self):
            return 2.0

    net = Net()
    for value in (nn.Parameter(2), nn.Buffer(2), nn.Linear(1, 1)):
        with pytest.raises(TypeError, match=rf"Net\.{name} cannot be a .* of the class.*test_module"):
            setattr(net, name, value)
    for register in (net.register_parameter, net.register_buffer, net.add_module):
        with pytest.raises(TypeError, match=rf"Net\.{name} cannot be"):
            register(name, None)
    assert not list(net.all_stored())
    assert net.scale == 1.0
    net.scale = 3.0
    assert net.scale == 3.0


def test_a_dict_of_modules_has_any_keys():
    table = nn.ModuleDict({"to": nn.Linear(2, 3), "keys": nn.ReLU(), "training": nn.Linear(3, 1)})
    assert [name for name, _ in table.items()] == ["to", "keys", "training"]
    assert [name for name, _ in table.named_parameters()][1:3] == ["to.bias", "training.weight"]
    with pytest.raises(TypeError, match=r"Sequential\.append cannot be a module: it is a method"):
        nn.Sequential({"append": nn.ReLU()})


def test_a_parameter_of_a_class_is_refused():
    class Net(nn.Module):
        weight = nn.Parameter(2)

    with pytest.raises(TypeError, match=r"Net\.weight is a Parameter of the class.*self\.weight = \.\.\. in __init__"):
        Net().check_registered()
