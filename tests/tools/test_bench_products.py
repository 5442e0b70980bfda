"""The benchmark of single products: all sides compute the same, and the table says what was measured."""

import time

import pytest
from gradloom.tools.bench import products
from gradloom.tools.bench.products import GRID, Product


@pytest.mark.parametrize("text", ["5x6x7 f32", "20x30x40 f64 tt", "4x5x6 f32 nt b3", "1x9x1 f64 tn"])
def test_every_side_is_timed_in_every_round(text: str):
    sides = products.sides(Product.parse(text), 1)
    seconds = products.measure(sides, 2, time.perf_counter)
    assert {"gradloom", "openblas"} <= set(seconds) <= {"gradloom", "openblas", "mkl"}
    assert all(len(times) == 2 and min(times) > 0 for times in seconds.values())


def test_a_side_that_computes_something_else_is_found(monkeypatch):
    monkeypatch.setattr(Product, "of", lambda self, x, y: 2 * (x @ y))
    with pytest.raises(AssertionError, match="5x6x7 f32 by openblas is off by"):
        products.sides(Product(5, 6, 7), 1)


def test_the_ratio_is_that_to_the_faster_library_in_the_same_round():
    seconds = {"gradloom": [1.0, 2.0, 1.0], "openblas": [3.0, 4.0, 1.0], "mkl": [2.0, 9.0, 3.0]}
    assert products.ratio(seconds) == 2.0


def test_the_table_has_a_row_for_each_product_and_the_mean(capsys):
    products.main(["--rounds", "1", "4x5x6 f32", "4x5x6 f64 b2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["GFLOP/s", "4x5x6", "4x5x6", "geometric", "least"]


def test_products_are_read_as_they_are_written():
    for product in GRID:
        assert Product.parse(str(product)) == product
    with pytest.raises(ValueError, match="'4x5 f32' is no product like"):
        Product.parse("4x5 f32")


def test_the_grid_has_forty_products_of_all_kinds():
    assert len(set(GRID)) == 40
    assert {product.dtype for product in GRID} == {"f32", "f64"}
    assert {product.layout for product in GRID} == {"nn", "nt", "tn", "tt"}
    squares = {product.m for product in GRID if product.m == product.k == product.n}
    assert (min(squares), max(squares)) == (16, 4096)
    assert any(product.batch > 1 for product in GRID)
    assert any(product.m < 4 for product in GRID)
    assert any(product.n < 16 for product in GRID)
