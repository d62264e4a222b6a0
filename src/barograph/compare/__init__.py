"""Compares recorded runs: what differs, how sure one may be, what to try next. It reads facts and writes none."""
