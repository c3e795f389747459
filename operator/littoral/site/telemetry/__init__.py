"""Telemetry: what the site's Tritons do, measured every few seconds and reported when it changes.

`Telemetry.follow` says which Pods to measure, `Telemetry.annotate` adds the numbers to an Assignment's status.
`docs/telemetry.md` says what each number means.
"""

from littoral.site.telemetry.figures import Figures
from littoral.site.telemetry.ledger import Subject
from littoral.site.telemetry.telemetry import Telemetry

__all__ = ["Figures", "Subject", "Telemetry"]
