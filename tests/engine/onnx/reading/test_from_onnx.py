"""Models of ONNX files: names, parameters, calls, training, and what is refused."""

import pickle

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from onnx_models import mlp, model_of

pytestmark = pytest.mark.onnx
onnx = pytest.importorskip("onnx")
helper = onnx.helper

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 8)).astype("float32")


def by_hand(values, x):
    hidden = np.maximum(x @ values["layers.0.weight"].T + values["layers.0.bias"], 0)
    return hidden @ values["head.weight"].T + values["head.bias"]


def test_initializers_are_parameters_under_their_names():
    model = gl.from_onnx(mlp(np.random.default_rng(0)))
    names = ["layers.0.weight", "layers.0.bias", "head.weight", "head.bias"]
    assert [name for name, _ in model.named_parameters()] == names
    assert model.get_parameter("layers.0.weight").shape == (16, 8)
    assert model.input_names == ("x",)
    assert model.output_names == ("y",)


def test_a_model_computes_by_position_and_by_name_for_any_batch():
    model = gl.from_onnx(mlp(np.random.default_rng(0)))
    values = model.state_dict()
    for rows in (6, 1, 3):
        np.testing.assert_allclose(model(X[:rows]), by_hand(values, X[:rows]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model(x=X), model(X))


def test_lists_and_numbers_take_the_declared_dtype():
    types = {"self": ("float32", ["n"]), "values": ("int64", [])}, {"y": ("float32", ["n"])}
    nodes = [
        helper.make_node("Cast", ["values"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["self", "f"], ["y"]),
    ]
    model = gl.from_onnx(model_of(nodes, *types))
    y = model([1, 2.5], 2)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [2, 5])
    np.testing.assert_array_equal(model(self=np.float32([1, 3]), values=np.int64(3)), [3, 9])


def test_what_is_loaded_is_what_a_model_computes_with():
    model = gl.from_onnx(mlp(np.random.default_rng(0)))
    before = model(X)
    model.load_state_dict({name: value * 2 for name, value in model.state_dict().items()})
    assert not np.allclose(model(X), before)
    np.testing.assert_allclose(model(X), by_hand(model.state_dict(), X), rtol=1e-5, atol=1e-5)


def test_a_path_and_bytes_are_read_as_a_model_is(tmp_path):
    proto = mlp(np.random.default_rng(0))
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    expected = gl.from_onnx(proto)(X)
    for source in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(gl.from_onnx(source)(X), expected)


def test_nodes_are_scopes():
    model = gl.from_onnx(mlp(np.random.default_rng(0)))
    values = nn.init_parameters(model)
    graph = gl.trace(lambda x: nn.functional_call(model, values, x), X)
    assert {node.origin.scope for node in graph.nodes} - {""} == {"layers.0.Gemm", "Relu", "head.Gemm"}


def test_a_model_is_trained_and_bound():
    model = gl.from_onnx(mlp(np.random.default_rng(0)))

    def loss_fn(model, batch):
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    batch = {"x": X, "y": np.arange(6) % 4}
    step = gl.compile_step(model, loss_fn, gl.optim.SGD(0.5), batch)
    losses = [step(batch) for _ in range(5)]
    assert losses[-1] < losses[0]
    predict = step.bind(lambda model, x: model(x))
    np.testing.assert_allclose(predict(X), by_hand(step.parameters(), X), rtol=1e-5, atol=1e-5)


def test_names_that_are_no_paths_are_kept():
    nodes = [
        helper.make_node("Mul", ["x", "a"], ["b0"]),
        helper.make_node("Add", ["b0", "a.b"], ["b1"]),
        helper.make_node("Add", ["b1", "/forward/w:0"], ["b2"]),
        helper.make_node("Add", ["b2", "..odd."], ["b3"]),
        helper.make_node("Add", ["b3", "training"], ["b4"]),
        helper.make_node("Add", ["b4", "_parameters.forward"], ["b5"]),
        helper.make_node("Add", ["b5", "_held"], ["y"]),
    ]
    names = ["a", "a.b", "/forward/w:0", "..odd.", "training", "_parameters.forward", "_held"]
    held = {name: np.full(2, i + 1, "float32") for i, name in enumerate(names)}
    model = gl.from_onnx(model_of(nodes, {"x": ("float32", [2])}, {"y": ("float32", [2])}, held))
    assert set(nn.init_parameters(model)) == set(held)
    np.testing.assert_array_equal(model(np.full(2, 10, "float32")), [37, 37])
    step = gl.compile_step(model, lambda m, x: m(x).sum(), gl.optim.SGD(0.1), gl.spec(2))
    assert set(step.parameters()) == set(held)


def test_integers_and_floats_that_decide_shapes_are_constants():
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["a"]),
        helper.make_node("Resize", ["a", "", "scales"], ["b"]),
        helper.make_node("Mul", ["b", "gain"], ["y"]),
    ]
    held = {"shape": np.array([1, 1, 2, -1]), "scales": np.float32([1, 1, 2, 2]), "gain": np.float32(3)}
    model = gl.from_onnx(model_of(nodes, {"x": ("float32", ["n"])}, {"y": ("float32", [1, 1, 4, "m"])}, held))
    assert [name for name, _ in model.named_parameters()] == ["gain"]
    assert set(model.constants) == {"shape", "scales"}
    np.testing.assert_array_equal(model(np.float32([1, 2, 3, 4]))[0, 0, ::2, ::2], [[3, 6], [9, 12]])


