# /// script
# requires-python = ">=3.11"
# dependencies = ["barograph"]
# ///
"""A plain loop, no framework: logistic regression tells Python's keywords from its built-in names by their letters.

Usage: python plain_loop.py [ROOT]; the run goes into a directory of its own below ROOT, else below ./runs.
"""

import builtins
import keyword
import math
import random
import sys

import barograph

CONFIG = {"lr": 0.3, "epochs": 20, "seed": 0}
LETTERS = "abcdefghijklmnopqrstuvwxyz_"


def features(name: str) -> list[float]:
    """How often each letter occurs, how long the name is, and a constant."""
    return [name.lower().count(letter) / len(name) for letter in LETTERS] + [len(name) / 10, 1.0]


def loss_and_gradient(weights: list[float], name: str, label: int) -> tuple[float, list[float]]:
    """Logistic loss of one name, and its gradient."""
    x = features(name)
    margin = sum(w * value for w, value in zip(weights, x, strict=True)) * (1 if label else -1)
    slope = -(1 if label else -1) / (1 + math.exp(margin))
    return math.log1p(math.exp(-margin)), [slope * value for value in x]


def main() -> None:
    """Train, with a fast log every 50 steps and a full evaluation every 200."""
    names = [(name, 1) for name in keyword.kwlist] + [(name, 0) for name in dir(builtins) if name[0] != "_"]
    shuffle = random.Random(CONFIG["seed"])
    shuffle.shuffle(names)
    train, val = names[:-30], names[-30:]
    weights = [0.0] * len(features("x"))
    root = sys.argv[1] if len(sys.argv) > 1 else None
    steps = CONFIG["epochs"] * len(train)
    with barograph.init("examples", "plain", CONFIG, root=root, log_steps=50, total_steps=steps) as run:
        for step in range(1, steps + 1):
            name, label = shuffle.choice(train)
            loss, gradient = loss_and_gradient(weights, name, label)
            weights = [w - CONFIG["lr"] * g for w, g in zip(weights, gradient, strict=True)]
            run.log({"loss": loss}, step=step)
            with run.tier(step) as tier:
                if tier == "full":
                    val_loss = sum(loss_and_gradient(weights, *pair)[0] for pair in val) / len(val)
                    run.log({"val_loss": val_loss}, step=step, split="val")
        run.summary["val_loss"] = val_loss


if __name__ == "__main__":
    main()
