"""The codebook of a vector-quantised model: usage, dead codes, perplexity, commitment."""

from __future__ import annotations

from barograph.plot.family import AT_EPOCHS, CurveFamily

family = CurveFamily("codebook", moments=AT_EPOCHS)