def test_shapes_are_computed_while_tracing():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Constant", [], ["zero"], value_ints=[0]),
        helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    model = gl.from_onnx(model_of(nodes, {"x": ("float32", ["n", 2, 3])}, {"y": ("float32", ["n", 6])}))
    for n in (1, 4):
        assert model(np.zeros((n, 2, 3), "float32")).shape == (n, 6)


def test_an_input_that_decides_a_shape_is_part_of_the_program():
    nodes = [helper.make_node("Expand", ["x", "shape"], ["y"])]
    inputs = {"x": ("float32", [1]), "shape": ("int64", ["rank"])}
    model = gl.from_onnx(model_of(nodes, inputs, {"y": ("float32", ["a", "b"])}))
    assert model.known_inputs == ("shape",)
    assert model(np.ones(1, "float32"), [2, 3]).shape == (2, 3)
    assert model(np.ones(1, "float32"), np.array([4, 1])).shape == (4, 1)
    with pytest.raises(gl.TracingError, match=r"'y' \(Expand\): the shape must be known before the program runs"):
        gl.compile(lambda x, shape: nn.functional_call(model, {}, x, shape))(np.ones(1, "float32"), np.array([4]))


def test_branches_and_loops_that_the_program_decides():
    scalar = ("float32", [])

    def graph(name, nodes, inputs, outputs):
        infos = [
            [helper.make_tensor_value_info(n, onnx.TensorProto.DataType.Value(t), s) for n, t, s in part]
            for part in (inputs, outputs)
        ]
        return helper.make_graph(nodes, name, *infos)

    then = graph("then", [helper.make_node("Mul", ["x", "two"], ["t"])], [], [("t", "FLOAT", [])])
    other = graph("other", [helper.make_node("Neg", ["x"], ["e"])], [], [("e", "FLOAT", [])])
    body = graph(
        "body",
        [
            helper.make_node("Mul", ["v", "two"], ["w"]),
            helper.make_node("Less", ["w", "limit"], ["c"]),
        ],
        [("i", "INT64", []), ("ci", "BOOL", []), ("v", "FLOAT", [])],
        [("c", "BOOL", []), ("w", "FLOAT", [])],
    )
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["a"], then_branch=then, else_branch=other),
        helper.make_node("Less", ["a", "limit"], ["small"]),
        helper.make_node("Loop", ["", "small", "a"], ["y"], body=body),
    ]
    held = {"two": np.float32(2), "zero": np.float32(0), "limit": np.float32(100)}
    model = gl.from_onnx(model_of(nodes, {"x": scalar}, {"y": scalar}, held))
    assert [float(model(np.float32(x))) for x in (3.0, -5.0, 200.0)] == [192.0, 160.0, 400.0]


