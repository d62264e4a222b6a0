"""Handwritten digits: real classifiers, small enough to train in a second, recorded with two tiers.

``train(cfg)`` is one run; ``python -m barograph_lab.digits`` is the whole study, the project's main job. It needs the
extra ``demo`` (scikit-learn, which brings numpy) and neither a GPU nor a download.
"""
