"""Groups of parameters: which parameters they have, what they are trained with, their rates, and their state."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

BATCH = {"x": np.random.default_rng(0).standard_normal((6, 4)).astype("float32"), "y": np.arange(6) % 3}


class Model(nn.Module):
    def __init__(self):
        self.body = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.LayerNorm(5))
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.body(x))


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def parts(optimizer, model=None):
    """By parameter: its optimizer, and the group of its rate."""
    named = (model or Model()).stored_parameters()
    resolved = optimizer.resolved({n: p.type for n, p in named}, [n for n, p in named if p.requires_grad])
    return {name: (part.optimizer, part.group) for part in resolved.parts for name in part.parameters}


def test_a_parameter_takes_the_options_of_all_its_patterns_and_of_two_that_disagree_the_later():
    adamw = optim.AdamW(1e-3)
    found = parts(
        optim.groups(
            {
                "*.bias": {"weight_decay": 0},
                "head.*": {"lr": 1e-4, "eps": 1e-6},
                optim.ndim(2): optim.Muon(0.02),
                lambda name, type: type.shape == (3, 5): {"weight_decay": 0.5},
                "body.3.*": {"optimizer": optim.SGD(0.1), "momentum": 0.5},
                "*.3.weight": {"lr": 0.3},
            },
            default=adamw,
        )
    )
    no_decay = optim.AdamW(1e-3, weight_decay=0)
    assert found == {
        "body.0.weight": (optim.Muon(0.02), "ndim(2)"),
        "body.0.bias": (no_decay, "*.bias"),
        "body.2.weight": (optim.Muon(0.02), "ndim(2)"),
        "body.2.bias": (no_decay, "*.bias"),
        "body.3.weight": (optim.SGD(0.3, momentum=0.5), "*.3.weight"),
        "body.3.bias": (optim.SGD(0.1, momentum=0.5), "body.3.*"),
        "head.weight": (optim.Muon(0.02, weight_decay=0.5), "ndim(2)"),
        "head.bias": (optim.AdamW(1e-4, eps=1e-6, weight_decay=0), "head.*"),
    }


def test_a_key_may_be_several_patterns():
    found = parts(optim.groups({("*.bias", "*.3.*"): {"lr": 0.5}}, default=optim.SGD(0.25)))
    assert [name for name, (_, group) in found.items() if group == "*.bias, *.3.*"] == [
        *(f"body.{i}.bias" for i in (0, 2)),
        *(f"body.3.{name}" for name in ("weight", "bias")),
        "head.bias",
    ]


def test_a_tied_parameter_is_meant_by_any_of_its_names():
    class Tied(nn.Module):
        def __init__(self):
            self.embed, self.head = nn.Linear(4, 4), nn.Linear(4, 4)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(np.tanh(self.embed(x)))

    step = gl.compile_step(Tied(), loss_fn, optim.groups({"head.*": {"lr": 0.0}}, default=optim.SGD(0.5)), BATCH)
    before = step.parameters()
    step(BATCH)
    assert [n for n, a in step.parameters().items() if np.any(a != before[n])] == ["embed.bias"]


def test_each_group_is_trained_as_by_its_optimizer_alone():
    options = {"*.bias": {"weight_decay": 0.3}, "head.*": {"optimizer": optim.NAdam(0.05)}}
    alone = {
        "default": optim.NAdam(0.01),
        "*.bias": optim.NAdam(0.01, weight_decay=0.3),
        "head.*": optim.NAdam(0.05),
    }
    groups = parts(optim.groups(options, default=optim.NAdam(0.01)))
    for group, optimizer in alone.items():
        step = gl.compile_step(Model(), loss_fn, optim.groups(options, default=optim.NAdam(0.01)), BATCH)
        assert {"mu_product", "mu_product[*.bias]", "mu_product[head.*]"} <= step.state().keys()
        step.learning_rates = {other: 0.0 for other in alone if other != group} | {group: optimizer.lr}
        model = Model()
        for name, parameter in model.stored_parameters():
            parameter.requires_grad = groups[name][1] == group
        peer, begin = gl.compile_step(model, loss_fn, optimizer, BATCH), step.parameters()
        for _ in range(3):
            step(BATCH)
            peer(BATCH)
        for name, array in step.parameters().items():
            np.testing.assert_allclose(array, peer.parameters()[name], rtol=1e-6, err_msg=name)
            assert np.array_equal(array, begin[name]) == (groups[name][1] != group)


def grouped(lr):
    options = {"*.bias": {"weight_decay": 0}, "head.*": {"lr": optim.StepDecay(0.5, 2, 0.5)}}
    return optim.groups(options, default=optim.AdamW(lr))


def test_rates_are_read_and_set_by_group_and_saved(tmp_path):
    schedule = optim.Exponential(0.25, 0.5)
    step = gl.compile_step(Model(), loss_fn, grouped(schedule), BATCH)
    assert step.learning_rates == {"default": 0.25, "*.bias": 0.25, "head.*": 0.5}
    for _ in range(2):
        step(BATCH)
    assert step.learning_rates == {"default": 0.0625, "*.bias": 0.0625, "head.*": 0.25}
    read = step.learning_rates
    read["*.bias"] = np.float32(0.125)
    assert read == step.learning_rates == {"default": 0.0625, "*.bias": 0.125, "head.*": 0.25}
    step.learning_rate = 1
    assert step.learning_rates == {"default": 1.0, "*.bias": 0.125, "head.*": 0.25}
    step.learning_rates = {"default": 0.75, "*.bias": None}
    assert step.learning_rates == {"default": 0.75, "*.bias": 0.75, "head.*": 0.25}
    assert step.learning_rate == 0.75
    path = tmp_path / "a.safetensors"
    step.save(path)
    step(BATCH)
    other = gl.compile_step(Model(), loss_fn, grouped(schedule), BATCH, seed=1)
    other.load(path)
    assert other.learning_rates == {"default": 0.75, "*.bias": 0.75, "head.*": 0.25}
    other(BATCH)
    for name, array in (step.parameters() | step.state()).items():
        np.testing.assert_array_equal((other.parameters() | other.state())[name], array, err_msg=name)
    other.learning_rate = None
    assert other.learning_rates == {"default": 0.03125, "*.bias": 0.03125, "head.*": 0.25}

    before = step.learning_rates
    for wrong in (-1.0, np.nan, np.inf, "a", True):
        with pytest.raises(ValueError, match=r"a learning rate of the group 'head\.\*' is a number of 0 or more"):
            step.learning_rates = {"default": 3.0, "head.*": wrong}
    with pytest.raises(KeyError, match=r"no parameter has its learning rate from a group 'haed\.\*'; there are"):
        step.learning_rates["haed.*"] = 1.0
    with pytest.raises(KeyError, match=r"there is no group 'no'; there are 'default', '\*\.bias', 'head\.\*'"):
        step.learning_rates["no"]
    with pytest.raises(TypeError, match="the groups of a step are fixed"):
        del step.learning_rates["head.*"]
    with pytest.raises(TypeError, match="the groups of a step are fixed"):
        step.learning_rates |= {"head.*": 0.5}
    with pytest.raises(TypeError, match=r"learning rates are a dict by group, got 0\.5"):
        step.learning_rates = 0.5
    assert step.learning_rates == before


def test_a_step_of_one_optimizer_has_one_group():
    step = gl.compile_step(nn.Linear(4, 3), loss_fn, optim.SGD(0.5), BATCH)
    assert step.learning_rates == {"default": 0.5}
    step.learning_rates["default"] = 0.25
    assert step.learning_rate == 0.25


def test_a_schedule_of_a_group_that_gives_no_rate_is_named_and_nothing_has_changed():
    lr = optim.Lambda(1.0, lambda step: -1.0 if step else 0.5)
    step = gl.compile_step(Model(), loss_fn, optim.groups({"head.*": {"lr": lr}}, default=optim.SGD(0.1)), BATCH)
    step(BATCH)
    before = step.parameters()
    with pytest.raises(ValueError, match=r"the group 'head\.\*': the learning rate for step 1 is -1\.0"):
        step(BATCH)
    assert step.steps == 1
    np.testing.assert_equal(step.parameters(), before)
    step.learning_rates = {"head.*": 0.5}
    step(BATCH)


def test_each_group_follows_its_own_plateau(tmp_path):
    plateaus = [optim.ReduceOnPlateau(0.5, patience=patience, threshold=1.0) for patience in (0, 2)]
    optimizer = optim.groups({"head.*": {"lr": plateaus[1]}}, default=optim.SGD(plateaus[0]))
    step = gl.compile_step(Model(), loss_fn, optimizer, BATCH)
    assert {"plateau_lr", "plateau_lr[head.*]", "plateau_bad", "plateau_bad[head.*]"} <= step.state().keys()
    rates = []
    for _ in range(4):
        step(BATCH)
        rates.append(list(step.learning_rates.values()))
    np.testing.assert_allclose(rates, [[0.05, 0.5], [0.005, 0.5], [5e-4, 0.05], [5e-5, 0.05]])
    step.save(tmp_path / "a.safetensors")
    other = gl.compile_step(Model(), loss_fn, optimizer, BATCH)
    other.load(tmp_path / "a.safetensors")
    assert other.learning_rates == step.learning_rates


def test_the_state_of_other_groups_is_refused_and_other_options_are_a_warning(tmp_path):
    def step_of(optimizer):
        return gl.compile_step(Model(), loss_fn, optimizer, BATCH)

    path = tmp_path / "a.safetensors"
    step_of(grouped(0.1)).save(path)
    for optimizer in (optim.AdamW(0.1), optim.groups({"*.bias": {"weight_decay": 0}}, default=optim.AdamW(0.1))):
        step = step_of(optimizer)
        before = step.state()
        message = r"come from groups\(\{'\*\.bias': AdamW, 'head\.\*': AdamW\}, default=AdamW\), the step's opt"
        with pytest.raises(gl.CheckpointError, match=message):
            step.load(path)
        np.testing.assert_equal(step.state(), before)
    options = {"*.bias": {"weight_decay": 0.5}, "head.*": {"lr": 0.5}}
    with pytest.warns(gl.CheckpointWarning) as found:
        step_of(optim.groups(options, default=optim.AdamW(0.3))).load(path)
    lines = str(found[0].message).splitlines()[1:]
    assert lines == [
        "  AdamW's weight_decay in '*.bias': 0 before, 0.5 now",
        "  AdamW's weight_decay in '*.bias, head.*': 0 before, 0.5 now",
        "  the learning rate of the group 'head.*': StepDecay(lr=0.5, every=2, factor=0.5) before, 0.5 now",
    ]


def test_where_no_parameter_has_the_default_its_rate_is_none_that_can_be_set():
    optimizer = optim.groups(
        {"*": {"lr": 0.5}, "head.*": optim.SGD(0.25), "head.weight": {"momentum": 0.5, "lr": 1}}, default=optim.AdamW()
    )
    step = gl.compile_step(Model(), loss_fn, optimizer, BATCH)
    assert step.learning_rates == {"*": 0.5, "head.*": 0.25, "head.weight": 1}
    step(BATCH)
    for act in (lambda: step.learning_rate, lambda: setattr(step, "learning_rate", 0.5)):
        with pytest.raises(
            KeyError, match=r"no parameter has its learning rate from a group 'default'; there are '\*'"
        ):
            act()


def test_frozen_parameters_are_in_no_group_and_a_pattern_may_match_them_alone():
    model = Model()
    model.head.weight.requires_grad = model.head.bias.requires_grad = False
    optimizer = optim.groups({"head.*": {"lr": 0.5}, "*.bias": {"weight_decay": 0}}, default=optim.AdamW(0.1))
    step = gl.compile_step(model, loss_fn, optimizer, BATCH)
    assert step.learning_rates == {"default": 0.1, "*.bias": 0.1}
    before = step.parameters()
    step(BATCH)
    now = step.parameters()
    assert [name for name in now if np.array_equal(now[name], before[name])] == ["head.weight", "head.bias"]
    assert not any("head" in name for name in step.state())


def test_the_norm_is_that_of_all_groups_together():
    optimizer = optim.groups({"head.*": {"lr": 0.5}}, default=optim.SGD(0.5))
    ends = []
    for each in (optimizer, optim.SGD(0.5)):
        step = gl.compile_step(Model(), loss_fn, each, BATCH, clip_norm=0.1)
        for _ in range(3):
            step(BATCH)
        ends.append(step.parameters())
    np.testing.assert_equal(*ends)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: optim.groups({"b": {"weight_decy": 0}}, optim.AdamW()),
            TypeError,
            "'b': AdamW has no argument",
        ),
        (
            lambda: optim.groups({"b": {"weight_decay": -1}}, optim.AdamW()),
            ValueError,
            "'b': AdamW: weight_decay is",
        ),
        (lambda: optim.groups({"b": {"lr": -1}}, optim.AdamW()), ValueError, "'b': AdamW: lr is a number of 0 or more"),
        (lambda: optim.groups({1: {}}, optim.AdamW()), TypeError, r"got 1; write gl\.optim\.ndim\(1\)"),
        (lambda: optim.groups({"b": 1e-3}, optim.AdamW()), TypeError, r"'b' has a dict of options.*got 0\.001"),
        (lambda: optim.groups({"b": optim.SGD}, optim.AdamW()), TypeError, "'b' has a dict .*got the class SGD"),
        (lambda: optim.groups({"b": {"optimizer": "sgd"}}, optim.AdamW()), TypeError, "optimizer is one such as"),
        (lambda: optim.groups({}, optim.AdamW), TypeError, "default is an optimizer, .*got the class AdamW"),
        (lambda: optim.groups({"default": {}}, optim.AdamW()), ValueError, "'default' is the group of the default"),
        (
            lambda: optim.groups({"b": optim.groups({}, optim.SGD())}, optim.AdamW()),
            TypeError,
            "go.* around all groups",
        ),
        (
            lambda: optim.groups([{"params": 1, "lr": 2}], optim.AdamW()),
            TypeError,
            r"torch's list .*gl\.optim\.groups\(",
        ),
        (
            lambda: optim.AdamW([{"params": 1, "lr": 2}]),
            TypeError,
            r"write gl\.optim\.groups\(\{.*default=gl\.optim\.AdamW",
        ),
        (lambda: optim.ndim(), ValueError, "ndim takes numbers of axes"),
        (lambda: optim.ndim("1"), ValueError, "ndim takes numbers of axes, such as .*, got '1'"),
        (
            lambda: parts(optim.groups({"haed.*": {"lr": 1}}, optim.AdamW())),
            ValueError,
            r"the pattern 'haed\.\*' matches no parameter; near names are head\.bias, head\.weight",
        ),
        (
            lambda: parts(optim.groups({optim.ndim(7): {}}, optim.AdamW())),
            ValueError,
            r"ndim\(7\) is true of no parameter",
        ),
        (
            lambda: parts(optim.groups({"*.bias": {"momentum": 0.1}, "head.*": optim.SGD()}, optim.AdamW())),
            TypeError,
            r"groups: body\.0\.bias is of the group '\*\.bias': AdamW has no argument 'momentum'",
        ),
        (
            lambda: gl.plan_step(Model(), loss_fn, optim.groups({"body.*": optim.Muon()}, optim.SGD()), BATCH),
            ValueError,
            r"body\.0\.bias: Muon is for matrices.*train it with another optimizer: gl\.optim\.groups",
        ),
    ],
)
def test_bad_groups_are_told(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.peers
def test_groups_are_torchs_parameter_groups():
    torch = pytest.importorskip("torch")
    options = {"*.bias": {"weight_decay": 0, "lr": 3e-3}, "head.weight": {"betas": (0.5, 0.9), "weight_decay": 0.1}}
    step = gl.compile_step(Model(), loss_fn, optim.groups(options, default=optim.AdamW(1e-2)), BATCH, threads=1)
    begin = step.parameters()

    class Peer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            layers = (torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 5), torch.nn.LayerNorm(5))
            self.body, self.head = torch.nn.Sequential(*layers), torch.nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.body(x))

    peer = Peer()
    peer.load_state_dict({name: torch.tensor(array) for name, array in begin.items()})
    named = dict(peer.named_parameters())
    biases = [p for name, p in named.items() if name.endswith("bias")]
    rest = [p for name, p in named.items() if name.endswith("weight") and name != "head.weight"]
    optimizer = torch.optim.AdamW(
        [
            {"params": biases, "weight_decay": 0, "lr": 3e-3},
            {"params": [named["head.weight"]], "betas": (0.5, 0.9), "weight_decay": 0.1},
            {"params": rest},
        ],
        lr=1e-2,
    )
    for i in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(peer(torch.tensor(BATCH["x"])), torch.tensor(BATCH["y"])).backward()
        optimizer.step()
        if i == 20:
            optimizer.param_groups[0]["lr"] = 1e-4
        step(BATCH)
        if i == 20:
            step.learning_rates["*.bias"] = 1e-4
    for name, array in step.parameters().items():
        np.testing.assert_allclose(array, named[name].detach().numpy(), rtol=3e-4, atol=3e-5, err_msg=name)
