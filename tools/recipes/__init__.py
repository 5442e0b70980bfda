"""The recipes that the commands know by name."""

from .bench_cnn import cnn
from .bench_lstm import lstm_bench
from .bench_mlps import mlp_l, mlp_m, mlp_s
from .digits import digits
from .gpt import gpt
from .lstm import lstm
from .mnist import mnist
from .recipe import Ingredients, Recipe
from .resnet import resnet

_ALL: tuple[Recipe, ...] = (digits, mnist, resnet, gpt, lstm, mlp_s, mlp_m, mlp_l, cnn, lstm_bench)
RECIPES: dict[str, Recipe] = {recipe.__name__: recipe for recipe in _ALL}

__all__ = ["RECIPES", "Ingredients", "Recipe"]
