"""Littoral: NVIDIA Triton at the edge and in the cloud, placed by measured load and by what nodes can do."""

__version__ = "0.1.0"
