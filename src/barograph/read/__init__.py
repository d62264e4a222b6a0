"""Reads facts: live and finished runs alike, forgiving what a crash left, never changing what was recorded."""
