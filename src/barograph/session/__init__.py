"""Puts the stations together: ``init`` joins recorder, companion, terminal and mirrors."""

from barograph.session.start import init

__all__ = ["init"]
