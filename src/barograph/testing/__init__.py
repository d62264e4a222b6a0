"""Suites that whoever writes a plug-in runs on it; they hold the built-ins to the same.

Nothing here is needed to record, read or watch a run.
"""
