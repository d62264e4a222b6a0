"""Every metric that no other family draws, one panel each: learning rates, schedules, counts."""

from __future__ import annotations

from barograph.plot.family import AT_EPOCHS, CurveFamily

family = CurveFamily("metrics", moments=AT_EPOCHS)
