"""What no object says by itself: whether objects that belong together fit. Pure; each finding is a warning."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations

from littoral.api import LatencySLO, Model, NodePool
from littoral.api.meta import NodeSelector, Resource
from littoral.api.model import Variant
from littoral.cli.findings import Finding, Severity, subject_of
from littoral.cli.manifests import Manifest
from littoral.core.hardware import DeviceTable


@dataclass(frozen=True, kw_only=True)
class Checked:
    """An object, and where it stands."""

    manifest: Manifest
    parsed: Resource

    @property
    def subject(self) -> str:
        """The object's name for people."""
        return subject_of(self.parsed.dump(), namespace="")

    def warning(self, message: str, *path: str | int) -> Finding:
        """A warning about the field at `path`."""
        return Finding(
            severity=Severity.WARNING,
            source=self.manifest.source,
            line=self.manifest.line(path),
            subject=self.subject,
            message=message,
        )


def cross_check(objects: Sequence[Checked], *, devices: DeviceTable, unreadable: Collection[str] = ()) -> list[Finding]:
    """Everything that the objects, taken together, would not do as their authors mean.

    Args:
        objects: all that is known; what is not among them may still be in the cluster, and messages say so.
        devices: the device classes that exist, and what drives them.
        unreadable: subjects of objects that are there, and cannot be read: enough to refer to.
    """
    models = {(it.parsed.namespace, it.parsed.name): it.parsed for it in objects if isinstance(it.parsed, Model)}
    sites = {it.parsed.spec.site for it in objects if isinstance(it.parsed, NodePool) and it.parsed.spec.site}
    found = [*_repeated(objects), *_overlapping(objects)]
    for it in objects:
        if isinstance(it.parsed, Model):
            found += _model(it, it.parsed, devices)
        elif isinstance(it.parsed, LatencySLO):
            found += _slo(it, it.parsed, models=models, sites=sites, unreadable=unreadable)
    return found


def _repeated(objects: Sequence[Checked]) -> Iterator[Finding]:
    first: dict[str, Checked] = {}
    for it in objects:
        known = first.setdefault(it.subject, it)
        if known is not it:
            at = f"{known.manifest.source}:{known.manifest.line()}"
            yield it.warning(f"stands in {at}, too: the one that is applied last wins", "metadata", "name")


def _model(it: Checked, model: Model, devices: DeviceTable) -> Iterator[Finding]:
    for index, variant in enumerate(model.spec.variants):
        at = ("spec", "variants", index)
        known = devices.classes.get(variant.accelerator)
        if known is None:
            yield it.warning(
                f"variant {variant.name}: no device class is named {variant.accelerator}"
                f"{_hint(variant.accelerator, list(devices.classes))}",
                *at,
                "accelerator",
            )
        elif known.backends and variant.backend not in known.backends:
            yield it.warning(
                f"variant {variant.name}: backend {variant.backend} does not run on {variant.accelerator}: use one of "
                f"{', '.join(sorted(known.backends))}",
                *at,
                "backend",
            )


def _slo(
    it: Checked,
    slo: LatencySLO,
    *,
    models: Mapping[tuple[str | None, str], Model],
    sites: Collection[str],
    unreadable: Collection[str],
) -> Iterator[Finding]:
    name, least = slo.spec.model_ref.name, slo.spec.min_accuracy
    model = models.get((slo.namespace, name))
    if model is None and f"Model {slo.namespace}/{name}" not in unreadable:
        near = [known for namespace, known in models if namespace == slo.namespace]
        yield it.warning(
            f"there is no Model {name} in namespace {slo.namespace} of these files{_hint(name, near)}",
            "spec",
            "modelRef",
            "name",
        )
    if (
        model is not None
        and least is not None
        and not any(_accurate(variant, least) for variant in model.spec.variants)
    ):
        yield it.warning(
            f"no variant of Model {name} states an accuracy of {least} or more, so none may run", "spec", "minAccuracy"
        )
    for index, site in enumerate(slo.spec.sites.match_names if slo.spec.sites else ()):
        # Without any NodePool the files say nothing of sites.
        if sites and site not in sites:
            hint = _hint(site, sorted(sites))
            yield it.warning(f"no NodePool has site {site}{hint}", "spec", "sites", "matchNames", index)


def _accurate(variant: Variant, least: str | None) -> bool:
    return least is None or (variant.accuracy is not None and float(variant.accuracy) >= float(least))


def _overlapping(objects: Sequence[Checked]) -> Iterator[Finding]:
    pools = sorted(
        ((it.parsed, it) for it in objects if isinstance(it.parsed, NodePool)), key=lambda pair: pair[0].name
    )
    for (one, _), (two, it) in combinations(pools, 2):
        if one.name == two.name or one.spec.member != two.spec.member:
            continue
        if _within(one.spec.node_selector, two.spec.node_selector) or _within(
            two.spec.node_selector, one.spec.node_selector
        ):
            yield it.warning(
                f"selects nodes that NodePool {one.name} selects, too; they belong to {one.name}, the first by name: "
                "make the nodeSelectors exclusive",
                "spec",
                "nodeSelector",
            )


def _within(narrow: NodeSelector, wide: NodeSelector) -> bool:
    """Whether each node that `narrow` selects is certainly selected by `wide`: it asks for nothing more."""
    return wide.match_labels.items() <= narrow.match_labels.items() and set(wide.match_expressions) <= set(
        narrow.match_expressions
    )


def _hint(name: str, known: Sequence[str]) -> str:
    if close := get_close_matches(name, known, n=1, cutoff=0.5):
        return f": did you mean {close[0]}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""