def test_a_long_loop_is_one_loop_of_the_program():
    infos = [("i", onnx.TensorProto.INT64, []), ("ci", onnx.TensorProto.BOOL, []), ("v", onnx.TensorProto.FLOAT, [3])]
    outs = [("co", onnx.TensorProto.BOOL, []), ("w", onnx.TensorProto.FLOAT, [3]), ("r", onnx.TensorProto.FLOAT, [3])]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["ci"], ["co"]),
            helper.make_node("Mul", ["v", "decay"], ["w"]),
            helper.make_node("Identity", ["w"], ["r"]),
        ],
        "body",
        *([helper.make_tensor_value_info(*each) for each in part] for part in (infos, outs)),
    )
    nodes = [helper.make_node("Loop", ["count", "", "x"], ["y", "rows"], body=body)]
    held = {"count": np.array(40), "decay": np.float32([0.5, 0.9, 1.0])}
    outputs = {"y": ("float32", [3]), "rows": ("float32", [40, 3])}
    model = gl.from_onnx(model_of(nodes, {"x": ("float32", [3])}, outputs, held))
    y, rows = model(np.ones(3, "float32"))
    np.testing.assert_allclose(rows, held["decay"] ** np.arange(1, 41)[:, None], rtol=1e-5)
    np.testing.assert_array_equal(y, rows[-1])
    values = nn.init_parameters(model)
    graph = gl.trace(lambda x: nn.functional_call(model, values, x), X[0, :3])
    assert sum(node.op.is_scan for node in graph.nodes) == 1


def test_functions_of_the_model_are_called_with_their_attributes():
    scaled = helper.make_function(
        "local",
        "Scaled",
        ["a", "w"],
        ["out"],
        [
            helper.make_node("Constant", [], ["factor"]),
            helper.make_node("Mul", ["a", "factor"], ["b"]),
            helper.make_node("Mul", ["b", "w"], ["out"]),
        ],
        [helper.make_opsetid("", 18)],
        ["by"],
    )
    attribute = scaled.node[0].attribute.add(name="value_float", ref_attr_name="by", type=onnx.AttributeProto.FLOAT)
    assert attribute.name == "value_float"
    nodes = [
        helper.make_node("Scaled", ["x", "w"], ["h"], domain="local", by=2.0),
        helper.make_node("Scaled", ["h", "w"], ["y"], domain="local", by=5.0),
    ]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    held = {"w": np.float32([1, 2, 3])}
    types = {"x": ("float32", [3])}, {"y": ("float32", [3])}
    model = gl.from_onnx(model_of(nodes, *types, held, opset=opsets, functions=[scaled]))
    np.testing.assert_array_equal(model(np.ones(3, "float32")), [10, 40, 90])


def test_batch_norm_counts_along_in_training_where_the_file_says_so():
    inputs = ["x", "scale", "bias", "mean", "var"]
    node = helper.make_node("BatchNormalization", inputs, ["y", "m", "v"], training_mode=1, momentum=0.8)
    held = {"scale": np.ones(3), "bias": np.zeros(3), "mean": np.zeros(3), "var": np.ones(3)}
    held = {name: array.astype("float32") for name, array in held.items()}
    types = {"x": ("float32", ["n", 3])}, {"y": ("float32", ["n", 3])}
    model = gl.from_onnx(model_of([node], *types, held))
    assert [name for name, _ in model.named_buffers()] == ["mean", "var"]
    x = (RNG.standard_normal((16, 3)) * 2 + 5).astype("float32")
    step = gl.compile_step(model, lambda m, x: np.mean(m(x) ** 2), gl.optim.SGD(0.0), x)
    step(x)
    np.testing.assert_allclose(step.buffers()["mean"], 0.2 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(step.buffers()["var"], 0.8 + 0.2 * x.var(0), rtol=1e-5)
    np.testing.assert_allclose(model(x), x / np.sqrt(1 + 1e-5), rtol=1e-5)  # in evaluation, by the statistics


def test_dropout_drops_in_training_alone():
    nodes = [
        helper.make_node("Constant", [], ["ratio"], value_float=0.5),
        helper.make_node("Constant", [], ["on"], value=onnx.numpy_helper.from_array(np.array(True))),
        helper.make_node("Dropout", ["x", "ratio", "on"], ["d"]),
        helper.make_node("Mul", ["d", "w"], ["y"]),
    ]
    types = {"x": ("float32", [1000])}, {"y": ("float32", [1000])}
    model = gl.from_onnx(model_of(nodes, *types, {"w": np.ones(1, "float32")}))
    x = np.ones(1000, "float32")
    np.testing.assert_array_equal(model(x), x)
    step = gl.compile_step(model, lambda m, x: m(x).mean(), gl.optim.SGD(0.0), x)
    first, second = step(x), step(x)
    assert first != second
    assert 0.8 < first < 1.2


@pytest.mark.peers
def test_training_goes_the_way_of_torch(one_thread_for_torch):
    torch = pytest.importorskip("torch")
    images, labels = RNG.standard_normal((8, 3, 8, 8)).astype("float32"), np.arange(8) % 5
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, padding=1, stride=2), torch.nn.GELU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(24, 12), torch.nn.LayerNorm(12), torch.nn.Linear(12, 5),
    )  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "0.weight", "0.bias"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Gelu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "4.weight", "4.bias"], ["e"], transB=1),
        helper.make_node("LayerNormalization", ["e", "5.weight", "5.bias"], ["f"]),
        helper.make_node("Gemm", ["f", "6.weight", "6.bias"], ["y"], transB=1),
    ]
    held = {name: p.detach().numpy().copy() for name, p in net.named_parameters()}
    types = {"x": ("float32", ["n", 3, 8, 8])}, {"y": ("float32", ["n", 5])}
    model = gl.from_onnx(model_of(nodes, *types, held, opset=20))
    batch = {"x": images, "y": labels}
    step = gl.compile_step(model, lambda m, b: nn.cross_entropy(m(b["x"]), b["y"]), gl.optim.AdamW(1e-2), batch)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(torch.tensor(images)), torch.tensor(labels))
        loss.backward()
        optimizer.step()
        np.testing.assert_allclose(step(batch), loss.item(), rtol=2e-4)
    for name, p in net.named_parameters():
        np.testing.assert_allclose(step.parameters()[name], p.detach().numpy(), rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: m(), "without 'x'"),
        (lambda m: m(X, X), "with 2 by position"),
        (lambda m: m(X, x=X), "with 'x' twice"),
        (lambda m: m(X, z=X), "with 'z'"),
    ],
)
def test_a_call_with_other_inputs_says_which_there_are(call, says):
    model = gl.from_onnx(mlp(np.random.default_rng(0)))
    with pytest.raises(TypeError, match=says) as caught:
        call(model)
    assert "(x: float32[n, 8])" in str(caught.value)
    assert "test_from_onnx.py" in str(caught.value)


