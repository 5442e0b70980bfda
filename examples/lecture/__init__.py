"""The experiments of the lecture "On the Training of Neural Networks", one file each, in the order of its ideas."""

NAMES = (
    "cost_exponents",
    "three_budgets",
    "signal_propagation",
    "activations",
    "initialization",
    "identical_neurons",
    "skip_connections",
    "batch_norm",
    "layer_norm",
    "clipping",
    "optimizers",
    "rprop_minibatches",
    "epsilon",
    "limits_of_optimizers",
    "second_order",
    "weight_decay",
    "dropout",
    "augmentation",
    "minimum_norm",
    "random_labels",
    "full_batch",
    "flat_minima",
)
"""Each is a module here with `TITLE`, `CLAIM` and `run(setting)`."""
