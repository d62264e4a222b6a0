"""The terminal: blocks of the two tiers, a progress bar with a range for the time left, checks and alerts.

It reads facts, so it can show a run from the inside, from another process, or long after.
"""

from barograph.view.terminal.blocks import can_show_symbols, example_block, gap_mark
from barograph.view.terminal.view import TerminalView

__all__ = ["TerminalView", "can_show_symbols", "example_block", "gap_mark"]
