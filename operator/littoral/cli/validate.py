"""`littoral validate`: manifests by the rules of the API server, and against each other."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littoral.cli import style
from littoral.cli.failures import Failure
from littoral.cli.options import EndsWithOne, document, output_option

if TYPE_CHECKING:
    from littoral.cli.findings import Finding
    from littoral.core.hardware import DeviceTable


@click.command(cls=EndsWithOne)
@click.argument("files", nargs=-1, required=True, metavar="FILE|DIRECTORY|-...")
@click.option("-R", "--recursive", is_flag=True, help="Look into the directories of a DIRECTORY, too.")
@click.option("-n", "--namespace", default="default", show_default=True, metavar="NAME",
              help="Namespace of objects that name none.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings, too.")
@click.option("--device-table", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
              help="Device classes (YAML), where the operator does not use the built-in ones.")  # fmt: skip
@output_option("text", "json")
def validate(
    files: tuple[str, ...], recursive: bool, namespace: str, strict: bool, device_table: Path | None, output: str
) -> None:
    """Check manifests by the API server's rules, and together.

    Objects of group littoral.dev are checked by the rules that the API server obeys, then together: an SLO for a Model
    that is not there, a site that no NodePool has, NodePools that select the same nodes, a device class or a backend
    that does not exist. Other objects are passed over. No cluster is needed.

    \b
    Exit code:
      0  every object would be accepted (with --strict: and nothing is suspicious)
      1  an object would be refused, or a file cannot be read

    \b
    Examples:
      littoral validate manifests/
      kustomize build . | littoral validate -
      littoral validate -R deploy/ --strict -o json
    """
    findings, objects = examine(files, recursive=recursive, namespace=namespace, devices=devices_of(device_table))
    counts = Counter(str(finding.severity) for finding in findings)
    wrong = counts["error"] > 0 or (strict and counts["warning"] > 0)
    if output == "json":
        click.echo(document(as_json(findings, objects=objects), output="json"))
    else:
        for finding in findings:
            click.echo(_styled(finding))
        click.echo(summary(counts, objects=objects), err=True)
    sys.exit(1 if wrong else 0)


def examine(
    files: Sequence[str], *, recursive: bool, namespace: str, devices: DeviceTable
) -> tuple[list[Finding], int]:
    """All findings, by file and line, and the number of objects of ours.

    Args:
        files: files, directories, or `-`.
        namespace: namespace of objects that name none.
    """
    from littoral.cli.crosschecks import Checked, cross_check
    from littoral.cli.findings import Finding, Severity, check, is_ours, subject_of
    from littoral.cli.manifests import UnreadableManifest, read_manifests

    findings: list[Finding] = []
    readable: list[Checked] = []
    unreadable: list[str] = []
    others: dict[str, Counter[str]] = {}
    objects = 0
    for place in files:
        try:
            for manifest in read_manifests([place], recursive=recursive):
                if not is_ours(manifest.body):
                    others.setdefault(manifest.source, Counter())[_kind_of(manifest.body)] += 1
                    continue
                objects += 1
                parsed, wrong = check(manifest, namespace=namespace)
                findings += wrong
                if parsed is not None:
                    readable.append(Checked(manifest=manifest, parsed=parsed))
                else:
                    unreadable.append(subject_of(manifest.body, namespace=namespace))
        except UnreadableManifest as error:
            findings.append(Finding(severity=Severity.ERROR, source=error.source, line=error.line, message=str(error)))
    findings += cross_check(readable, devices=devices, unreadable=unreadable)
    findings += [
        Finding(severity=Severity.NOTE, source=source, line=0, message=_passed_over(kinds))
        for source, kinds in others.items()
    ]
    return sorted(findings, key=lambda finding: (finding.source, finding.line)), objects


def devices_of(table: Path | None) -> DeviceTable:
    """The device classes of a file, or those that ship with Littoral.

    Raises:
        Failure: the file holds no such table.
    """
    from littoral.core.hardware import InvalidDeviceTable, default_device_table, parse_device_table

    if table is None:
        return default_device_table()
    try:
        return parse_device_table(table.read_text("utf-8"))
    except (InvalidDeviceTable, OSError, UnicodeDecodeError) as error:
        raise Failure(f"{table}: {error}") from error


def as_json(findings: Sequence[Finding], *, objects: int) -> dict[str, Any]:
    """The answer for programs."""
    counts = Counter(str(finding.severity) for finding in findings)
    return {
        "valid": counts["error"] == 0,
        "objects": objects,
        "errors": counts["error"],
        "warnings": counts["warning"],
        "findings": [
            {
                "severity": str(finding.severity),
                "file": finding.source,
                "line": finding.line,
                "object": finding.subject,
                "field": finding.field,
                "message": finding.message,
            }
            for finding in findings
        ],
    }


def summary(counts: Counter[str], *, objects: int) -> str:
    """The last line."""
    if not objects:
        return "no object of group littoral.dev"
    wrong = [_number(counts[word], word) for word in ("error", "warning") if counts[word]]
    return f"{_number(objects, 'object')}: {', '.join(wrong) or 'all valid'}"


def _styled(finding: Finding) -> str:
    paint = {"error": style.bad, "warning": style.warn, "note": style.faint}[finding.severity]
    return str(finding).replace(f": {finding.severity}: ", f": {paint(finding.severity)}: ", 1)


def _kind_of(body: Any) -> str:
    return str(body.get("kind") or "no kind") if isinstance(body, dict) else "no object"


def _passed_over(kinds: Counter[str]) -> str:
    return f"passed over {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}"


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
