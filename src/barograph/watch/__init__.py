"""Facts in, judgements out: what a person should know while a run is still going.

Nothing here writes into a run or is needed by one; everything works the same on a finished run.
"""
