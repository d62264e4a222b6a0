"""Documents about runs, in which every number says where it comes from and can be computed again.

A report reads facts and writes a directory of its own; of a run it touches nothing but the line that leads back to
the report.
"""
