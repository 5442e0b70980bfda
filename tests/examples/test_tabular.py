"""`examples/tabular.py` reads tables, stops early with its best parameters, and trains as torch's."""

from functools import partial

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import tabular
from trained_against_torch import assert_trains_like_torch


def test_it_predicts_better_than_a_linear_function_and_stops_early(capsys):
    errors = tabular.main(["--patience", "3"])
    assert errors["network"] < 0.6 * errors["linear"] < 0.6 * errors["constant"]
    *epochs, stopped, _ = capsys.readouterr().out.splitlines()
    assert len(epochs) < 200
    assert stopped.startswith("no better val_loss for 3 epochs")


def test_a_table_is_read_with_what_is_missing(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "table.csv"
    lines = [f"{'' if i % 5 == 0 else i},{'ab'[i % 2]},{i / 10}" for i in rng.permutation(100)]
    path.write_text("\n".join(["number,letter,y", *lines]))
    (train, *others), categories, _ = tabular.read(path, "y", 0)
    assert [len(part["y"]) for part in (train, *others)] == [70, 15, 15]
    assert categories == [2]
    numbers, missing = train["x"]["numbers"].T
    np.testing.assert_allclose([numbers[missing == 0].mean(), train["y"].mean()], 0, atol=1e-6)
    np.testing.assert_allclose([numbers[missing == 0].std(), train["y"].std()], 1, rtol=1e-6)
    assert (numbers[missing == 1] == 0).all()
    path.write_text("\n".join(["number,y", *(f"{i},{i / 10}" for i in range(100))]))
    figures = tabular.main(["--csv", str(path), "--target", "y", "--epochs", "1"])
    assert figures["linear"] < 1e-3


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs():
    torch = pytest.importorskip("torch")
    n = torch.nn

    class Tabular(n.Module):
        def __init__(self):
            super().__init__()
            self.embeddings = n.ModuleList([n.Embedding(12, 8), n.Embedding(3, 3)])
            layers = [n.Linear(13, 16), n.ReLU(), n.Identity(), n.Linear(16, 16), n.ReLU(), n.Identity()]
            self.layers = n.Sequential(*layers, n.Linear(16, 1))

        def forward(self, rows):
            vectors = [embed(rows["categories"][:, i]) for i, embed in enumerate(self.embeddings)]
            return self.layers(torch.cat([rows["numbers"], *vectors], 1))[:, 0]

    rng = np.random.default_rng(0)
    batches = [
        {
            "x": {"numbers": rng.standard_normal((9, 2)), "categories": rng.integers(0, [12, 3], (9, 2))},
            "y": 2 * rng.standard_normal(9),
        }
        for _ in range(4)
    ]
    ours, make = tabular.Tabular(2, [12, 3], width=16, dropout=0.0), partial(torch.optim.AdamW, lr=2e-3)
    adam = gl.optim.AdamW(2e-3)

    def loss_fn(model, batch):
        return n.functional.smooth_l1_loss(model(batch["x"]), batch["y"])

    assert_trains_like_torch(ours, Tabular(), tabular.loss_fn, loss_fn, batches, adam, make)