def test_an_input_of_another_type_is_refused():
    model = gl.from_onnx(mlp(np.random.default_rng(0)))
    with pytest.raises(gl.TracingError, match=r"input 'x' of the model is float32\[n, 8\], got float64\[6, 8\]; write"):
        model(X.astype("float64"))
    with pytest.raises(gl.ShapeError, match=r"input 'x' of the model is float32\[n, 8\], got float32\[6, 3\]"):
        model(X[:, :3])
    with pytest.raises(gl.ShapeError, match=r"got float32\[8\]"):
        model(X[0])


def test_a_named_length_is_one_length():
    types = {"a": ("float32", ["n"]), "b": ("float32", ["n"])}, {"y": ("float32", ["n"])}
    model = gl.from_onnx(model_of([helper.make_node("Add", ["a", "b"], ["y"])], *types))
    with pytest.raises(gl.ShapeError, match=r"input 'b' .* got float32\[1\]; n is 3 in 'a'"):
        model(np.ones(3, "float32"), np.ones(1, "float32"))


def test_an_error_of_a_node_names_it():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="/blocks.3/MatMul")]
    held = {"w": np.ones((7, 2), "float32")}
    model = gl.from_onnx(model_of(nodes, {"x": ("float32", ["n", "k"])}, {"y": ("float32", ["n", 2])}, held))
    with pytest.raises(gl.ShapeError) as caught:
        model(X)
    assert any("in the ONNX node '/blocks.3/MatMul' (MatMul)" in note for note in caught.value.__notes__)


def test_a_state_dict_with_other_names_or_shapes_is_refused():
    model = gl.from_onnx(mlp(np.random.default_rng(0)))
    values = model.state_dict()
    with pytest.raises(RuntimeError, match=r"missing: head.weight"):
        model.load_state_dict({name: value for name, value in values.items() if name != "head.weight"})
    with pytest.raises(RuntimeError, match=r"head.bias"):
        model.load_state_dict(values | {"head.bias": np.zeros(9, "float32")})
    np.testing.assert_allclose(model(X), by_hand(values, X), rtol=1e-5, atol=1e-5)


def test_a_model_traced_without_values_says_what_to_write():
    model = gl.from_onnx(mlp(np.random.default_rng(0)))
    with pytest.raises(gl.TracingError, match=r"write step.bind"):
        gl.trace(lambda x: model(x), X)
    assert "float32[n, 8]" in repr(model)
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(gl.compile(lambda x: model(x)))
