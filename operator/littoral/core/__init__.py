"""The pure heart: a snapshot of the world in, a plan out. No I/O, no clock, no randomness."""
