"""Tables of embeddings against torch's: options of gradients, bags of every kind, and what is refused."""

import itertools
import warnings
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from modules_against_torch import assert_module_like_torch

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)
INDEX = np.array([1, 4, 0, 1, 6, 2, 2, 4, 4, 4, 3])
OFFSETS = {
    "some": [0, 3, 4, 9],
    "with empty bags": [0, 0, 5, 5, 11],
    "one": [0],
    "one each": list(range(11)),
}


@pytest.mark.peers
@pytest.mark.parametrize(("padding", "by_frequency"), list(itertools.product([None, 4, -1], [False, True])))
def test_rows_and_their_gradients_are_torchs(padding, by_frequency):
    torch = pytest.importorskip("torch")
    options = {"padding_idx": padding, "scale_grad_by_freq": by_frequency}
    for index in (INDEX, INDEX[:10].reshape(2, 5).astype("int32")):
        assert_module_like_torch(nn.Embedding(7, 3, **options), torch.nn.Embedding(7, 3, **options), index)
    ours = nn.Embedding(7, 3, **options)
    step = gl.compile_step(ours, lambda m, b: (m(b) ** 2).sum(), gl.optim.SGD(0.1), INDEX, threads=1)
    theirs = torch.nn.Embedding(7, 3, **options)
    theirs.load_state_dict({"weight": torch.tensor(step.parameters()["weight"])})
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (theirs(torch.tensor(INDEX)) ** 2).sum().backward()
        optimizer.step()
        step(INDEX)
    np.testing.assert_allclose(step.parameters()["weight"], theirs.weight.detach().numpy(), rtol=1e-5)


@pytest.mark.peers
@pytest.mark.parametrize(("mode", "padding"), list(itertools.product(["sum", "mean", "max"], [None, 4])))
def test_bags_are_torchs(mode, padding):
    torch = pytest.importorskip("torch")
    options = {"mode": mode, "padding_idx": padding}
    for name in OFFSETS:
        offsets = np.array(OFFSETS[name])
        ours, theirs = nn.EmbeddingBag(7, 3, **options), torch.nn.EmbeddingBag(7, 3, **options)
        assert_module_like_torch(ours, theirs, INDEX, offsets)
        last = {"include_last_offset": True}
        ours, theirs = nn.EmbeddingBag(7, 3, **options, **last), torch.nn.EmbeddingBag(7, 3, **options, **last)
        assert_module_like_torch(ours, theirs, INDEX, np.append(offsets, 11) if offsets[-1] < 11 else offsets)
        if mode == "sum":
            weights = RNG.standard_normal(11)
            assert_module_like_torch(ours, theirs, INDEX, np.append(offsets, 11), weights)
    ours, theirs = nn.EmbeddingBag(7, 3, **options), torch.nn.EmbeddingBag(7, 3, **options)
    assert_module_like_torch(ours, theirs, INDEX[:10].reshape(2, 5))
    assert_module_like_torch(ours, theirs, np.full((3, 2), 4))
    if mode == "sum":
        assert_module_like_torch(ours, theirs, INDEX[:10].reshape(2, 5), None, RNG.standard_normal((2, 5)))


