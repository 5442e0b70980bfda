"""Functions of a model as ONNX files: onnxruntime computes what `bind` computes, for any batch where it can be."""

from types import SimpleNamespace

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.onnx.writing import model as model_writer
from gradloom.examples.ddpm import UNet
from gradloom.examples.gcn import GraphConvolution
from gradloom.examples.llama import Llama
from gradloom.examples.nanogpt import GPT
from gradloom.examples.vit import ViT

pytestmark = pytest.mark.onnx
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)
LLAMA = SimpleNamespace(
    vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=True,
)  # fmt: skip


def floats(*shape):
    return RNG.standard_normal(shape).astype("float32")


def call(model, *args):
    return model(*args)


def loaded(model, tmp_path):
    gl.save_arrays(tmp_path / "p.safetensors", model.state_dict())
    return gl.load(model, tmp_path / "p.safetensors")


def session(path):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def leaves(results):
    return gl.tree.leaves(results)


def resized(args, n):
    """Arguments of another batch, with other values."""
    first = len(args[0])
    return [
        (np.resize(x, (n, *x.shape[1:])) + (x.dtype.kind == "f") * 0.1 * n).astype(x.dtype)
        if np.shape(x)[:1] == (first,)
        else x
        for x in args
    ]


MODELS = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4), nn.Softmax(-1)),
        call,
        (floats(4, 8),),
    ),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, stride=2, groups=2), nn.GroupNorm(2, 8), nn.SiLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(8, 5),
        ),
        call,
        (floats(4, 3, 12, 12),),
    ),
    "signals": (
        lambda: nn.Sequential(nn.Conv1d(3, 8, 3, dilation=2), nn.AvgPool1d(3, 2, padding=1), nn.Mish()),
        call,
        (floats(4, 3, 13),),
    ),
    "transposed convolutions": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1, output_padding=1), nn.Upsample(scale_factor=2),
            nn.ConvTranspose2d(4, 6, 3, groups=2, stride=3),
        ),
        call,
        (floats(2, 3, 5, 6),),
    ),
    "lstm": (lambda: nn.LSTM(5, 7, num_layers=2, bidirectional=True, batch_first=True), call, (floats(3, 6, 5),)),
    "gru": (lambda: nn.GRU(5, 7), call, (floats(6, 3, 5),)),
    "transformer": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2),
        call,
        (floats(3, 5, 16),),
    ),
    "decoder": (
        lambda: nn.TransformerDecoderLayer(16, 2, 32, batch_first=True),
        lambda model, x, memory: model(x, memory, tgt_is_causal=True, tgt_mask=np.triu(np.ones((5, 5), bool), 1)),
        (floats(3, 5, 16), floats(3, 4, 16)),
    ),
    "vision transformer": (lambda: ViT(8, 4, width=16, layers=2, heads=2), call, (floats(3, 1, 8, 8),)),
    "gpt": (lambda: GPT(20, 8, 16, 2, 2), call, (RNG.integers(0, 20, (2, 6)),)),
    "llama": (lambda: Llama(LLAMA, 8), call, (RNG.integers(0, 20, (2, 6)),)),
    "diffusion": (lambda: UNet(16), call, (floats(2, 1, 8, 8), RNG.integers(0, 9, 2))),
    "graph": (
        lambda: GraphConvolution(4, 3),
        lambda model, x, edges, weights: model(x, edges, weights),
        (floats(5, 4), RNG.integers(-1, 1, (2, 7)), floats(7)),
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 3)),
        lambda model, i: {"logits": model(i), "token": model(i).argmax(axis=-1)},
        (RNG.integers(0, 10, (4, 5)),),
    ),
    "loss": (
        lambda: nn.Linear(3, 4),
        lambda model, x, y: nn.cross_entropy(model(x), y, reduction="none"),
        (floats(5, 3), RNG.integers(0, 4, 5)),
    ),
    "loops and branches": (
        lambda: nn.Linear(3, 3),
        lambda model, x: (
            gl.while_loop(lambda s: np.sum(s**2) > 1.0, lambda s: s * 0.7, model(x)),
            gl.cond(np.sum(x) > 0, lambda: model(x), lambda: -model(x) * 2),
            gl.fori_loop(0, 5, lambda i, s: np.tanh(s + model(x)), np.zeros_like(x)),
        ),
        (floats(2, 3),),
    ),
    "indices": (
        lambda: nn.Linear(3, 6),
        lambda model, x, i: (
            np.take_along_axis(model(x), i, axis=1),
            np.sort(model(x), axis=-1),
            model(x).at[:, np.array([0, 2])].add(1.0),
            gl.numpy.dynamic_slice_in_dim(model(x), np.argmax(x[0]), 2, axis=1),
        ),
        (floats(4, 3), RNG.integers(0, 6, (4, 2))),
    ),
    "images": (
        lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
        lambda model, x, grid: (
            nn.functional.interpolate(model(x), scale_factor=1.5, mode="bilinear"),
            nn.functional.grid_sample(model(x), grid, align_corners=False),
            np.pad(model(x), ((0, 0), (0, 0), (1, 2), (0, 3))),
        ),
        (floats(2, 2, 6, 6), floats(2, 3, 3, 2)),
    ),
    "products": (
        lambda: nn.Linear(4, 4),
        lambda model, x, y: (np.einsum("bij,bkj->bik", model(x), model(y)), np.einsum("bij,bkj->kb", x, y)),
        (floats(2, 3, 4), floats(2, 5, 4)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_what_is_exported_computes_the_same_for_any_batch(name, tmp_path):
    make, fn, args = MODELS[name]
    step = loaded(make(), tmp_path)
    path = tmp_path / "model.onnx"
    step.export_onnx(path, fn, *args)
    ran, back, predict = session(path), gl.from_onnx(path), step.bind(fn)
    first = len(args[0])
    expected = ["batch" if len(x) == first else len(x) for x in args]
    assert [each.shape[0] for each in ran.get_inputs()] == expected
    for given in (args, resized(args, 1), resized(args, len(args[0]) + 2)):
        expected = leaves(predict(*given))
        found = ran.run(None, {each.name: x for each, x in zip(ran.get_inputs(), given)})
        for mine, theirs in zip(found, expected, strict=True):
            assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    values = nn.init_parameters(back) | dict(nn.binding.init_buffers(back))
    read = nn.functional_call(back, values, *args)
    for mine, theirs in zip(leaves(read), leaves(predict(*args)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_step_exports_its_parameters_of_now_under_their_names(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    batch = {"x": floats(6, 4), "y": np.arange(6) % 2}
    step = gl.compile_step(model, lambda m, b: nn.cross_entropy(m(b["x"]), b["y"]), gl.optim.SGD(0.5), batch)
    for _ in range(3):
        step(batch)
    path = tmp_path / "model.onnx"
    step.export_onnx(path, lambda model, images: model(images), gl.spec((6, 4)))
    proto = onnx.load(path)
    held = {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer}
    for name, array in {**step.parameters(), **step.buffers()}.items():
        if "num_batches" not in name:
            np.testing.assert_array_equal(held[name], array)
    assert [each.name for each in proto.graph.input] == ["images"]
    assert [each.name for each in proto.graph.output] == ["output"]
    assert {node.name.split("/")[1] for node in proto.graph.node} >= {"0", "1", "3"}
    assert any(node.doc_string.startswith("tests/engine/step/test_export_onnx.py:") or ":" in node.doc_string
               for node in proto.graph.node)  # fmt: skip
    expected = step.bind(lambda model, x: model(x))(batch["x"])
    np.testing.assert_allclose(session(path).run(None, {"images": batch["x"]})[0], expected, rtol=1e-5, atol=1e-6)


def test_what_is_read_back_is_trained_as_the_model_is(tmp_path):
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 2))
    path = tmp_path / "model.onnx"
    loaded(model, tmp_path).export_onnx(path, call, floats(6, 4))
    back = gl.from_onnx(path)
    assert sorted(nn.init_parameters(back)) == sorted(nn.init_parameters(model))
    batch = {"x": floats(6, 4), "y": np.arange(6) % 2}

    def losses(model):
        step = gl.compile_step(model, lambda m, b: nn.cross_entropy(m(b["x"]), b["y"]), gl.optim.Adam(0.01), batch)
        return [step(batch) for _ in range(4)]

    np.testing.assert_allclose(losses(back), losses(model), rtol=1e-5)


def test_pytrees_and_numbers_are_inputs_and_outputs_by_name(tmp_path):
    step = loaded(nn.Linear(3, 2), tmp_path)

    def fn(model, batch, gain):
        return {"weight": model(batch["x"]) * gain, "parts": (batch["y"], gain * 2)}

    args = {"x": floats(4, 3), "y": np.arange(4)}, 0.5
    step.export_onnx(tmp_path / "m.onnx", fn, *args)
    ran = session(tmp_path / "m.onnx")
    assert [each.name for each in ran.get_inputs()] == ["batch.x", "batch.y", "gain"]
    assert sorted(each.name for each in ran.get_outputs()) == ["parts.0", "parts.1", "weight_2"]
    expected = leaves(step.bind(fn)(*args))
    given = {"batch.x": args[0]["x"], "batch.y": args[0]["y"], "gain": np.array(0.5)}
    for mine, theirs in zip(ran.run(None, given), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_a_function_of_one_batch_alone_has_fixed_shapes(tmp_path):
    step = loaded(nn.Linear(4, 6), tmp_path)
    for fn in (
        lambda m, x: m(x).mean(),
        lambda m, x: m(x).reshape(2, -1, 4),
        lambda m, x: m(x) * np.arange(4)[:, None],
    ):
        x = floats(4, 4)
        step.export_onnx(tmp_path / "m.onnx", fn, x)
        ran = session(tmp_path / "m.onnx")
        assert ran.get_inputs()[0].shape == [4, 4]
        np.testing.assert_allclose(ran.run(None, {"x": x})[0], step.bind(fn)(x), rtol=1e-5, atol=1e-6)


def test_tensors_of_more_than_a_file_holds_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(model_writer, "MOST_BYTES", 1000)
    step = loaded(nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 2)), tmp_path)
    path, x = tmp_path / "m.onnx", floats(3, 40)
    step.export_onnx(path, call, x)
    assert path.stat().st_size < 3000 < (tmp_path / "m.onnx.data").stat().st_size
    expected = step.bind(call)(x)
    np.testing.assert_allclose(session(path).run(None, {"args.0": x})[0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gl.from_onnx(path)(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (lambda m, x: np.linalg.cholesky(x.T @ x + np.eye(4)), "ONNX has no operator for cholesky, at .*test_export"),
        (lambda m, x: m(x) + gl.random.normal((4, 2)), "it draws random numbers, .* at .*test_export_onnx.py"),
        (lambda m, x: (gl.debug.print("x {}", x), m(x))[1], "calls gl.debug.print"),
    ],
)
def test_what_onnx_does_not_have_is_named_with_its_line(fn, says, tmp_path):
    step = loaded(nn.Linear(4, 2), tmp_path)
    path = tmp_path / "m.onnx"
    path.write_text("before")
    with pytest.raises(gl.OnnxError, match=says):
        step.export_onnx(path, fn, floats(4, 4))
    assert path.read_text() == "before"


def test_a_function_that_assigns_is_refused(tmp_path):
    step = loaded(nn.BatchNorm1d(4), tmp_path)

    def fn(model, x):
        model.running_mean = x.mean(axis=0)
        return model(x)

    with pytest.raises(gl.OnnxError, match="the function assigns running_mean, and ONNX has no state"):
        step.export_onnx(tmp_path / "m.onnx", fn, floats(4, 4))


def test_a_step_of_another_precision_is_written_in_the_dtypes_of_its_parameters(tmp_path):
    batch = {"x": floats(4, 3), "y": np.arange(4) % 2}
    step = gl.compile_step(
        nn.Linear(3, 2), lambda m, b: nn.cross_entropy(m(b["x"]), b["y"]), gl.optim.SGD(0.1), batch, precision="bf16"
    )
    step.export_onnx(tmp_path / "m.onnx", lambda model, x: model(x), batch["x"])
    (y,) = session(tmp_path / "m.onnx").run(None, {"x": batch["x"]})
    parameters = step.parameters()
    np.testing.assert_allclose(y, batch["x"] @ parameters["weight"].T + parameters["bias"], rtol=1e-5, atol=1e-6)


def test_a_function_without_a_result_is_refused(tmp_path):
    with pytest.raises(TypeError, match="the function returns no array"):
        loaded(nn.Linear(4, 2), tmp_path).export_onnx(tmp_path / "m.onnx", lambda m, x: None, floats(4, 4))


def test_what_is_no_function_is_refused(tmp_path):
    model = nn.Linear(4, 2)
    step = loaded(model, tmp_path)
    with pytest.raises(TypeError, match="takes a path, a function of the model and its arguments, got Linear"):
        step.export_onnx(tmp_path / "m.onnx", model, floats(4, 4))
    with pytest.raises(OSError, match="No such file or directory"):
        step.export_onnx(tmp_path / "nowhere" / "m.onnx", call, floats(4, 4))
