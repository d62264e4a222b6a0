"""The command line: one file per verb. A verb reads its arguments, asks ``read`` or ``view``, and prints."""

from barograph.cli.command import VERBS, main

__all__ = ["VERBS", "main"]
