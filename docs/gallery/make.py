"""Records small real trainings and draws one figure of each family from them: ``python docs/gallery/make.py``.

Every number in these figures was measured in a training that ran a moment before: on scikit-learn's handwritten
digits, with numpy alone. ``hard.webp`` is the exception that it says it is: a run whose values are made up to hold
everything that is hard to draw.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import barograph
from barograph.plot.curves import Scope
from barograph.plot.family import Named, draw_new
from barograph.plot.files import save_figure
from barograph.plot.orchestrator import find_families
from barograph.read.run import RunReader

Array = np.ndarray
HERE = Path(__file__).parent
QUIET = {"terminal": "off", "text_log": None, "console": False}
HARD_STEPS = 1_000_000
LAST_EXAMPLES = 200


def digits(seed: int) -> tuple[Array, Array, Array, Array]:
    """Pixels in [0, 1], labels, for training and validation."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(pixels))
    pixels, labels = pixels[order] / 16.0, labels[order]
    return pixels[:1400], labels[:1400], pixels[1400:], labels[1400:]


class Net:
    """Layers of tanh with a linear one on top, its own gradients, and Adam."""

    def __init__(self, sizes: tuple[int, ...], rng: np.random.Generator, rate: float = 3e-3) -> None:
        self.weights = [rng.normal(0, 1 / math.sqrt(a), (a, b)) for a, b in pairwise(sizes)]
        self.biases = [np.zeros(b) for b in sizes[1:]]
        self.rate, self.time = rate, 0
        self.moments = [np.zeros_like(p) for p in self.weights + self.biases]
        self.squares = [np.zeros_like(p) for p in self.weights + self.biases]

    def forward(self, x: Array) -> Array:
        """The output; what the layers saw is kept for the way back."""
        self.seen = [x]
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            linear = self.seen[-1] @ weight + bias
            self.seen.append(np.tanh(linear) if place < len(self.weights) - 1 else linear)
        return self.seen[-1]

    def backward(self, slope: Array) -> tuple[list[Array], Array]:
        """Gradients of weights and biases, and of the input."""
        weights, biases = [], []
        for place in reversed(range(len(self.weights))):
            weights.insert(0, self.seen[place].T @ slope)
            biases.insert(0, slope.sum(0))
            slope = slope @ self.weights[place].T
            if place:
                slope = slope * (1 - self.seen[place] ** 2)
        return weights + biases, slope

    def step(self, gradients: list[Array]) -> float:
        """One step of Adam; returns the gradients' norm."""
        self.time += 1
        parameters = self.weights + self.biases
        for p, g, m, s in zip(parameters, gradients, self.moments, self.squares, strict=True):
            m[...] = 0.9 * m + 0.1 * g
            s[...] = 0.999 * s + 0.001 * g * g
            p[...] -= self.rate * (m / (1 - 0.9**self.time)) / (np.sqrt(s / (1 - 0.999**self.time)) + 1e-8)
        return math.sqrt(sum(float((g * g).sum()) for g in gradients))


