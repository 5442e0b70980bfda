"""The experiments of the lecture "On the Training of Neural Networks", one file each, in the order of its ideas."""

NAMES = (
    "cost_exponents",
    "three_budgets",
    "signal_propagation",
    "identical_neurons",
)
"""Each is a module here with `TITLE`, `CLAIM` and `run(setting)`."""
