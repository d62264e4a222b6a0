# /// script
# requires-python = ">=3.11"
# dependencies = ["barograph", "torch", "scikit-learn"]
# ///
"""A torch loop: a small network on scikit-learn's handwritten digits, on a GPU where there is one.

Usage: python torch_loop.py [ROOT]
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

import barograph

CONFIG = {"hidden": 64, "lr": 2e-3, "batch_size": 64, "steps": 400, "seed": 0}


def main() -> None:
    """Train; tensors are logged as they are, also from a GPU, without waiting for it."""
    barograph.set_all_seeds(CONFIG["seed"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32, device=device)
    y = torch.tensor(digits.target, device=device)
    order = torch.randperm(len(x), device=device)
    train, val = order[:-400], order[-400:]
    model = nn.Sequential(nn.Linear(64, CONFIG["hidden"]), nn.ReLU(), nn.Linear(CONFIG["hidden"], 10)).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=CONFIG["lr"])
    root = sys.argv[1] if len(sys.argv) > 1 else None
    best = float("inf")
    success = ["best accuracy >= 0.9 on val", "loss is finite on train"]
    with barograph.init(
        "examples", "torch", CONFIG, root=root, seed=CONFIG["seed"], total_steps=CONFIG["steps"], success=success
    ) as run:
        for step in range(1, CONFIG["steps"] + 1):
            batch = train[torch.randint(len(train), (CONFIG["batch_size"],), device=device)]
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimiser.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            run.log({"loss": loss, "grad_norm": norm}, step=step)
            with run.tier(step) as tier, torch.no_grad():
                if tier == "full":
                    logits = model(x[val])
                    val_loss = nn.functional.cross_entropy(logits, y[val]).item()
                    accuracy = (logits.argmax(1) == y[val]).float().mean()
                    run.log({"val_loss": val_loss, "accuracy": accuracy}, step=step, split="val")
                    if val_loss < best:
                        best = val_loss
                        torch.save(model.state_dict(), run.dir / "best_val.pt")
                        run.checkpoint(run.dir / "best_val.pt", {"val_loss": val_loss}, kind="best", step=step)


if __name__ == "__main__":
    main()
