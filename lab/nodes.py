"""What a person asks of a real node: ``NAME[:DEVICE=COUNT,...][@TIER[/SITE]]``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lab.addresses import MAX_NODES
from lab.errors import LabError

CONTROL_PLANE = "control-plane"
DEFAULT_NODES = ("edge", "cloud")
TIERS = ("edge", "cloud")

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_SYNTAX = re.compile(r"(?P<name>[^:@]*)(:(?P<devices>[^@]*))?(@(?P<tier>[^/]*)(/(?P<site>.*))?)?")


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """A real node: its name, place, and the devices it announces (device class -> count)."""

    name: str
    pool: str
    tier: str
    site: str
    devices: tuple[tuple[str, int], ...] = ()

    def labels(self) -> dict[str, str]:
        """The labels that Littoral's NodePools select by."""
        return {
            "littoral.dev/pool": self.pool,
            "littoral.dev/tier": self.tier,
            "littoral.dev/site": self.site,
        }


def parse_node(text: str, *, device_classes: Iterable[str]) -> NodeSpec:
    """Read one ``--node``; the pool is the name without a trailing ``-<number>``.

    The tier defaults to the pool where that is a tier, else to ``edge``; the site defaults to ``cloud`` in the
    cloud tier and to the pool elsewhere.
    Raises ``LabError`` that names the part at fault.
    """
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise LabError(f"--node {text}: expected NAME[:DEVICE=COUNT,...][@TIER[/SITE]]")
    name = match["name"]
    if not _NAME.fullmatch(name) or name == CONTROL_PLANE:
        raise LabError(
            f"--node {text}: {name!r} is not a node name (a-z, 0-9 and '-', at most 40, not {CONTROL_PLANE!r})"
        )
    pool = re.sub(r"-\d+$", "", name) or name
    tier = match["tier"] if match["tier"] is not None else (pool if pool in TIERS else "edge")
    if tier not in TIERS:
        raise LabError(f"--node {text}: tier {tier!r} is not one of {', '.join(TIERS)}")
    site = match["site"] if match["site"] is not None else ("cloud" if tier == "cloud" else pool)
    if not _NAME.fullmatch(site):
        raise LabError(f"--node {text}: {site!r} is not a site name (a-z, 0-9 and '-')")
    devices = tuple(_device(item, text, set(device_classes)) for item in (match["devices"] or "").split(",") if item)
    return NodeSpec(name=name, pool=pool, tier=tier, site=site, devices=devices)


def _device(item: str, text: str, known: set[str]) -> tuple[str, int]:
    device, separator, count = item.partition("=")
    if device not in known:
        raise LabError(f"--node {text}: device {device!r} is not one of {', '.join(sorted(known))}")
    if separator and not re.fullmatch(r"[1-9]\d{0,3}", count):
        raise LabError(f"--node {text}: {count!r} is not a number of devices (1 to 9999)")
    return device, int(count) if separator else 1


def parse_nodes(texts: Iterable[str], *, device_classes: Iterable[str]) -> tuple[NodeSpec, ...]:
    """Read every ``--node``, or the default nodes where there is none; names must differ."""
    known = tuple(device_classes)
    nodes = tuple(parse_node(text, device_classes=known) for text in (tuple(texts) or DEFAULT_NODES))
    names = [node.name for node in nodes]
    for name in names:
        if names.count(name) > 1:
            raise LabError(f"--node {name} is given twice")
    if len(nodes) > MAX_NODES:
        raise LabError(f"{len(nodes)} nodes: a lab has at most {MAX_NODES} real ones; use --kwok for more")
    return nodes
