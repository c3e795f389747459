"""Variants of a network for each kind of hardware: made, measured against the original, and published.

Only the command line uses this, on the machine of whoever releases a model or in a Job; neither the operator nor the
agent does. What it needs is the extra `littoral[optimize]`, imported when it is used.
"""
