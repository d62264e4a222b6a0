"""Figures of many runs: curves on one pair of axes, scatters of one number over another, grids of pictures."""
