"""The lab: reference studies that are recorded with Barograph, each an island.

A study uses the public names of ``barograph`` and nothing of another study; nothing imports the lab.
"""
