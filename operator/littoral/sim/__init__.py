"""Simulation: what the core's models are checked against, and what plays whole clusters through."""
