"""``barograph demo``: runs the digits study in a process of its own. The library knows it by name only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

MODULE: Final = "barograph_lab.digits"


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Run ``python -m barograph_lab.digits`` with these arguments.

    Returns:
        Its exit code; 128 plus the signal's number when a signal ended it.
    """
    environ = {**os.environ, "BAROGRAPH_ROOT": root} if root else None
    child = subprocess.Popen([sys.executable, "-m", MODULE, *argv], env=environ)  # noqa: S603 - our own module
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue  # the terminal sends ^C to the demo too, which records it and ends
        return code if code >= 0 else 128 - code
