"""`compile_step(..., shapes="bucket")`: batches of other lengths are padded, and nothing changes but the rounding."""

from __future__ import annotations

import logging

import gradloom as gl
import numpy as np
import optree
import pytest
from gradloom import nn
from gradloom.engine.step.bucket_lengths import BucketLengths
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import interpret, verify
from gradloom.passes.padding.mask_padding import first_difference, mask_padding

RNG = np.random.default_rng(0)


def rows(n, dtype="float64"):
    return {"x": RNG.standard_normal((n, 5)).astype(dtype), "y": RNG.integers(0, 3, n)}


def images(n, h, w, dtype="float64"):
    return {"x": RNG.standard_normal((n, 3, h, w)).astype(dtype), "y": RNG.integers(0, 3, n)}


def tokens(n, t, dtype="float64"):
    return {"x": RNG.integers(0, 13, (n, t)), "y": RNG.integers(0, 3, n)}


def mlp(dtype, *more):
    return nn.Sequential(nn.Linear(5, 7, dtype=dtype), *more, nn.Tanh(), nn.Linear(7, 3, dtype=dtype))


def cross_entropy(model, batch):
    out = model(batch["x"])
    return nn.cross_entropy(out, batch["y"]), {"out": out, "right": (out.argmax(-1) == batch["y"]).mean()}


class Recurrent(nn.Module):
    def __init__(self, kind, pooled, dtype):
        self.embedding = nn.Embedding(13, 6, dtype=dtype)
        both = pooled == "max"
        self.rnn = kind(6, 5, batch_first=True, bidirectional=both, dtype=dtype)
        self.head = nn.Linear(10 if both else 5, 3, dtype=dtype)
        self.pooled = pooled

    def forward(self, x):
        out, _ = self.rnn(self.embedding(x))
        out = {"mean": lambda: out.mean(1), "max": lambda: out.max(1), "last": lambda: out[:, -1]}[self.pooled]()
        return self.head(out)


class Transformer(nn.Module):
    def __init__(self, causal, dtype):
        self.embedding, self.positions = nn.Embedding(13, 8, dtype=dtype), nn.Embedding(32, 8, dtype=dtype)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True, dtype=dtype)
        self.head = nn.Linear(8, 13, dtype=dtype)
        self.causal = causal

    def forward(self, x):
        length = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.causal else None
        return self.head(self.layer(self.embedding(x) + self.positions(np.arange(length)), mask))


def next_token(model, batch):
    out = model(batch["x"][:, :-1])
    return nn.cross_entropy(out.reshape(-1, 13), batch["x"][:, 1:].reshape(-1), ignore_index=0), {"out": out}


def pooled_logits(model, batch):
    out = model(batch["x"])
    log_sum = np.log(np.sum(np.exp(out), axis=(1, 2)))
    return log_sum.mean(), {"rows": out.reshape(-1, 13), "largest": out.max(1)}


def cnn(dtype):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, dtype=dtype),
        nn.BatchNorm2d(4, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, dtype=dtype),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(6, dtype=dtype),
        nn.Linear(6, 3, dtype=dtype),
    )


LENGTHS = [(8, 9), (5, 11), (7, 16), (5, 15)]
MODELS = {
    "dropout": (lambda d: mlp(d, nn.Dropout(0.4)), cross_entropy, rows, (16,), [(9,), (11,), (12,)], {}),
    "sum of squares": (
        lambda d: mlp(d),
        lambda m, b: (m(b["x"]) ** 2).sum(),
        rows,
        (16,),
        [(9,), (11,)],
        {"clip_norm": 0.1},
    ),
    "batch norm": (lambda d: mlp(d, nn.BatchNorm1d(7, dtype=d)), cross_entropy, rows, (16,), [(9,), (11,)], {}),
    "in parts": (mlp, cross_entropy, rows, (16,), [(9,), (11,)], {"accumulate": 4}),
    "measured": (mlp, cross_entropy, rows, (16,), [(9,), (11,)], {"diagnose": True, "check_finite": True}),
    "cnn": (cnn, cross_entropy, images, (8, 16, 16), [(7, 15, 14), (5, 14, 13)], {}),
    "lstm": (lambda d: Recurrent(nn.LSTM, "mean", d), cross_entropy, tokens, (8, 16), LENGTHS, {}),
    "gru": (lambda d: Recurrent(nn.GRU, "max", d), cross_entropy, tokens, (8, 16), LENGTHS, {}),
    "last of rnn": (lambda d: Recurrent(nn.RNN, "last", d), cross_entropy, tokens, (8, 16), LENGTHS, {}),
    "language model": (lambda d: Transformer(True, d), next_token, tokens, (8, 16), LENGTHS, {}),
    "attention to all": (lambda d: Transformer(False, d), pooled_logits, tokens, (8, 16), LENGTHS, {}),
}


