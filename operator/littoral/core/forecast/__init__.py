"""The forecast of demand: an upper quantile of the rate at which requests will come, as far ahead as loading takes.

Each (Model, site) has a `Series`, some tens of numbers that every reading replaces. `docs/forecast.md` says how it
works and what it was compared with.
"""

from littoral.core.forecast.encoding import decode, encode
from littoral.core.forecast.quantile import forecast
from littoral.core.forecast.series import Series, update

__all__ = ["Series", "decode", "encode", "forecast", "update"]
