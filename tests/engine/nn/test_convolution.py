"""Convolutions against torch in float64: values, gradients and second derivatives of every option; what they refuse."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)

FORWARD = [
    ((2, 3, 7), (4, 3, 3), {}),
    ((3, 7), (4, 3, 2), {"stride": 2, "padding": 3}),
    ((2, 4, 9), (6, 2, 3), {"padding": "same", "groups": 2, "dilation": 2}),
    ((2, 4, 5), (4, 4, 1), {"padding": "valid", "stride": 2}),
    ((2, 3, 6, 5), (4, 3, 3, 3), {}),
    ((2, 3, 6, 5), (4, 3, 3, 2), {"padding": "same"}),
    ((2, 3, 6, 5), (4, 3, 2, 4), {"padding": "same", "dilation": (2, 1)}),
    ((2, 3, 7, 8), (5, 3, 3, 3), {"stride": 2, "padding": 1}),
    ((2, 3, 7, 8), (5, 3, 5, 3), {"stride": (1, 2), "padding": (2, 0), "dilation": (1, 2)}),
    ((2, 4, 6, 6), (4, 1, 3, 3), {"padding": 1, "groups": 4}),
    ((2, 4, 6, 6), (8, 1, 3, 3), {"stride": 2, "padding": 1, "groups": 4}),
    ((2, 6, 5, 5), (4, 3, 3, 3), {"padding": 1, "groups": 2}),
    ((2, 3, 6, 6), (4, 3, 1, 1), {"stride": 3}),
    ((2, 3, 1, 1), (4, 3, 1, 1), {}),
    ((2, 3, 1, 1), (4, 3, 5, 5), {"padding": 2}),
    ((1, 2, 2, 3), (3, 2, 5, 4), {"padding": (3, 2)}),
    ((1, 3, 1, 1), (4, 3, 3, 3), {"padding": 1}),
    ((1, 3, 1, 3), (3, 3, 1, 3), {"stride": (3, 1)}),
    ((2, 5, 5, 1), (3, 5, 3, 3), {"stride": 2, "padding": (0, 1)}),
    ((2, 3, 2), (20, 3, 4), {"stride": 3, "padding": 1}),
    ((0, 3, 4, 4), (2, 3, 3, 3), {"padding": 1}),
    ((2, 20, 5, 19), (18, 20, 3, 3), {"padding": 1}),
    ((1, 2, 4, 5, 3), (3, 2, 2, 3, 1), {"stride": (2, 1, 1), "padding": (1, 1, 0)}),
    ((2, 4, 3, 3, 3), (2, 2, 3, 3, 3), {"padding": "same", "groups": 2}),
]

BACKWARD = [
    ((2, 3, 7), (3, 4, 3), {}),
    ((3, 4), (3, 2, 3), {"stride": 3, "padding": 1, "output_padding": 2}),
    ((2, 3, 4, 5), (3, 4, 3, 3), {}),
    ((2, 3, 4, 5), (3, 4, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((2, 4, 4, 5), (4, 2, 3, 2), {"stride": (2, 1), "padding": (1, 0), "groups": 2, "dilation": (1, 2)}),
    ((2, 4, 3, 3), (4, 1, 2, 2), {"stride": 3, "groups": 4}),
    ((2, 3, 3, 3), (3, 2, 2, 2), {"dilation": 3, "output_padding": (2, 1), "padding": 1}),
    ((2, 3, 4, 4), (3, 2, 4, 4), {"stride": 2, "padding": 1}),
    ((2, 3, 1, 1), (3, 2, 4, 4), {}),
    ((0, 3, 4, 4), (3, 2, 2, 2), {"stride": 2}),
    ((1, 2, 2, 3, 2), (2, 3, 2, 2, 1), {"stride": (1, 2, 2), "output_padding": (0, 1, 1)}),
]

CASES = [(f"conv{len(w) - 2}d", x, w, options) for x, w, options in FORWARD]
CASES += [(f"conv_transpose{len(w) - 2}d", x, w, options) for x, w, options in BACKWARD]


def arrays(name, x, w, options):
    """Input, weight and bias of a case."""
    out = w[1] * options.get("groups", 1) if "transpose" in name else w[0]
    rng = np.random.default_rng(3)
    return [rng.standard_normal(shape) for shape in (x, w, (out,))]


def derivatives_by_torch(name, options, given, seeds):
    """Value, gradients of a weighted sum, and gradients of a weighted sum of those."""
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(a, requires_grad=True) for a in given]
    value = getattr(torch.nn.functional, name)(*tensors, **options)
    outer = torch.tensor(seeds[0], requires_grad=True)
    first = torch.autograd.grad((value * outer).sum(), tensors, create_graph=True)
    total = sum((g * torch.tensor(s)).sum() for g, s in zip(first, seeds[1:], strict=True))
    wrt = [*tensors[:2], outer]
    second = torch.autograd.grad(total, wrt, allow_unused=True)  # of empty batches, torch knows none
    second = [torch.zeros_like(t) if g is None else g for t, g in zip(wrt, second, strict=True)]
    return [t.detach().numpy() for t in (value, *first, *second)]


def derivatives(name, options):
    def first(seed, *given):
        return gl.grad(lambda *xs: (getattr(F, name)(*xs, **options) * seed).sum(), argnums=(0, 1, 2))(*given)

    def total(x, w, bias, seed, *seeds):
        return sum((g * s).sum() for g, s in zip(first(seed, x, w, bias), seeds, strict=True))

    def everything(x, w, bias, seed, *seeds):
        second = gl.grad(total, argnums=(0, 1, 3))(x, w, bias, seed, *seeds)
        return getattr(F, name)(x, w, bias, **options), *first(seed, x, w, bias), *second

    return everything


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths")
@pytest.mark.parametrize(("name", "x", "w", "options"), CASES)
def test_values_gradients_and_second_derivatives_are_torchs(name, x, w, options):
    given = arrays(name, x, w, options)
    shape = getattr(F, name)(*given, **options).shape
    rng = np.random.default_rng(4)
    seeds = [rng.standard_normal(s) for s in (shape, *(a.shape for a in given))]
    expected = derivatives_by_torch(name, options, given, seeds)
    for run in (derivatives(name, options), gl.compile(derivatives(name, options))):
        for actual, wanted in zip(run(*given, *seeds), expected, strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-9, atol=1e-9)


LAYERS = [
    ("Conv1d", (4, 6, 3), {"padding": 1}, (2, 4, 9)),
    ("Conv2d", (4, 6, 3), {"padding": "same", "groups": 2, "bias": False}, (2, 4, 5, 6)),
    ("Conv2d", (4, 6, (3, 2)), {"padding": (2, 1), "padding_mode": "reflect", "stride": 2}, (2, 4, 5, 6)),
    ("Conv2d", (4, 6, (3, 2)), {"padding": "same", "padding_mode": "circular"}, (2, 4, 5, 6)),
    ("Conv2d", (4, 6, 3), {"padding": 4, "padding_mode": "replicate", "dilation": 2}, (4, 5, 6)),
    ("Conv3d", (2, 4, 2), {}, (1, 2, 3, 3, 3)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "output_padding": 1}, (2, 4, 5)),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "groups": 2, "dilation": 2}, (2, 4, 5, 3)),
    ("ConvTranspose3d", (2, 4, 2), {"padding": 1}, (1, 2, 3, 3, 3)),
]


@pytest.mark.peers
@pytest.mark.parametrize(("name", "arguments", "options", "shape"), LAYERS)
def test_layers_have_torchs_parameters_and_values(name, arguments, options, shape):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(*arguments, **options)
    ours = getattr(nn, name)(*arguments, **options)
    state = {key: value.detach().numpy() for key, value in theirs.state_dict().items()}
    initial = nn.init_parameters(ours)
    assert {key: value.shape for key, value in initial.items()} == {key: value.shape for key, value in state.items()}
    for key, value in initial.items():
        assert np.abs(value).max() <= 1.01 * np.sqrt(1 / np.prod(state["weight"].shape[1:])), key
    x = RNG.standard_normal(shape).astype("float32")
    expected = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(nn.functional_call(ours, state, x), expected, rtol=1e-4, atol=1e-5)
    assert theirs.extra_repr().split(", ")[:2] == ours.extra_repr().split(", ")[:2]


def test_a_transposed_layer_gives_the_size_that_it_is_asked_for():
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, dtype="float64")
    values = nn.init_parameters(layer)
    x = np.ones((1, 2, 4, 4))
    call = gl.nn.functional_call
    assert call(layer, values, x).shape == (1, 3, 7, 7)
    assert call(layer, values, x, (8, 7)).shape == (1, 3, 8, 7)
    with pytest.raises(ValueError, match=r"output_size is from \[7, 7\] to \[8, 8\], got \(9, 7\)"):
        call(layer, values, x, (9, 7))


X, W = np.zeros((1, 4, 5, 5)), np.zeros((6, 4, 3, 3))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X, W), {"groups": 3}, ValueError, r"groups 3 must divide the channels in, 4, and out, 6; 1 or 2 would"),
        ((X, W), {"groups": 2}, ValueError, r"has 4 channels, weight \(6, 4, 3, 3\) in 2 groups is for 8"),
        ((X, np.zeros((6, 3, 3, 3))), {}, ValueError, r"input has 4 channels, .* in 1 groups is for 3"),
        ((X, np.zeros((6, 5, 3, 3))), {}, ValueError, r"channels come first here, \(1, 4, 5, 5\).*: np.moveaxis"),
        (
            (X, np.zeros((6, 4, 7, 7))),
            {},
            ValueError,
            r"kernel \(7, 7\) .* larger than the padded input, \(1, 4, 5",
        ),
        ((X, W), {"dilation": 3}, ValueError, r"kernel \(3, 3\) with dilation \(3, 3\) is larger"),
        ((X, W), {"stride": 0}, ValueError, r"stride is a whole number of 1 or more"),
        ((X, W), {"stride": (1, 1, 1)}, ValueError, r"stride is .*, or 2 of them for the axes, got \(1, 1, 1\)"),
        ((X, W), {"padding": -1}, ValueError, r"padding is a whole number of 0 or more"),
        ((X, W), {"padding": "full"}, ValueError, r"padding is a number, 'same' or 'valid', got 'full'"),
        ((X, W), {"padding": "same", "stride": 2}, ValueError, r"padding 'same' is for stride 1"),
        ((X, W, np.zeros(4)), {}, ValueError, r"bias is \(6,\), one for each channel out, got \(4,\)"),
        ((X[0, 0], W), {}, ValueError, r"input is \(n, channels, height, width\) or .*, got \(5, 5\)"),
        ((X, W[0]), {}, ValueError, r"weight has 4 axes"),
        ((X.astype(int), W), {}, TypeError, r"input and weight are floats, got \(1, 4, 5, 5\) int64"),
    ],
)
def test_conv2d_refuses_what_does_not_fit_and_names_the_line(arguments, options, error, message):
    with pytest.raises(error, match=message) as caught:
        F.conv2d(*arguments, **options)
    assert "test_convolution.py" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 3}, r"groups 3 must divide the channels in, 4; 1, 2 or 4 would do"),
        ({"output_padding": 2, "stride": 2}, r"output_padding \(2, 2\) must be below stride \(2, 2\)"),
        ({"padding": 4}, r"the output would be of lengths \(-1, -1\)"),
    ],
)
def test_conv_transpose2d_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        F.conv_transpose2d(X, np.zeros((4, 2, 3, 3)), **options)
    with pytest.raises(ValueError, match=r"input has 4 channels, weight \(5, 2, 3, 3\) is for 5"):
        F.conv_transpose2d(X, np.zeros((5, 2, 3, 3)))


def test_layers_refuse_what_no_input_could_fit():
    with pytest.raises(ValueError, match="groups 3 must divide in_channels 4 and out_channels 6; 1 or 2 would do"):
        nn.Conv2d(4, 6, 3, groups=3)
    with pytest.raises(ValueError, match="padding_mode is one of zeros, reflect, replicate, circular, got 'mirror'"):
        nn.Conv2d(4, 6, 3, padding_mode="mirror")
    with pytest.raises(ValueError, match="padding 'same' is for stride 1"):
        nn.Conv2d(4, 6, 3, padding="same", stride=2)
    with pytest.raises(ValueError, match="padding_mode is 'zeros' here"):
        nn.ConvTranspose2d(4, 6, 3, padding_mode="reflect")
    layer = nn.Conv2d(4, 6, 3, padding=5, padding_mode="reflect", dtype="float64")
    values = nn.init_parameters(layer)
    with pytest.raises(ValueError, match=r"\(5, 5\) in mode 'reflect' is too much for an axis of length 5, at .*py:"):
        nn.functional_call(layer, values, X)


def test_floats_of_two_widths_meet_in_the_wider():
    assert F.conv2d(X.astype("float32"), W).dtype == np.float64


class Net(nn.Module):
    """Two convolutions with a shortcut, a strided one, a depthwise one, and a linear map of the mean."""

    def __init__(self):
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding="same", bias=False)
        self.down = nn.Conv2d(8, 20, 3, stride=2, padding=1)
        self.each = nn.Conv2d(20, 20, 5, padding=2, groups=20)
        self.up = nn.ConvTranspose2d(20, 5, 2, stride=2)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        h = nn.relu(self.first(x))
        h = nn.relu(h + self.second(h))
        h = nn.relu(self.up(nn.relu(self.each(nn.relu(self.down(h))))))
        return self.head(h.mean(axis=(2, 3)))


def torch_losses(torch, state, batches):
    """The losses of the same network, trained by torch."""
    t = {key: torch.nn.Parameter(torch.tensor(value)) for key, value in state.items()}
    f = torch.nn.functional

    def forward(x):
        h = f.relu(f.conv2d(x, t["first.weight"], t["first.bias"], padding=1))
        h = f.relu(h + f.conv2d(h, t["second.weight"], padding=1))
        h = f.relu(f.conv2d(h, t["down.weight"], t["down.bias"], stride=2, padding=1))
        h = f.relu(f.conv2d(h, t["each.weight"], t["each.bias"], padding=2, groups=20))
        h = f.relu(f.conv_transpose2d(h, t["up.weight"], t["up.bias"], stride=2))
        return f.linear(h.mean((2, 3)), t["head.weight"], t["head.bias"])

    optimizer = torch.optim.AdamW(t.values(), lr=1e-2)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = f.cross_entropy(forward(torch.tensor(batch["x"])), torch.tensor(batch["y"]))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.peers
def test_a_convolutional_network_learns_as_torchs_does_with_the_same_bits_for_any_threads():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    batches = [
        {"x": rng.standard_normal((6, 3, 10, 12), dtype="float32"), "y": rng.integers(0, 4, 6)} for _ in range(12)
    ]
    runs = []
    for threads in (1, 3):
        step = gl.compile_step(
            Net(),
            lambda model, batch: nn.cross_entropy(model(batch["x"]), batch["y"]),
            gl.optim.AdamW(1e-2),
            batches[0],
            threads=threads,
            seed=1,
        )
        state = {key: np.array(value) for key, value in step.parameters().items()}
        runs.append([float(step(batch)) for batch in batches])
        step.report.check()
    assert runs[0] == runs[1]
    np.testing.assert_allclose(runs[0], torch_losses(torch, state, batches), rtol=2e-4)
    assert runs[0][-1] != runs[0][0]