def real_of(array, axes):
    factors = [factor for axis in axes for factor in axis.factors]
    grid = array.reshape([factor[0] for factor in factors])
    return grid[tuple(slice(factor[-1]) for factor in factors)].reshape([axis.size[-1] for axis in axes])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_a_padded_step_computes_what_a_step_does(name, dtype):
    make, loss_fn, batch_of, own, lengths, options = MODELS[name]
    model, optimizer, tolerance = make(dtype), gl.optim.SGD(0.1, momentum=0.9), 1e-12 if dtype == "float64" else 1e-5
    tree = optree.tree_structure(batch_of(*own))

    def traced(shapes, **changed):
        specs = [gl.spec(shape, leaf.dtype) for shape, leaf in zip(shapes, optree.tree_leaves(batch_of(*own, dtype)))]
        return trace_step(model, loss_fn, optimizer, optree.tree_unflatten(tree, specs), **(options | changed))

    buckets = BucketLengths([leaf.shape for leaf in optree.tree_leaves(batch_of(*own))])
    buckets.of([leaf.shape for leaf in optree.tree_leaves(batch_of(*lengths[-1]))])
    for length in lengths:
        batch = optree.tree_leaves(batch_of(*length, dtype))
        shapes = [leaf.shape for leaf in batch]
        bucket = buckets.of(shapes)[0]
        whole = traced(bucket.shapes)
        probe, real = (traced(given, accumulate=1) for given in (bucket.probe(shapes), shapes))
        masked = mask_padding(whole.graph, probe.graph, real.graph)
        verify(masked.graph)
        held = []
        for value in real.graph.inputs[: real.batch_range.start]:
            is_float = value.type.dtype.kind == "f"
            held.append(np.asarray(np.abs(RNG.standard_normal(value.type.shape)) * 0.4 if is_float else 3))
        held = [array.astype(v.type.dtype) for array, v in zip(held, real.graph.inputs)]
        padded = [np.pad(leaf, [(0, n - m) for n, m in zip(s, leaf.shape)]) for leaf, s in zip(batch, bucket.shapes)]
        with np.errstate(all="ignore"):
            results = interpret(masked.graph, *held, *padded, *masked.numbers(-1))
            expected = interpret(real.graph, *held, *batch)
        for result, wanted, axes in zip(results, expected, masked.outputs, strict=True):
            scale = np.abs(wanted).max(initial=1)
            np.testing.assert_allclose(real_of(result, axes), wanted, tolerance, tolerance * scale)
        if length is lengths[0]:
            first = mask_padding(whole.graph, probe.graph)
            assert first_difference(first.graph, masked.graph) is None


def make_step(loss_fn=cross_entropy, model=None, **options):
    batch = {"x": gl.spec((16, 5)), "y": gl.spec((16,), "int64")}
    return gl.compile_step(model or mlp("float32", nn.Dropout(0.2)), loss_fn, gl.optim.AdamW(0.01), batch, **options)


