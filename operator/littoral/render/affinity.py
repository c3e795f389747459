"""NodeSelectors as node affinity. Pure."""

from __future__ import annotations

from typing import Any

from littoral.api.meta import NodeSelector


def node_affinity(*selectors: NodeSelector | None) -> dict[str, Any]:
    """Affinity to the nodes that all of the selectors select; empty where none of them asks for anything."""
    expressions: list[dict[str, Any]] = []
    for selector in selectors:
        if selector is None:
            continue
        expressions += [
            {"key": key, "operator": "In", "values": [value]} for key, value in sorted(selector.match_labels.items())
        ]
        expressions += [requirement.dump() for requirement in selector.match_expressions]
    if not expressions:
        return {}
    return {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    }
