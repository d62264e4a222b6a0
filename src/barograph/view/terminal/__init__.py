"""The terminal: blocks of the two tiers, a progress bar with a range for the time left, checks and alerts.

It reads facts, so it can show a run from the inside, from another process, or long after. (What other parts need is
imported from its module: a list of runs needs words for numbers, and no live view.)
"""
