"""Writes facts: the run that a training script holds, and everything that belongs to recording it."""
