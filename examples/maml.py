"""Model-agnostic meta-learning: initial values from which a few steps on a few points fit a curve never seen before.

python examples/maml.py [--steps 3000] [--tasks 25] [--shots 10] [--memory 80%] [--seed 0]

A task is a sine curve of its own amplitude and phase. The network takes one step of gradient descent on `shots` points
of it; the loss is the error on other points after that step. Its derivative goes through the step, and has second
derivatives in it. All tasks of a batch run at once, by `gl.vmap`. What is printed is the error on new curves after 0,
1, 5 and 10 steps, from these initial values and from those that training on all curves gives, without the step.

Finn, Abbeel and Levine 2017, "Model-agnostic meta-learning for fast adaptation of deep networks".
"""

import argparse
from functools import partial

import gradloom as gl
import numpy as np
from gradloom import nn

RATE = 0.01


def network(width=40):
    return nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def error(model, parameters, x, y):
    return nn.mse_loss(nn.functional_call(model, parameters, x), y)


def adapted(model, x, y, steps):
    """The parameters after steps of gradient descent on the points x and y, (shots, 1)."""
    parameters = dict(model.named_parameters())
    for _ in range(steps):
        gradients = gl.grad(lambda p: error(model, p, x, y))(parameters)
        parameters = {name: p - RATE * gradients[name] for name, p in parameters.items()}
    return parameters


def meta_loss(model, tasks, steps=1):
    """The mean error of tasks, (tasks, shots, 1) each, at "x_new", after steps on the points at "x"."""

    def of_task(task):
        return error(model, adapted(model, task["x"], task["y"], steps), task["x_new"], task["y_new"])

    return gl.vmap(of_task)(tasks).mean()


def joint_loss(model, tasks):
    """The mean error of tasks without a step."""
    return nn.mse_loss(model(tasks["x"]), tasks["y"])


def sines(tasks, shots, rng):
    """Curves of amplitudes from 0.1 to 5 and phases from 0 to π, at points from -5 to 5."""
    amplitude, phase = rng.uniform(0.1, 5, (tasks, 1, 1)), rng.uniform(0, np.pi, (tasks, 1, 1))
    x, x_new = rng.uniform(-5, 5, (2, tasks, shots, 1))
    batch = {"x": x, "y": amplitude * np.sin(x - phase), "x_new": x_new, "y_new": amplitude * np.sin(x_new - phase)}
    return {name: array.astype(np.float32) for name, array in batch.items()}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--tasks", type=int, default=25)
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--memory", help="a bound for all that the step takes, such as 2MB or 80%%")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    new = sines(500, options.shots, np.random.default_rng([options.seed, 1]))
    figures = {}
    for name, loss_fn in {"meta-learned": meta_loss, "trained jointly": joint_loss}.items():
        rng = np.random.default_rng(options.seed)
        batch = sines(options.tasks, options.shots, rng)
        step = gl.compile_step(network(), loss_fn, gl.optim.Adam(1e-3), batch, memory=options.memory, seed=options.seed)
        for i in range(options.steps):
            loss = step(sines(options.tasks, options.shots, rng))
            if (i + 1) % max(options.steps // 5, 1) == 0:
                print(f"{name}: step {i + 1:5}  loss {loss:.3f}")
        figures[name] = {n: float(step.bind(partial(meta_loss, steps=n))(new)) for n in (0, 1, 5, 10)}
    for name, errors in figures.items():
        print(f"{name:16}" + "".join(f"   after {n:2}: {value:.3f}" for n, value in errors.items()))
    return figures


if __name__ == "__main__":
    main()
