"""Scores: accuracy, f1, bleu, perplexity, psnr, reward and their like, splits together."""

from __future__ import annotations

from barograph.plot.family import AT_EVALUATIONS, CurveFamily

family = CurveFamily("quality", moments=AT_EVALUATIONS)