def test_the_gradient_of_a_bag_may_be_divided_by_how_often_a_row_is_looked_up():
    # torch's kernel for CPUs divides by how often another row is.
    weight = RNG.standard_normal((7, 3))

    def in_bags(weight):
        bags = F.embedding_bag(INDEX, weight, np.array([0, 3, 9]), mode="sum", scale_grad_by_freq=True)
        return (bags**3).sum()

    def by_rows(weight):
        rows = F.embedding(INDEX, weight, scale_grad_by_freq=True)
        return sum((rows[i:j].sum(axis=0) ** 3).sum() for i, j in ((0, 3), (3, 9), (9, 11)))

    np.testing.assert_allclose(gl.grad(in_bags)(weight), gl.grad(by_rows)(weight), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_bags_are_what_their_rows_give(dtype):
    weight, offsets = RNG.standard_normal((7, 3)).astype(dtype), np.array([0, 0, 3, 9])
    factors = RNG.standard_normal(11).astype(dtype)

    def all_modes(weight, index, offsets, factors):
        bags = [F.embedding_bag(index, weight, offsets, mode=m, padding_idx=2) for m in ("sum", "mean", "max")]
        bags.append(F.embedding_bag(index, weight, offsets, mode="sum", per_sample_weights=factors))
        return sum((b * b).sum() for b in bags), bags

    f = gl.compile(gl.value_and_grad(all_modes, (0, 3), has_aux=True))
    (_, bags), gradients = f(weight, INDEX, offsets, factors)
    (_, wanted), expected = gl.value_and_grad(all_modes, (0, 3), has_aux=True)(weight, INDEX, offsets, factors)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for mine, other in zip((*bags, *gradients), (*wanted, *expected)):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(bags[0][0], 0)
    np.testing.assert_allclose(bags[2][1], weight[[1, 4, 0]].max(axis=0))
    for bad in ([1, 3, 5, 7], [0, 3, 5, 12], [0, 3, 5, -1]):
        with pytest.raises(IndexError):
            f(weight, INDEX, np.array(bad), factors)


def test_bags_of_nothing_and_of_none():
    weight = RNG.standard_normal((7, 3))
    none = np.zeros(0, int)
    for mode in ("sum", "mean", "max"):
        np.testing.assert_array_equal(F.embedding_bag(none, weight, np.zeros(2, int), mode=mode), np.zeros((2, 3)))
        np.testing.assert_array_equal(F.embedding_bag(none.reshape(2, 0), weight, mode=mode), np.zeros((2, 3)))
        assert F.embedding_bag(none.reshape(0, 2), weight, mode=mode).shape == (0, 3)


@pytest.mark.peers
def test_pretrained_tables_are_taken_over_and_kept():
    torch = pytest.importorskip("torch")
    rows = RNG.standard_normal((5, 2)).astype("float32")
    for given in (rows, torch.tensor(rows), torch.tensor(rows).bfloat16().float()):
        for kind in (nn.Embedding, nn.EmbeddingBag):
            table = kind.from_pretrained(given, padding_idx=1)
            assert not table.weight.requires_grad
            np.testing.assert_array_equal(table.state_dict()["weight"], np.asarray(given))
    assert nn.Embedding.from_pretrained(rows.astype("float64"), freeze=False).weight.dtype == np.float64
    assert nn.Embedding(5, 2, _weight=rows, _freeze=False).weight.requires_grad
    with pytest.raises(gl.ShapeError, match=r"the weight is \(5, 2\), expected \(5, 3\)"):
        nn.Embedding(5, 3, _weight=rows)
    with pytest.raises(gl.ShapeError, match=r"embeddings \(num, dim\), got shape \(5,\)"):
        nn.Embedding.from_pretrained(rows[:, 0])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.Embedding(4, 2, max_norm=1.0), NotImplementedError, "max_norm=1.0; .*scale the weight"),
        (lambda: F.embedding(INDEX, np.ones((9, 2)), max_norm=2.0), NotImplementedError, "max_norm"),
        (lambda: nn.EmbeddingBag(4, 2, mode="min"), ValueError, "mode is one of sum, mean, max, got 'min'"),
        (lambda: nn.EmbeddingBag(4, 2, mode="max", scale_grad_by_freq=True), ValueError, "does not go with mode"),
        (lambda: F.embedding_bag(INDEX, np.ones((9, 2))), gl.ShapeError, r"or \(N,\) with offsets, got \(11,\)"),
        (lambda: F.embedding_bag(INDEX[None], np.ones((9, 2)), [0]), gl.ShapeError, r"got \(1, 11\) int64"),
        (lambda: F.embedding_bag(INDEX, np.ones((9, 2)), [0.5]), TypeError, r"offsets are integers \(bags,\)"),
        (lambda: F.embedding_bag(INDEX, np.ones(9), [0]), gl.ShapeError, r"weight is \(num, dim\)"),
        (lambda: F.embedding_bag(INDEX, np.ones((9, 2)), [0], padding_idx=9), ValueError, "not among 9 embeddings"),
        (
            lambda: F.embedding_bag(INDEX, np.ones((9, 2)), [0], per_sample_weights=np.ones(11)),
            ValueError,
            "per_sample_weights go with mode='sum'",
        ),
        (
            lambda: F.embedding_bag(INDEX, np.ones((9, 2)), [0], mode="sum", per_sample_weights=np.ones(10)),
            gl.ShapeError,
            r"per_sample_weights are \(10,\) float64, expected \(11,\) float64",
        ),
    ],
)
def test_what_is_not_supported_or_does_not_fit_is_refused(call, kind, message):
    with pytest.raises(kind, match=rf"{message}.*, at \S*test_embedding\.py:\d+"):
        call()


