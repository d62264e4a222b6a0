"""Norms of gradients, of weights, and of updates."""

from __future__ import annotations

from barograph.plot.family import AT_EPOCHS, CurveFamily

family = CurveFamily("gradients", moments=AT_EPOCHS)
