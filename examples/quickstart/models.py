"""The Models' status: waiting until they are ready, and saying where they run and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .cluster import Cluster, DemoError

_POLL = 0.3


def wait_ready(cluster: Cluster, *, namespace: str, timeout: float, say: Callable[[str], None]) -> None:
    """Wait until every Model of the namespace is Ready at its latest generation, saying each change.

    Raises DemoError after `timeout` seconds, with conditions, Pods and events.
    """
    start = time.monotonic()
    said: dict[str, str] = {}
    while True:
        models = cluster.items("models.littoral.dev", f"--namespace={namespace}")
        for model in models:
            name, progress = model["metadata"]["name"], describe_progress(model)
            if said.get(name) != progress:
                said[name] = progress
                say(f"{time.monotonic() - start:5.1f} s  {name:<15} {progress}")
        if models and all(is_ready(model) for model in models):
            return
        if time.monotonic() - start > timeout:
            raise DemoError(_explain_delay(cluster, models, namespace=namespace, timeout=timeout))
        time.sleep(_POLL)


def is_ready(model: Any) -> bool:
    """Return whether all that the Model's latest generation asks for is served."""
    observed = model.get("status", {}).get("observedGeneration")
    holding = {name for name, condition in _conditions(model).items() if condition["status"] == "True"}
    return bool(observed == model["metadata"]["generation"]) and "Ready" in holding and "Reconciling" not in holding


def describe_progress(model: Any) -> str:
    """Say in one line how far the Model is in each of its places."""
    conditions, places = _conditions(model), model.get("status", {}).get("placements", [])
    if "Stalled" in conditions:
        return f"stalled: {conditions['Stalled']['message']}"
    if is_ready(model):
        return "Ready: " + ", ".join(f"{place['pool']} {place['variant']}" for place in places)
    return ", ".join(f"{place['pool']} {place['state']}" for place in places) or "waiting for a place"


def describe_places(model: Any) -> list[str]:
    """Say where the Model runs and why, and where it does not and why not."""
    status = model.get("status", {})
    lines = [f"{model['metadata']['name']}  {status.get('url', '')}  places ready: {status.get('placed', '-')}"]
    for place in status.get("placements", []):
        site = f", site {place['site']}" if place.get("site") else ""
        lines.append(f"  runs in {place['pool']} ({place['tier']}{site}) as {place['variant']} on {place['server']}")
        lines.append(f"    {place['reason']}: {place['message']}")
    for place in status.get("rejections", []):
        variant = f" as {place['variant']}" if place.get("variant") else ""
        lines.append(f"  not in {place['pool']}{variant}")
        lines.append(f"    {place['reason']}: {place['message']}")
    return lines


def _conditions(model: Any) -> dict[str, Any]:
    return {condition["type"]: condition for condition in model.get("status", {}).get("conditions", [])}


def _explain_delay(cluster: Cluster, models: list[Any], *, namespace: str, timeout: float) -> str:
    lines = [f"The Models of namespace {namespace} are not Ready after {timeout:.0f} s."]
    for model in models:
        if not is_ready(model):
            lines.append(f"Model {model['metadata']['name']}: {describe_progress(model)}")
            for name, condition in _conditions(model).items():
                lines.append(f"  {name}={condition['status']} {condition['reason']}: {condition['message']}")
    return "\n".join([*lines, cluster.describe_pods(namespace)])
