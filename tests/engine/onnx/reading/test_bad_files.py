"""ONNX files that are damaged, too new, or hold what is not supported are refused with a message that says so."""

import os

import gradloom as gl
import numpy as np
import pytest
from onnx_models import mlp, model_of

pytestmark = pytest.mark.onnx
onnx = pytest.importorskip("onnx")
helper = onnx.helper


def one_node(*args, **kwargs):
    node = helper.make_node(*args, **kwargs)
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)])


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    data = mlp(np.random.default_rng(0)).SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(0, len(data), 37):
        path.write_bytes(data[:length])
        with pytest.raises(gl.OnnxError, match=r"model\.onnx .*(cut off|nothing before it makes)"):
            gl.from_onnx(path)


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(gl.OnnxError, match=r"is no ONNX file"):
        gl.from_onnx(tmp_path / "text.onnx")
    with pytest.raises(FileNotFoundError, match=r"missing.onnx"):
        gl.from_onnx(tmp_path / "missing.onnx")
    with pytest.raises(TypeError, match=r"takes the path of a file"):
        gl.from_onnx(3)


def test_opsets_are_from_13_to_the_newest():
    model = mlp(np.random.default_rng(0))
    model.opset_import[0].version = 99
    with pytest.raises(gl.OnnxError, match=r"opset 99; .* knows opsets up to .* pip install -U onnx"):
        gl.from_onnx(model)
    model.opset_import[0].version = 11
    with pytest.raises(gl.OnnxError, match=r"opset 11; opsets 13 and on are read: write .*convert_version\("):
        gl.from_onnx(model)


def test_all_operators_that_are_not_supported_are_named():
    nodes = [
        helper.make_node("Fancy", ["x"], ["a"], name="first", domain="mine"),
        helper.make_node("Fancy", ["a"], ["b"], name="second", domain="mine"),
        helper.make_node("StringNormalizer", ["b"], ["c"], name="third"),
        helper.make_node("Softmax", ["c"], ["d"], name="fourth", strange=1),
        helper.make_node("Odd", ["d"], ["y"], name="fifth", domain="yours"),
    ]
    model = one_node("Identity", ["x"], ["y"])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(gl.OnnxError) as caught:
        gl.from_onnx(model)
    for said in (
        "mine.Fancy is a custom operator that is not supported, in 'first', 'second'",
        "StringNormalizer is an operator that is not supported, in 'third'",
        "Softmax has the attribute strange, which is not supported, in 'fourth'",
        "yours.Odd is of the domain 'yours', for which the model imports no opset, in 'fifth'",
    ):
        assert said in str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint64"])
