"""What can be wrong with what one is given."""


class OptimizeError(Exception):
    """The network, the data or what was asked for does not do. `str()` says why, and what would."""


class Unfit(Exception):
    """One form of the network cannot be made; the others still can. `str()` says why."""
