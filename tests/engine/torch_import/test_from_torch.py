"""Modules of torch as models: values, names, modes and updates as torch has them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gradloom as gl
import numpy as np
import pytest

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def classified(model: Any, batch: Any) -> Any:
    return gl.nn.cross_entropy(model(batch["x"]), batch["y"])


def a_batch(rows: int = 6, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 5, dtype=torch.float64, generator=generator)
    return {"x": x, "y": torch.randint(0, 3, (rows,), generator=generator)}


def a_net(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.GELU(), torch.nn.Linear(7, 3)).double()


def test_steps_are_those_of_torch_and_the_module_takes_their_state() -> None:
    net, batch = a_net(), a_batch()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    model = gl.from_torch(net, batch["x"])
    step = gl.compile_step(model, classified, gl.optim.AdamW(1e-2), batch)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(10):
        ours = step(batch)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(batch["x"]), batch["y"])
        loss.backward()
        optimizer.step()
        assert ours == pytest.approx(loss.item(), rel=1e-12)
    trained = {name: value.clone() for name, value in net.state_dict().items()}
    for name, value in model.state_dict(seed=0).items():
        assert torch.equal(value, before[name])
    assert net.load_state_dict(step.state_dict(), strict=True)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, trained[name])


def test_one_export_takes_batches_of_any_size() -> None:
    net = a_net()
    model = gl.from_torch(net, a_batch()["x"])
    step = gl.compile_step(model, classified, gl.optim.SGD(0.0), a_batch())
    for rows in (1, 2, 9):
        batch = a_batch(rows, rows)
        expected = torch.nn.functional.cross_entropy(net(batch["x"]), batch["y"]).item()
        assert step(batch) == pytest.approx(expected, rel=1e-12)


def test_a_module_that_fixes_its_batch_is_exported_for_each() -> None:
    class ByRow(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))

        def forward(self, x: Any) -> Any:
            return sum(row * self.weight * i for i, row in enumerate(x.unbind(0)))

    module = ByRow()
    model = gl.from_torch(module, torch.ones(2, 5, dtype=torch.float64))
    step = gl.compile_step(model, lambda m, b: m(b).sum(), gl.optim.SGD(0.0), torch.ones(2, 5, dtype=torch.float64))
    for rows in (2, 3, 1):
        x = torch.randn(rows, 5, dtype=torch.float64)
        assert step(x) == pytest.approx(module(x).sum().item() if rows > 1 else 0.0)


class Normalized(torch.nn.Module):
    """What has statistics, draws, a tied weight, a frozen one, and buffers of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 5)
        self.norm = torch.nn.BatchNorm1d(5)
        self.drop = torch.nn.Dropout(0.5)
        self.frozen = torch.nn.Linear(5, 5, bias=False).requires_grad_(False)
        self.head = torch.nn.Linear(5, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("shift", torch.full((5,), 0.5), persistent=False)
        self.double()

    def forward(self, tokens: Any) -> Any:
        if self.training:
            self.seen += 1
        x = self.norm(self.embedding(tokens).flatten(0, 1)) + self.shift
        return self.head(self.drop(self.frozen(x)))


def by_tokens(model: Any, batch: Any) -> Any:
    return gl.nn.cross_entropy(model(batch["tokens"]), batch["tokens"].reshape(-1))


def test_a_step_trains_and_a_bound_function_evaluates_whatever_mode_the_module_has() -> None:
    torch.manual_seed(0)
    module = Normalized().eval()
    module.norm.train()
    modes = [part.training for part in module.modules()]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    batch = {"tokens": torch.randint(0, 7, (4, 3))}
    model = gl.from_torch(module, batch["tokens"])
    step = gl.compile_step(model, by_tokens, gl.optim.SGD(0.1), batch)
    losses = [step(batch) for _ in range(3)]
    assert len(set(losses)) == 3
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    state = step.state_dict()
    assert list(state) == list(before)
    assert torch.equal(state["head.weight"], state["embedding.weight"])
    assert torch.equal(state["frozen.weight"], before["frozen.weight"])
    assert state["seen"] == 3 == state["norm.num_batches_tracked"]
    assert not torch.equal(state["norm.running_mean"], before["norm.running_mean"])
    module.load_state_dict(state, strict=True)
    predicted = step.bind(lambda model, tokens: model(tokens))(batch["tokens"])
    np.testing.assert_allclose(predicted, module.eval()(batch["tokens"]).detach().numpy(), rtol=1e-12)


def test_batch_norms_statistics_are_torchs() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()).double()
    x = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    model = gl.from_torch(module, x)
    step = gl.compile_step(model, lambda m, x: (m(x) ** 2).mean(), gl.optim.SGD(0.1, momentum=0.9), x)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        loss = (module(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        assert step(x) == pytest.approx(loss.item())
    for name, value in module.state_dict().items():
        torch.testing.assert_close(step.state_dict()[name], value)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_are_torchs(kind: str) -> None:
    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(4, 3, num_layers=2, bidirectional=True, batch_first=True).double()
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    model = gl.from_torch(module, x)
    output, _ = module(x)
    output.square().sum().backward()
    step = gl.compile_step(model, lambda m, x: (m(x)[0] ** 2).sum(), gl.optim.SGD(0.0), x)
    for name, gradient in step.gradients(x).items():
        np.testing.assert_allclose(gradient, module.get_parameter(name).grad.numpy(), rtol=1e-9, atol=1e-12)


def test_what_a_module_returns_keeps_its_structure() -> None:
    class Returns(torch.nn.Module):
        def forward(self, x: Any, *, scale: float = 1.0, more: Any = None) -> Any:
            return {"a": x * scale, "b": [x + 1, (x, more)]}

    x = torch.ones(2, 3)
    model = gl.from_torch(Returns(), x, scale=2.0)
    graph = gl.trace(lambda x: model(x)["a"], np.ones((2, 3), np.float32))
    assert gl.interpret(graph, np.ones((2, 3), np.float32))[0].tolist() == [[2.0] * 3] * 2


def test_reports_and_diagnoses_speak_of_the_modules_own_layers() -> None:
    net, batch = a_net(), a_batch()
    model = gl.from_torch(net, batch["x"])
    assert repr(model).splitlines()[1] == "  (0): Linear(in_features=5, out_features=7, bias=True)"
    step = gl.compile_step(model, classified, gl.optim.SGD(0.1), batch, diagnose=True)
    step(batch)
    said = str(step.diagnosis)
    assert all(layer in said for layer in ("0  Linear", "1  GELU", "2  Linear"))
    assert {"0", "1", "2"} <= {node.origin.scope for node in step.graph.nodes}


# What is refused.


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return 2 * ctx.saved_tensors[0] * gradient


def test_an_own_derivative_that_is_the_plain_one_is_taken_in() -> None:
    module, x = Refused(Squared.apply), torch.randn(3, 4)
    model = gl.from_torch(module, x)
    step = gl.compile_step(model, lambda m, x: m(x).sum(), gl.optim.SGD(0.0), x)
    module(x).sum().backward()
    np.testing.assert_allclose(step.gradients(x)["inner.weight"], module.inner.weight.grad.numpy(), rtol=1e-5)


class Refused(torch.nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(self.inner(x))


REFUSED = {
    "Rounded is a torch.autograd.Function whose backward is not the derivative": lambda x: Rounded.apply(x),
    "the op aten.nonzero.default of torch is not supported here, in 1 (Refused)": lambda x: x.nonzero(),
    "torch.float16 is not supported": lambda x: x.half(),
    "depend on values": lambda x: x if x.sum() > 0 else -x,
    "the op aten.linalg_eig.default": lambda x: torch.linalg.eigvals(x).real,
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_be_exported_is_named(said: str) -> None:
    with pytest.raises((TypeError, NotImplementedError)) as raised:
        gl.from_torch(torch.nn.Sequential(torch.nn.ReLU(), Refused(REFUSED[said])), torch.ones(4, 4))
    assert said in str(raised.value), raised.value
    assert "test_from_torch.py:" in str(raised.value)


def test_other_dtypes_are_named() -> None:
    with pytest.raises(TypeError, match=r"weight of Linear: torch\.float16 is not supported.*module\.float\(\)"):
        gl.from_torch(torch.nn.Linear(2, 2).half(), torch.ones(1, 2))
    with pytest.raises(TypeError, match=r"torch\.bfloat16 is not what parameters .*module\.float\(\)"):
        gl.from_torch(torch.nn.Linear(2, 2).bfloat16(), torch.ones(1, 2))
    with pytest.raises(TypeError, match=r"gl\.from_torch\(module\.to\(torch\.float64\)"):
        gl.from_torch(torch.nn.Linear(2, 2), torch.ones(1, 2)).to("float64")


def test_a_state_dict_of_other_names_or_shapes_is_refused() -> None:
    model = gl.from_torch(a_net(), a_batch()["x"])
    with pytest.raises(RuntimeError, match=r"0\.weight has shape \(2, 2\), the model's is \(7, 5\)"):
        model.load_state_dict({**a_net().state_dict(), "0.weight": torch.ones(2, 2)})
    with pytest.raises(RuntimeError, match=r"not in the model: 9\.weight"):
        model.load_state_dict({**a_net().state_dict(), "9.weight": torch.ones(2, 2)})


def test_a_loss_that_is_missing_is_missed() -> None:
    class NoLoss(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return {"logits": x}

    model, loss_fn = gl.from_torch_loss(NoLoss(), x=torch.ones(2, 3))
    with pytest.raises(TypeError, match="the module returns no loss, but logits; give labels"):
        gl.trace(lambda x: loss_fn(model, {"x": x}), np.ones((2, 3), np.float32))


def test_torch_is_imported_by_nothing_else() -> None:
    code = "import sys, gradloom; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"from_torch takes a torch\.nn\.Module, got ndarray"):
        gl.from_torch(np.zeros(3))


def test_an_op_of_the_users_is_what_a_function_of_theirs_does() -> None:
    from user_kernels import tempered_softmax

    @torch.library.custom_op("tests_of_gradloom::tempered", mutates_args=())
    def tempered(x: torch.Tensor, temperature: float) -> torch.Tensor:  # pyright: ignore[reportInvalidTypeForm]
        return torch.softmax(x / temperature, 1)

    tempered.register_fake(lambda x, temperature: torch.empty_like(x))

    class Tempered(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = torch.nn.Linear(5, 4).double()

        def forward(self, x: Any) -> Any:
            return tempered(self.scores(x), 0.5)

    net, x = Tempered(), a_batch()["x"]
    advice = r"tests_of_gradloom.tempered.default of torch is not supported here; write custom_ops=\{'tests_of_g"
    with pytest.raises(NotImplementedError, match=advice):
        gl.from_torch(net, x)
    with pytest.raises(TypeError, match="custom_ops are functions by the names of ops"):
        gl.from_torch(net, x, custom_ops={"tempered": tempered_softmax})
    ops = {"tests_of_gradloom::tempered": lambda x, temperature: tempered_softmax(x, temperature=temperature)}
    step = gl.compile_step(
        gl.from_torch(net, x, custom_ops=ops), lambda model, x: (model(x) ** 2).sum(), gl.optim.SGD(0.1), x
    )
    reference = torch.nn.Sequential(net.scores, torch.nn.Softmax(1))
    for _ in range(3):
        loss = (torch.softmax(net.scores(x) / 0.5, 1) ** 2).sum()
        assert step(x) == pytest.approx(loss.item(), rel=1e-12)
        gradients = torch.autograd.grad(loss, list(reference.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(reference.parameters(), gradients):
                parameter -= 0.1 * gradient