def squared(model, batch):
    return gl.numpy.mean((model(batch) - batch["y"]) ** 2)


@pytest.mark.peers
@pytest.mark.parametrize("rows", [200, 20], ids=["few rows read", "most rows read"])
@pytest.mark.parametrize(
    ("optimizer", "options"), [("SGD", {}), ("SGD", {"momentum": 0.9}), ("Adagrad", {}), ("SparseAdam", {})]
)
def test_sparse_tables_train_as_those_of_torch(optimizer: str, options: dict[str, float], rows: int):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)

    def layers(of: Any, dtype: Any) -> tuple[Any, Any]:
        table = of.Embedding(rows, 5, padding_idx=3, sparse=True, dtype=dtype)
        return table, of.EmbeddingBag(rows, 5, mode="sum", sparse=True, dtype=dtype)

    class Ours(nn.Module):
        def __init__(self):
            self.one, self.bag = layers(nn, "float64")

        def forward(self, batch):
            both = F.relu(self.one(batch["i"]) * self.one(batch["j"]))  # whole rows of zeros among the gradients
            return gl.numpy.sum(both + self.bag(batch["k"]), axis=1)

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.bag = layers(torch.nn, torch.float64)

        def forward(self, batch):
            both = torch.relu(self.one(batch["i"]) * self.one(batch["j"]))
            return (both + self.bag(batch["k"])).sum(1)

    def batch():
        i, j, k = rng.integers(0, rows, 6), rng.integers(0, 10, 6), rng.integers(0, rows, (6, 3))
        return {"i": i, "j": j, "k": k, "y": rng.normal(size=6)}

    batches = [batch() for _ in range(5)]
    step = gl.compile_step(Ours(), squared, getattr(gl.optim, optimizer)(lr=0.1, **options), batches[0])
    twin = Theirs()
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            parameter.copy_(torch.tensor(step.parameters()[name]))
    descent = getattr(torch.optim, optimizer)(list(twin.parameters()), lr=0.1, **options)
    for given in batches:
        tensors = {name: torch.tensor(array) for name, array in given.items()}
        descent.zero_grad()
        loss = ((twin(tensors) - tensors["y"]) ** 2).mean()
        loss.backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch speaks of its checks of sparse tensors
            descent.step()
        np.testing.assert_allclose(step(given), loss.item(), rtol=1e-12)
    for name, parameter in twin.named_parameters():
        np.testing.assert_allclose(step.parameters()[name], parameter.detach().numpy(), rtol=1e-11, atol=1e-13)


def test_a_sparse_table_is_not_for_rules_that_move_all_rows():
    class Model(nn.Module):
        def __init__(self):
            self.table = nn.Embedding(90, 2, sparse=True)
            self.top = nn.Linear(2, 1)

        def forward(self, batch):
            return self.top(self.table(batch["i"]))[:, 0]

    batch = {"i": np.arange(3), "y": np.zeros(3, "float32")}
    for optimizer in (gl.optim.AdamW(), gl.optim.SGD(weight_decay=0.1), gl.optim.Muon()):
        with pytest.raises(ValueError, match=r"table.weight is of a table with sparse=True.* take SGD or Adagrad"):
            gl.plan_step(Model(), squared, optimizer, batch)
    groups = gl.optim.groups({"table.*": gl.optim.SparseAdam()}, default=gl.optim.AdamW())
    gl.plan_step(Model(), squared, groups, batch)
    frozen = Model()
    frozen.table.weight.requires_grad = False
    gl.plan_step(frozen, squared, gl.optim.AdamW(), batch)