def softmax(logits: Array) -> Array:
    """Probabilities."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def classifier(folder: Path) -> None:
    """A classifier: losses, quality, gradients, throughput, memory, latency, examples and the learning rate."""
    rng = np.random.default_rng(0)
    x, y, held_x, held_y = digits(0)
    net = Net((64, 32, 10), rng)
    options = {"name": "digits classifier", "config": {"hidden": 32}, "seed": 0, "host_s": 0.1, "log_steps": 20}
    with barograph.init(dir=folder, eval_steps=100, **options, **QUIET) as run:
        step = 0
        for epoch in range(20):
            began = time.perf_counter()
            net.rate = 3e-3 * 0.5 * (1 + math.cos(math.pi * epoch / 20))
            losses = []
            for batch in np.array_split(rng.permutation(len(x)), 44):
                chances = softmax(net.forward(x[batch]))
                slope = chances.copy()
                slope[np.arange(len(batch)), y[batch]] -= 1
                gradients, _ = net.backward(slope / len(batch))
                loss = float(-np.log(chances[np.arange(len(batch)), y[batch]]).mean())
                losses.append(loss)
                norm = net.step(gradients)
                run.log({"loss": loss, "lr": net.rate, "grad_norm": norm}, step=step, epoch=epoch)
                step += 1
                if step <= LAST_EXAMPLES and step % 10 == 0:
                    tell_examples(run, net, step, held_x, held_y)
            spent_s = time.perf_counter() - began
            with run.phase("validation"):
                chances = softmax(net.forward(held_x))
                guesses = chances.argmax(1)
                held = float(-np.log(chances[np.arange(len(held_y)), held_y]).mean())
            run.log({"loss": held, "accuracy": float((guesses == held_y).mean())}, step=step, split="val", epoch=epoch)
            run.log({"samples_per_s": len(x) / spent_s}, step=step)
            with run.phase("checkpoint"):
                np.savez(folder / "weights.npz", *net.weights)
            run.epoch_end(epoch, train_loss=float(np.mean(losses)), val_loss=held, epoch_time_s=spent_s)
            time.sleep(0.1)  # so that the host sampler sees more than one moment


def tell_examples(run: barograph.Run, net: Net, step: int, x: Array, y: Array) -> None:
    """What the classifier says of sixty digits that it does not learn from."""
    for place, guess in enumerate(net.forward(x[:60]).argmax(1)):
        about = {"prompt": f"digit {place}", "golden": f"it is a {y[place]}", "example_id": f"digit {place}"}
        run.example(step=step, tier="full", output=f"it is a {guess}", **about)


def quantiser(folder: Path) -> None:
    """A vector-quantised autoencoder: reconstruction errors and images, and the codebook."""
    rng = np.random.default_rng(1)
    x, _, held_x, _ = digits(1)
    encoder, decoder = Net((64, 32, 4), rng), Net((4, 32, 64), rng)
    codes = rng.normal(0, 1.0, (48, 4))
    with barograph.init(dir=folder, name="vq autoencoder", seed=1, host_s=None, **QUIET) as run:
        for step in range(1200):
            batch = x[rng.integers(0, len(x), 64)]
            latent = encoder.forward(batch)
            chosen = ((latent[:, None] - codes) ** 2).sum(2).argmin(1)
            output = decoder.forward(codes[chosen])
            slope = 2 * (output - batch) / len(batch)
            gradients, back = decoder.backward(slope)
            decoder.step(gradients)
            pull = 0.25 * 2 * (latent - codes[chosen]) / len(batch)
            encoder.step(encoder.backward(back + pull)[0])  # straight through
            for code in np.unique(chosen):
                codes[code] += 0.1 * (latent[chosen == code].mean(0) - codes[code])
            shares = np.bincount(chosen, minlength=48) / len(chosen)
            used = shares[shares > 0]
            if step % 5 == 0:
                numbers = {"recon_mse": float(((output - batch) ** 2).mean()), "codebook_usage": len(used) / 48}
                numbers["perplexity"] = float(np.exp(-(used * np.log(used)).sum()))
                numbers["commitment"] = float(((latent - codes[chosen]) ** 2).sum(1).mean())
                run.log(numbers, step=step)
            if step % 150 == 149:
                latent = encoder.forward(held_x)
                chosen = ((latent[:, None] - codes) ** 2).sum(2).argmin(1)
                output = decoder.forward(codes[chosen])
                run.log({"recon_mse": float(((output - held_x) ** 2).mean())}, step=step, split="val")
                run.image("input", tiles(held_x[:6]), step=step)
                run.image("reconstruction", tiles(np.clip(output[:6], 0, 1)), step=step)


def tiles(pixels: Array) -> Array:
    """Six digits in two rows, with a line between."""
    cells = np.pad(pixels.reshape(2, 3, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1.0)
    return cells.transpose(0, 2, 1, 3).reshape(20, 30)


def sigmoid(x: Array) -> Array:
    """A probability."""
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def players(folder: Path) -> None:
    """Two players on a ring in the plane: losses and verdicts."""
    rng = np.random.default_rng(2)
    generator, judge = Net((4, 32, 2), rng, rate=1e-3), Net((2, 32, 1), rng, rate=1e-3)
    with barograph.init(dir=folder, name="ring gan", seed=2, host_s=None, **QUIET) as run:
        for step in range(2500):
            angle = rng.uniform(0, 2 * math.pi, 64)
            real = np.c_[np.cos(angle), np.sin(angle)] + rng.normal(0, 0.05, (64, 2))
            fake = generator.forward(rng.normal(0, 1, (64, 4)))
            verdict = sigmoid(judge.forward(np.r_[real, fake]))[:, 0]
            truth = np.r_[np.ones(64), np.zeros(64)]
            d_loss = float(-(truth * np.log(verdict) + (1 - truth) * np.log1p(-verdict)).mean())
            judge.step(judge.backward((verdict - truth)[:, None] / 128)[0])
            fooled = sigmoid(judge.forward(fake))[:, 0]
            _, back = judge.backward((fooled - 1)[:, None] / 64)
            generator.step(generator.backward(back)[0])
            if step % 5 == 0:
                numbers = {"d_loss": d_loss, "g_loss": float(-np.log(fooled).mean())}
                numbers |= {"D(real)": float(verdict[:64].mean()), "D(fake)": float(verdict[64:].mean())}
                run.log(numbers, step=step)


def denoiser(folder: Path) -> None:
    """A denoising model of digits: its loss by bucket of noise."""
    rng = np.random.default_rng(3)
    x, _, held_x, _ = digits(3)
    net = Net((65, 96, 64), rng, rate=1e-3)
    with barograph.init(dir=folder, name="digits denoiser", seed=3, host_s=None, **QUIET) as run:
        for step in range(2000):
            clean = x[rng.integers(0, len(x), 64)] * 2 - 1
            t, noise = rng.uniform(0, 1, (64, 1)), rng.normal(0, 1, (64, 64))
            guess = net.forward(np.c_[np.sqrt(1 - t) * clean + np.sqrt(t) * noise, t])
            net.step(net.backward(2 * (guess - noise) / len(clean))[0])
            if step % 20 == 0:
                run.log({"denoising_loss": float(((guess - noise) ** 2).mean())}, step=step)
            if step % 100 == 0:
                clean = held_x * 2 - 1
                errors = {}
                for bucket in range(4):
                    t = rng.uniform(bucket / 4, (bucket + 1) / 4, (len(clean), 1))
                    noise = rng.normal(0, 1, clean.shape)
                    guess = net.forward(np.c_[np.sqrt(1 - t) * clean + np.sqrt(t) * noise, t])
                    errors[f"t_bucket_{bucket}_mse"] = float(((guess - noise) ** 2).mean())
                run.log(errors, step=step, split="val")


def hard(folder: Path, num_steps: int) -> None:
    """Made-up values: a million points, NaN and infinities, a gap, and two resumes."""
    rng = np.random.default_rng(4)
    begins = [0, num_steps * 45 // 100, num_steps * 70 // 100]
    ends = [num_steps * 55 // 100, num_steps * 75 // 100, num_steps]
    gap = range(num_steps * 20 // 100, num_steps * 26 // 100)
    for attempt, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        about = {"dir": folder, "name": "hard", "resume": "allow", "host_s": None}
        with barograph.init(notes="made up to be hard to draw", **about, **QUIET) as run:
            noise = rng.standard_normal(num_steps)
            for step in range(begin, end):
                if step in gap:
                    continue
                place = step / num_steps
                value = 2.2 * math.exp(-5 * place) + 0.4 + 0.07 * noise[step] - 0.15 * attempt
                if step % (num_steps // 9) == 0:
                    value = math.nan
                elif step in (num_steps * 33 // 100, num_steps * 34 // 100):
                    value = -math.inf
                elif num_steps * 62 // 100 <= step < num_steps * 62 // 100 + 50:
                    value = math.inf
                run.log({"loss": value}, step=step)
                if step % (num_steps // 50) == 0 and math.isfinite(value):
                    run.log({"loss": value + 0.3}, step=step, split="val")


FIGURES = {
    classifier: ("losses", "quality", "gradients", "throughput", "memory", "latency", "examples", "metrics"),
    quantiser: ("recon", "codebook"),
    players: ("adversarial",),
    denoiser: ("diffusion",),
}


def main(out: Path, *, hard_steps: int = HARD_STEPS) -> list[Path]:
    """Record the runs in a temporary place, and draw them.

    Args:
        out: where the figures go; their data is left out, for it is in the runs of whoever repeats this.
        hard_steps: steps of the run that is hard to draw.
    """
    families, _ = find_families()
    paths = []
    with tempfile.TemporaryDirectory() as folder:
        for train, names in FIGURES.items():
            run_dir = Path(folder) / train.__name__
            train(run_dir)
            for name in names:
                family = families[name]
                data = family.select(RunReader(run_dir), scope=Scope())
                paths.append(save_figure(draw_new(family, data), out, f"{name}.webp"))
        hard(Path(folder) / "hard", hard_steps)
        family = Named(["loss"])
        data = family.select(RunReader(Path(folder) / "hard"), scope=Scope())
        paths.append(save_figure(draw_new(family, data), out, "hard.webp"))
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="where the figures go; beside this script by default")
    for path in main(parser.parse_args().out):
        print(f"{path}: {path.stat().st_size:,} bytes")
