"""Policies: each decides, from what it can observe, how many replicas every place is to have."""

from littoral.sim.policies.base import Observation, PlaceState, Policy
from littoral.sim.policies.clairvoyant import Clairvoyant
from littoral.sim.policies.hpa import HorizontalPodAutoscaler
from littoral.sim.policies.keda import Keda
from littoral.sim.policies.littoral import Littoral
from littoral.sim.policies.static_peak import StaticPeak

__all__ = [
    "Clairvoyant",
    "HorizontalPodAutoscaler",
    "Keda",
    "Littoral",
    "Observation",
    "PlaceState",
    "Policy",
    "StaticPeak",
]