def test_a_run_over_batches_of_many_lengths_is_that_of_a_step_for_each(caplog):
    bucket, each = make_step(shapes="bucket"), make_step()
    with caplog.at_level(logging.WARNING, "gradloom"):
        batches = [rows(n, "float32") for n in (16, 9, 11, 12, 10, 16)]
        for batch in batches:
            loss, metrics = bucket(batch)
            expected, wanted = each(batch)
            np.testing.assert_allclose(loss, expected, 1e-5)
            assert metrics["out"].shape == wanted["out"].shape
            np.testing.assert_allclose(metrics["out"], wanted["out"], 1e-4, 1e-5)
            assert metrics["right"] == wanted["right"]
    for name, value in bucket.parameters().items():
        np.testing.assert_allclose(value, each.parameters()[name], 1e-4, 1e-5)
    assert len(bucket._signatures) == 2
    told = [message for message in caplog.messages if "padded step" in message]
    assert len(told) == 1
    assert "batch.x is (12, 5), before (16, 5)" in told[0]
    with pytest.raises(TypeError, match="float64"):
        bucket(rows(10))
    with pytest.raises(IndexError):
        bucket(batches[1] | {"y": np.full(9, 3)})
    assert bucket.steps == 6


def test_what_cannot_be_padded_is_named_once_and_compiled_as_it_is(caplog):
    def loss_fn(model, batch):
        return np.sum(model(batch["x"])[::-2] ** 2)

    bucket, each = make_step(loss_fn, shapes="bucket"), make_step(loss_fn)
    with caplog.at_level(logging.WARNING, "gradloom"):
        for n in (9, 10, 9):
            batch = rows(n, "float32")
            np.testing.assert_allclose(bucket(batch), each(batch), 1e-5)
    refused = [message for message in caplog.messages if "not padded" in message]
    assert len(refused) == 1
    assert "slice along an axis of another length has no exact form" in refused[0]
    assert "test_buckets.py:" in refused[0]
    assert len(bucket._signatures) == 3


def test_what_crosses_one_axis_is_padded_along_the_other(caplog):
    def loss_fn(model, batch):
        return np.mean(model(batch["x"])[:, ::-2] ** 2)

    batch = {"x": gl.spec((8, 12, 3))}
    bucket, each = (
        gl.compile_step(nn.Linear(3, 2), loss_fn, gl.optim.SGD(0.1), batch, shapes=shapes)
        for shapes in ("bucket", "any")
    )
    with caplog.at_level(logging.WARNING, "gradloom"):
        for count, length in ((7, 11), (5, 11), (6, 11), (8, 11)):
            x = {"x": RNG.standard_normal((count, length, 3)).astype("float32")}
            np.testing.assert_allclose(bucket(x), each(x), 1e-5)
    told = [message for message in caplog.messages if "fewer axes" in message]
    assert len(told) == 1
    assert "slice along an axis" in told[0]
    assert len(bucket._signatures) == 3  # with those for 8 and for 6 entries of length 11


def test_code_that_changes_within_a_bucket_is_not_taken_for_the_same(caplog):
    def loss_fn(model, batch):
        out = model(batch["x"])
        return np.mean(out**2) if len(out) > 9 else np.mean(np.abs(out))

    bucket, each = make_step(loss_fn, shapes="bucket"), make_step(loss_fn)
    with caplog.at_level(logging.WARNING, "gradloom"):
        for n in (11, 9, 10):
            batch = rows(n, "float32")
            np.testing.assert_allclose(bucket(batch), each(batch), 1e-5)
    assert sum("another one for one length" in message for message in caplog.messages) == 1
    assert len(bucket._signatures) == 3


def test_a_length_that_cannot_be_traced_is_not_padded_to(caplog):
    table = nn.Embedding(20, 4)

    class Model(nn.Module):
        def __init__(self):
            self.table = table

        def forward(self, x):
            return self.table(np.arange(x.shape[0])).sum() * np.mean(x)

    batch = {"x": gl.spec((8,))}
    bucket = gl.compile_step(Model(), lambda m, b: m(b["x"]), gl.optim.SGD(0.1), batch, shapes="bucket")
    with caplog.at_level(logging.WARNING, "gradloom"):
        bucket({"x": np.ones(19, "float32")})
    assert "cannot be traced for batches of (24,)" in caplog.text

    def loss_fn(model, batch):
        assert len(batch["x"]) % 2 == 0
        return model(batch["x"])

    even = gl.compile_step(Model(), loss_fn, gl.optim.SGD(0.1), batch, shapes="bucket")
    even({"x": np.ones(6, "float32")})
    with pytest.raises(AssertionError):
        even({"x": np.ones(5, "float32")})


