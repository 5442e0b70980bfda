"""A network for tables: numbers and categories of a CSV file in, a number out, trained until it gets no better.

python examples/tabular.py [--csv FILE.csv --target COLUMN] [--epochs 200] [--patience 15] [--seed 0]

Columns of texts are categories, each of which has a vector that is learned; where a number is missing, the network is
told so. Training ends when rows that are held out were predicted no better for `patience` epochs, and the parameters of
the best epoch are put back. Without a file one is made, of houses whose prices follow from size, age, place and
heating. What is printed is the mean absolute error on test rows: of the network, of the best linear function of the
same inputs, and of a constant.

Guo and Berkhahn 2016, "Entity embeddings of categorical variables".
"""

import argparse
import tempfile
from pathlib import Path

import gradloom as gl
import numpy as np
from gradloom import nn


class Tabular(nn.Module):
    """Rows {"numbers": (n, columns), "categories": (n, columns)} to a number each, (n,)."""

    def __init__(self, numbers, categories, width=64, dropout=0.1):
        sizes = [min(count, 8) for count in categories]
        self.embeddings = nn.ModuleList([nn.Embedding(count, size) for count, size in zip(categories, sizes)])
        self.layers = nn.Sequential(
            nn.Linear(numbers + sum(sizes), width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, 1),
        )

    def forward(self, rows):
        vectors = [embedding(rows["categories"][:, i]) for i, embedding in enumerate(self.embeddings)]
        return self.layers(np.concatenate([rows["numbers"], *vectors], axis=1))[:, 0]


def loss_fn(model, batch):
    return nn.smooth_l1_loss(model(batch["x"]), batch["y"])


def write_houses(path, count, rng):
    """A CSV file of houses; of some the area is not known."""
    districts = {"north": 1.0, "south": 1.2, "harbour": 1.5, "old town": 2.0, "hills": 1.7}
    district, heating = rng.choice(list(districts), count), rng.choice(["gas", "oil", "electric"], count)
    area, age, distance = rng.gamma(6, 20, count), rng.integers(0, 120, count), rng.exponential(5, count)
    price = 20 * area * [districts[name] for name in district] * np.exp(rng.normal(-distance / 20, 0.05))
    price *= np.where(age > 90, 1.2, 1 - age / 200) * np.where(heating == "oil", 0.85, 1)
    area = np.where(rng.random(count) < 0.03, "", area.round(1).astype(str))
    names = ("area", "age", "distance", "district", "heating", "price")
    lines = [names, *zip(area, age, distance.round(1), district, heating, price.round(1))]
    Path(path).write_text("\n".join(",".join(map(str, line)) for line in lines), encoding="utf-8")


def read(path, target, seed):
    """Rows of a file to train, to validate and to test with, "x" and "y"; the sizes of categories; the unit of "y"."""
    table = gl.data.read_csv(path)
    y = table.pop(target).astype(np.float32)
    texts = {name: gl.data.categories(column) for name, column in table.items() if column.dtype.kind == "U"}
    codes = np.column_stack([np.empty((len(y), 0), np.int64), *(codes for codes, _ in texts.values())])
    numbers = np.column_stack([np.empty((len(y), 0)), *(table[name] for name in table if name not in texts)])
    parts = gl.data.split({"x": {"numbers": numbers, "categories": codes}, "y": y}, [0.7, 0.15, 0.15], seed)
    known = parts[0]["x"]["numbers"]  # nothing is taken from the rows to validate and to test with
    mean, deviation = np.nanmean(known, axis=0), np.nanstd(known, axis=0) + 1e-9
    middle, unit = parts[0]["y"].mean(), parts[0]["y"].std()
    for part in parts:
        scaled = (part["x"]["numbers"] - mean) / deviation
        part["x"]["numbers"] = np.column_stack([np.nan_to_num(scaled), np.isnan(scaled)]).astype(np.float32)
        part["y"] = (part["y"] - middle) / unit
    return parts, [len(names) for _, names in texts.values()], unit


def linear_predictions(train, test, categories):
    """Of the test rows, by least squares on the others."""
    inputs = [
        np.column_stack([x["numbers"], *(np.eye(count)[x["categories"][:, i]] for i, count in enumerate(categories))])
        for x in (train["x"], test["x"])
    ]
    return inputs[1] @ np.linalg.lstsq(inputs[0], train["y"])[0]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", help="a file with a line of names first")
    parser.add_argument("--target", default="price", help="the column of numbers to predict")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--patience", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as folder:
        path = options.csv or Path(folder, "houses.csv")
        if not options.csv:
            write_houses(path, 4000, np.random.default_rng(options.seed))
        (train, valid, test), categories, unit = read(path, options.target, options.seed)
    model, batch = Tabular(train["x"]["numbers"].shape[1], categories), gl.tree.map(lambda array: array[:64], train)
    step = gl.compile_step(model, loss_fn, gl.optim.AdamW(2e-3), batch, seed=options.seed)
    stop = gl.callbacks.EarlyStopping(patience=options.patience, restore_best=True)
    history = gl.fit(step, train, epochs=options.epochs, validate=valid, callbacks=stop, seed=options.seed)
    print(history.stopped or f"after all {options.epochs} epochs")
    predictions = {
        "network": step.bind(lambda model, x: model(x))(test["x"]),
        "linear": linear_predictions(train, test, categories),
        "constant": 0,
    }
    errors = {name: float(np.abs(y - test["y"]).mean() * unit) for name, y in predictions.items()}
    print("mean absolute error: " + ", ".join(f"{name} {error:.4g}" for name, error in errors.items()))
    return errors


if __name__ == "__main__":
    main()
