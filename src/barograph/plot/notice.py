"""Tells a person that a figure is missing, without ever ending what goes on beside it."""

from __future__ import annotations

import sys
import warnings

from barograph.errors import PlotWarning


def warn(text: str) -> None:
    """Warn; where warnings are errors, this one is a line on stderr, because it must not end training."""
    try:
        warnings.warn(text, PlotWarning, stacklevel=3)
    except PlotWarning:
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