def test_a_dtype_that_is_not_supported_is_named(dtype):
    held = {"w": np.ones(2, dtype)}
    model = one_node("Identity", ["x"], ["y"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(held["w"], "w"))
    with pytest.raises(gl.OnnxError, match=f"tensor 'w' is of {dtype}, which is not supported"):
        gl.from_onnx(model)
    model = one_node("Cast", ["x"], ["y"], to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    with pytest.raises(gl.OnnxError, match=rf"ONNX node 'y' \(Cast\): the result is of {dtype}, which is not"):
        gl.from_onnx(model)(np.zeros(2, "float32"))


def test_what_is_no_tensor_is_refused():
    model = one_node("Identity", ["x"], ["y"])
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", onnx.TensorProto.FLOAT, [2]))
    with pytest.raises(gl.OnnxError, match=r"'x' is a sequence, which is not supported"):
        gl.from_onnx(model)


def test_a_name_that_nothing_makes_is_named():
    with pytest.raises(gl.OnnxError, match=r"ONNX node 'y' \(Add\) reads 'z', which nothing before it makes"):
        gl.from_onnx(one_node("Add", ["x", "z"], ["y"]))
    with pytest.raises(gl.OnnxError, match=r"graph 'test' returns 'y', which nothing before it makes"):
        gl.from_onnx(one_node("Neg", ["x"], ["z"]))


def test_a_function_that_calls_itself_is_refused():
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    nodes = [helper.make_node("Again", ["a"], ["b"], domain="mine")]
    model = one_node("Again", ["x"], ["y"], domain="mine")
    model.functions.append(helper.make_function("mine", "Again", ["a"], ["b"], nodes, opsets))
    with pytest.raises(gl.OnnxError, match=r"the function 'Again' calls itself"):
        gl.from_onnx(model)


def test_a_node_with_too_many_inputs_is_refused():
    model = gl.from_onnx(one_node("Neg", ["x", "x", "x"], ["y"]))
    with pytest.raises(gl.OnnxError, match=r"ONNX node 'y' \(Neg\) has 3 inputs, which do not fit the operator"):
        model(np.zeros(2, "float32"))


# External data.


def external(tmp_path, location="weights.bin", data=None, **fields):
    """A file whose tensor `w`, of 4 floats, lies in another file."""
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    types = {"x": ("float32", [4])}, {"y": ("float32", [4])}
    model = model_of(nodes, *types, {"w": np.arange(4, dtype="float32")})
    tensor = model.graph.initializer[0]
    content = tensor.raw_data if data is None else data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **fields}.items():
        tensor.external_data.add(key=key, value=str(value))
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx", content


def test_external_data_is_read(tmp_path):
    path, content = external(tmp_path, offset=8, length=16)
    (path.parent / "weights.bin").write_bytes(b"12345678" + content)
    np.testing.assert_array_equal(gl.from_onnx(path)(np.ones(4, "float32")), np.arange(4))


def test_external_data_of_all_kinds_of_onnx_is_read(tmp_path):
    model = mlp(np.random.default_rng(0))
    x = np.ones((2, 8), "float32")
    expected = gl.from_onnx(model)(x)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    np.testing.assert_array_equal(gl.from_onnx(tmp_path / "m.onnx")(x), expected)
    np.testing.assert_array_equal(gl.from_onnx(onnx.load(tmp_path / "m.onnx"))(x), expected)


def test_external_data_that_is_missing_or_cut_off_is_named(tmp_path):
    path, content = external(tmp_path)
    with pytest.raises(gl.OnnxError, match=r"tensor 'w' has its data in 'weights.bin', which is missing in"):
        gl.from_onnx(path)
    (path.parent / "weights.bin").write_bytes(content[:-1])
    with pytest.raises(gl.OnnxError, match=r"tensor 'w' lies in bytes 0 to 16 of 'weights.bin', which is cut off"):
        gl.from_onnx(path)
    path, _ = external(tmp_path, length=12)
    with pytest.raises(gl.OnnxError, match=r"tensor 'w' takes 16 bytes, but its data in 'weights.bin' has 12"):
        gl.from_onnx(path)
    path, _ = external(tmp_path, offset="-4")
    with pytest.raises(gl.OnnxError, match=r"tensor 'w': the offset .* got '-4'"):
        gl.from_onnx(path)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", "..\\weights.bin", ""])
def test_external_data_outside_of_the_folder_is_refused(tmp_path, location):
    path, content = external(tmp_path, location)
    (tmp_path / "weights.bin").write_bytes(content)
    with pytest.raises(gl.OnnxError, match=r"tensor 'w' has its data in .*no path below the folder of the model"):
        gl.from_onnx(path)


def test_external_data_behind_a_link_out_of_the_folder_is_refused(tmp_path):
    path, content = external(tmp_path)
    (tmp_path / "secret.bin").write_bytes(content)
    os.symlink(tmp_path / "secret.bin", path.parent / "weights.bin")
    with pytest.raises(gl.OnnxError, match=r"'weights.bin', which leads out of the folder of the model"):
        gl.from_onnx(path)
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "weights.bin").write_bytes(content)
    path, _ = external(tmp_path, "inner/weights.bin")
    os.symlink(tmp_path / "outer", path.parent / "inner")
    with pytest.raises(gl.OnnxError, match=r"which leads out of the folder of the model"):
        gl.from_onnx(path)


def test_external_data_of_a_model_in_memory_needs_a_path(tmp_path):
    path, _ = external(tmp_path)
    with pytest.raises(gl.OnnxError, match=r"a model in memory has no folder"):
        gl.from_onnx(path.read_bytes())


def test_data_of_another_length_than_the_shape_is_refused():
    model = mlp(np.random.default_rng(0))
    model.graph.initializer[0].dims[0] = 17
    with pytest.raises(
        gl.OnnxError, match=r"tensor 'layers.0.weight' takes 544 bytes for shape \(17, 8\), but has 512"
    ):
        gl.from_onnx(model)
