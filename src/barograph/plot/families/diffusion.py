"""Denoising: losses by bucket of time steps, signal-to-noise ratios."""

from __future__ import annotations

from barograph.plot.family import AT_EPOCHS, CurveFamily

family = CurveFamily("diffusion", moments=AT_EPOCHS)