def test_padded_programs_keep_to_the_limits_of_the_step():
    least = make_step().report.total_bytes
    bucket = make_step(shapes="bucket", max_programs=1, memory=least)
    for n in (9, 5):
        bucket(rows(n, "float32"))
    assert len(bucket._signatures) == 2
    assert all(program.report.total_bytes <= least for program in bucket._signatures.values())
    tight = gl.compile_step(
        mlp("float32"), cross_entropy, gl.optim.SGD(0.1), rows(9, "float32"), shapes="bucket", memory="100%"
    )
    with pytest.raises(gl.MemoryBudgetError):
        tight(rows(40, "float32"))


def test_prints_checks_and_diagnoses_are_of_the_batch_as_it_is(capsys):
    def loss_fn(model, batch):
        gl.debug.print("labels {}", batch["y"])
        out = model(batch["x"])
        return np.mean(np.log(np.sum(out * out, 1)) * batch["y"].astype("float32"))

    bucket = make_step(loss_fn, mlp("float32"), shapes="bucket", check_finite=True, diagnose=True, accumulate=2)
    each = make_step(loss_fn, mlp("float32"), check_finite=True, diagnose=True, accumulate=2)
    batch = rows(11, "float32")
    np.testing.assert_allclose(bucket(batch), each(batch), 1e-5)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"labels {batch['y']}"] * 2
    assert str(bucket.diagnosis).splitlines()[1:3] == str(each.diagnosis).splitlines()[1:3]
    batch["x"][3] = np.nan
    assert bucket.first_nonfinite(batch) == each.first_nonfinite(batch)
    with pytest.raises(FloatingPointError, match=r"batch\.x"):
        bucket(batch)


def test_bound_functions_and_gradients_are_padded_alike():
    batch = {"x": gl.spec((8, 16), "int64"), "y": gl.spec((8,), "int64")}
    model = Recurrent(nn.RNN, "mean", "float64")
    bucket, each = (
        gl.compile_step(model, cross_entropy, gl.optim.SGD(0.1), batch, shapes=shapes) for shapes in ("bucket", "any")
    )

    def predict(model, x, scale, rows):
        gl.debug.print("{}", rows)
        return {"embedded": model.embedding(x) * scale, "classes": model(x), "length": x.shape[1] * 1.0, "rows": rows}

    both = bucket.bind(predict), each.bind(predict)
    for count, length in ((8, 16), (8, 11), (8, 9)):
        given = tokens(count, length)
        results = [fn(given["x"], 2.0, np.arange(count)) for fn in both]
        optree.tree_map(lambda one, other: np.testing.assert_allclose(one, other, 1e-12), *results)
        if length == 16:
            continue
        gradients = [step.gradients(given) for step in (bucket, each)]
        for name, value in gradients[0].items():
            np.testing.assert_allclose(value, gradients[1][name], 1e-11, 1e-14)
    assert [len(fn._signatures) for fn in both] == [2, 3]
    assert len(bucket._gradients._programs) == 1
    assert "2 programs" in repr(both[0])
    assert "12" in both[0]._repr_html_()


def test_loaders_of_buckets_go_with_it():
    examples = [{"x": RNG.integers(1, 13, n), "y": np.int64(n % 3)} for n in (9, 12, 10, 12, 9, 16, 15, 14, 11, 12, 13)]
    loader = gl.data.Buckets(examples, 5, lengths=[12, 16], mask=None)
    batch = {"x": gl.spec((5, 16), "int64"), "y": gl.spec((5,), "int64")}
    model = Recurrent(nn.RNN, "last", "float32")
    bucket = gl.compile_step(model, cross_entropy, gl.optim.SGD(0.1), batch, shapes="bucket")
    lengths = {(5, 16), *(tuple(b["x"].shape) for _ in range(2) for b in loader)}
    history = gl.fit(bucket, loader, epochs=2, progress=False)
    assert np.isfinite(history["loss"]).all()
    assert len(bucket._signatures) <= len(lengths)
