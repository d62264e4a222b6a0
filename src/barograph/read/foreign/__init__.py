"""Reads what other tools recorded: an importer per tool, each with an account of what it kept and could not."""
