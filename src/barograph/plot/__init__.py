"""Facts to figures: what was logged, drawn as it was logged, by families that first select numbers and then draw.

Nothing is smoothed, interpolated or invented. During training a process of its own draws; the training process
imports ``plot.live`` and ``plot.settings`` alone, which import neither numpy nor matplotlib.
"""
