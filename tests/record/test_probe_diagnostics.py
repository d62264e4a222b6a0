"""What a probe of a model says before and while it computes: what was loaded, whether gradients flow, what failed."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

RANK = 2


class Adapter(torch.nn.Module):
    """A linear map with a low-rank update, as LoRA puts into a model."""

    def __init__(self, size):
        super().__init__()
        self.base = torch.nn.Linear(size, size)
        self.base.requires_grad_(False)
        self.lora_a = torch.nn.Parameter(torch.randn(RANK, size) * 0.1)
        self.lora_b = torch.nn.Parameter(torch.zeros(size, RANK))

    def forward(self, x_bd):
        """Apply both maps."""
        return self.base(x_bd) + x_bd @ self.lora_a.T @ self.lora_b.T


@pytest.fixture
def model():
    """Three adapted layers: six trainable tensors."""
    torch.manual_seed(0)
    return torch.nn.Sequential(*(Adapter(4) for _ in range(3)))


def trainable(model):
    """Names and tensors that the optimizer moves."""
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


@pytest.mark.spec("S4.5")
def test_what_was_loaded_is_recorded_as_tensors_and_as_scalars(model, new_run, recorded):
    """LoRA tensors and scalars are two numbers, the optimizer's state is a third; all are facts with a verdict."""
    optimizer = torch.optim.Adam(trainable(model).values(), lr=1e-3)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    run = new_run()
    tensors = trainable(model)
    assert run.check("LoRA tensors", expected=6, got=len(tensors))
    assert run.check("LoRA scalars", expected=3 * 2 * RANK * 4, got=sum(t.numel() for t in tensors.values()))
    assert not run.check("optimizer state tensors", expected=392, got=len(optimizer.state))
    run.event("custom", kind="model", lora=sorted(tensors), adam_steps=[s["step"] for s in optimizer.state.values()])
    run.finish()
    found = recorded(run.dir)
    assert [(c["name"], c["expected"], c["got"], c["passed"]) for c in found.of("on_check")] == [
        ("LoRA tensors", 6, 6, True),
        ("LoRA scalars", 48, 48, True),
        ("optimizer state tensors", 392, 6, False),
    ]
    assert found.custom("model")[0]["adam_steps"] == [1.0] * 6


@pytest.mark.spec("S4.8", "S4.16")
def test_gradients_that_flow_are_told_from_those_that_do_not(model, new_run, recorded):
    """Each tensor's gradient norm is a metric; a tensor without a gradient, and a non-finite one, fail their check."""
    run = new_run()
    model[0].lora_a.requires_grad_(False)  # the mistake that the check is there to find
    loss = model(torch.ones(1, 4)).pow(2).sum()
    loss.backward()
    model[2].lora_b.grad[0, 0] = math.inf
    for layer, adapter in enumerate(model):
        grads = {name: getattr(adapter, name).grad for name in ("lora_a", "lora_b")}
        run.check(f"layer {layer} has gradients", passed=all(grad is not None for grad in grads.values()))
        norms = {f"grad_norm/{layer}.{name}": grad.norm() for name, grad in grads.items() if grad is not None}
        run.check(f"layer {layer} is finite", passed=all(map(math.isfinite, norms.values())))
        run.log(norms, step=0)
    run.finish()
    found = recorded(run.dir)
    failed = [check["name"] for check in found.of("on_check") if not check["passed"]]
    assert failed == ["layer 0 has gradients", "layer 2 is finite"]
    assert found.column("grad_norm/2.lora_b") == [math.inf]
    assert found.column("grad_norm/1.lora_b")[0] > 0


@pytest.mark.spec("S4.8", "S4.10")
def test_an_error_while_gradients_accumulate_is_recorded_with_its_phase_and_trace(model, new_run, recorded):
    """The phase that failed says so, and the exception's whole trace, the framework's own frames included, is there."""
    run = new_run()
    with pytest.raises(RuntimeError, match="does not require grad"), run, run.phase("X accumulation"):
        model.requires_grad_(False)(torch.ones(1, 4)).sum().backward()
    found = recorded(run.dir)
    assert (found.only("on_phase_end")["name"], found.only("on_phase_end")["failed"]) == ("X accumulation", True)
    trace = found.only("on_exception")["traceback"]
    assert "in test_an_error_while_gradients_accumulate" in trace
    assert "torch/autograd" in trace
    assert found.exit.status == "failed"
