"""Loss curves: every metric whose name says loss, training and validation on one pair of axes."""

from __future__ import annotations

from barograph.plot.family import AT_EVALUATIONS, CurveFamily

family = CurveFamily("losses", moments=AT_EVALUATIONS)
