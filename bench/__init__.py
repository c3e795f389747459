"""Benchmarks: each prints one table, with the machine and the date. None of them is a test."""
