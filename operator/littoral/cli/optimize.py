"""`littoral optimize`: variants of a network for each kind of hardware, measured against the original."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littoral.cli.failures import Failure
from littoral.cli.options import EndsWithOne, document

if TYPE_CHECKING:
    from collections.abc import Callable

    from littoral.optimize.data import Dataset
    from littoral.optimize.network import Network
    from littoral.optimize.pipeline import Report

_PATH = click.Path(path_type=Path, exists=True)


@click.command(cls=EndsWithOne)
@click.argument("network", metavar="MODEL.onnx", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--for", "devices", required=True, metavar="CLASS,...",
              help="Device classes: cpu, intel-gpu, intel-npu, nvidia-gpu, amd-gpu, ascend.")  # fmt: skip
@click.option("--data", type=_PATH, required=True, metavar="PATH",
              help="Inputs as users send them: .npy, .npz, or a directory of them.")  # fmt: skip
@click.option("--labels", type=_PATH, metavar="PATH",
              help="Right answers: .npy, .npz, .txt, or a directory.  [default: the original's answers]")  # fmt: skip
@click.option("--test-data", type=_PATH, metavar="PATH",
              help="Other inputs to measure accuracy with, whose labels then count.  [default: --data]")  # fmt: skip
@click.option("--max-accuracy-drop", "max_drop", type=click.FloatRange(0, 1), default=0.01, show_default=True,
              help="Refuse a variant whose accuracy is further below the original's.")  # fmt: skip
@click.option("--metric", type=click.Choice(("top1", "cosine")),
              help="Of the agreement with the original.  [default: by the shape of the outputs]")  # fmt: skip
@click.option("--output-name", metavar="NAME",
              help="Output that is judged.  [default: the first with labels, else the worst of all]")  # fmt: skip
@click.option("--max-batch", type=click.IntRange(1, 1024), default=8, show_default=True, help="Largest batch measured.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
              help="Run each variant so long at each batch size.")  # fmt: skip
@click.option("--calibration-items", "calibration", type=click.IntRange(min=1), default=128, show_default=True,
              help="Most items to calibrate with.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 1024),
              help="Threads of an inference, also when served.  [default: up to the runtime]")  # fmt: skip
@click.option("--output", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIRECTORY",
              help="Where to write.  [default: MODEL-optimized]")  # fmt: skip
@click.option("--uri", metavar="URI", help="Where clusters find that directory.  [default: file:// and its path]")
@click.option("--name", metavar="NAME", help="Name of the Model.  [default: that of the file]")
@click.option("-n", "--namespace", metavar="NAME", help="Namespace of the Model.  [default: none in the manifest]")
@click.option("--quiet", is_flag=True, help="Do not say what is being done.")
@click.option("-o", "form", type=click.Choice(("text", "wide", "yaml", "json")), default="text", show_default=True,
              help="What to print: a table, or the Model.")  # fmt: skip
def optimize(
    network: Path,
    devices: str,
    data: Path,
    labels: Path | None,
    test_data: Path | None,
    max_drop: float,
    metric: str | None,
    output_name: str | None,
    max_batch: int,
    seconds: float,
    calibration: int,
    threads: int | None,
    folder: Path | None,
    uri: str | None,
    name: str | None,
    namespace: str | None,
    quiet: bool,
    form: str,
) -> None:
    """Make variants of a network for each kind of hardware.

    Writes INT8, FP16 and OpenVINO forms of an ONNX network as they fit the device classes, measures the accuracy and,
    for the CPU, the latency of each against the original, refuses what lost too much accuracy, and writes a Model
    manifest with digests, accuracy and profiles. Needs pip install 'littoral[optimize]'. No cluster is needed.

    \b
    In the output directory:
      model.yaml   the Model
      artifacts/   what its variants name
      jobs/        Jobs that make what only another machine can: TensorRT plans
      report.json  all that was measured

    \b
    Exit code:
      0  every device class has a variant
      1  one has none, or an error

    \b
    Examples:
      littoral optimize digits.onnx --for cpu --data calib/ --labels labels.npy
      littoral optimize detect.onnx --for cpu,intel-npu,nvidia-gpu --data calib/ --output out --uri pvc://models/detect
      littoral optimize digits.onnx --for cpu --data calib.npy --threads 2 -o yaml | littoral validate -
    """
    from littoral.cli.optimize_text import text
    from littoral.optimize.accuracy import Metric
    from littoral.optimize.data import read_dataset
    from littoral.optimize.errors import OptimizeError
    from littoral.optimize.manifest import as_json, manifest, name_of, remarks
    from littoral.optimize.network import read_network
    from littoral.optimize.pipeline import Settings
    from littoral.optimize.pipeline import optimize as run
    from littoral.optimize.recipes import targets_of

    root = (folder or network.with_name(f"{network.stem}-optimized")).absolute()
    settings = Settings(
        max_drop=max_drop,
        max_batch=max_batch,
        seconds=seconds,
        calibration=calibration,
        threads=threads,
        metric=None if metric is None else Metric(metric),
        output=output_name,
    )
    try:
        targets = targets_of(device.strip() for device in devices.split(",") if device.strip())
        name = name or name_of(network)
        read = read_network(network)
        items = read_dataset(data, read, labels=None if test_data else labels)
        test = read_dataset(test_data, read, labels=labels) if test_data else items
        root.mkdir(parents=True, exist_ok=True)
        report = run(
            read,
            targets,
            calibration=items,
            test=test,
            settings=settings,
            artifacts=root / "artifacts",
            say=(lambda line: None) if quiet else _teller(),
        )
        location = uri or f"file://{root}"
        model = manifest(report, name=name, namespace=namespace, location=location, root=root, threads=threads)
    except (OptimizeError, OSError) as error:
        raise Failure(str(error)) from error
    head = "".join(f"# {line}\n" for line in remarks(report))
    (root / "model.yaml").write_text(f"{head}{document(model, output='yaml')}\n")
    (root / "report.json").write_text(json.dumps(as_json(report), indent=2) + "\n")
    _write_jobs(report, items, root=root, location=location, model=name, namespace=namespace, max_batch=max_batch)
    if form in ("yaml", "json"):
        click.echo(document(model, output=form))
    else:
        click.echo(text(report, root=root, wide=form == "wide"))
    without = {target.device for target in targets} - {it.target.device for it in report.outcomes if it.accepted}
    if without:
        raise Failure(f"there is no variant for {', '.join(sorted(without))}: {_reasons(report, without)}")


def _teller() -> Callable[[str], None]:
    start = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - start:6.1f}s {line}", file=sys.stderr, flush=True)

    return tell


def _write_jobs(
    report: Report,
    items: Dataset,
    *,
    root: Path,
    location: str,
    model: str,
    namespace: str | None,
    max_batch: int,
) -> None:
    """Jobs for the plans that could not be made here: they read the original out of a claim, and write beside it."""
    import shutil

    from littoral.optimize import tensorrt

    claim, _, below = (
        location.removeprefix("pvc://").partition("/") if location.startswith("pvc://") else ("models", "", model)
    )
    below = f"{below.strip('/')}/" if below.strip("/") else ""
    for outcome in report.outcomes:
        if outcome.target.form.format != "tensorrt" or outcome.accepted:
            continue
        (root / "jobs").mkdir(exist_ok=True)
        shutil.copyfile(report.network.path, root / "jobs/model.onnx")
        job: dict[str, Any] = tensorrt.job(
            model=model,
            namespace=namespace or "default",
            variant=outcome.target.name,
            claim=claim,
            source=f"{below}jobs/model.onnx",
            target=f"{below}artifacts/{outcome.target.form.name}/model.plan",
            options=_options(report.network, items, max_batch=max_batch),
        )
        (root / f"jobs/{outcome.target.name}.yaml").write_text(document(job, output="yaml") + "\n")


def _options(network: Network, items: Dataset, *, max_batch: int) -> list[str]:
    from littoral.optimize import tensorrt

    return tensorrt.arguments(network, items, max_batch=max_batch)


def _reasons(report: Report, devices: set[str]) -> str:
    return "; ".join(f"{it.target.name}: {it.refusal}" for it in report.outcomes if it.target.device in devices)
