"""The main path on the lab: from `kubectl apply` to the first answer, artifact changes under load, memory.

Run it with `make bench` on a lab that is up and has nothing of Littoral on it.
"""

from __future__ import annotations

import json
import time
from statistics import median

import click

from bench.memory import resident
from bench.report import print_table
from examples.quickstart import digits, setting_up
from examples.quickstart.client import InferenceError, ModelClient
from examples.quickstart.cluster import Cluster, DemoError
from examples.quickstart.lab import connect_lab, lab_images
from examples.quickstart.models import wait_ready
from examples.quickstart.networks import DIGITS, DIGITS_V2, Network
from examples.quickstart.reading import LoadReport, ask_digit, under_load

NAMESPACE = setting_up.NAMESPACE


@click.command()
@click.option("--lab", default="lab", show_default=True, help="Name of a lab that is up.")
@click.option("--changes", default=20, show_default=True, help="Artifact changes under load.")
def main(lab: str, changes: int) -> None:
    """Measure the main path."""
    cluster, images = connect_lab(lab), lab_images()
    rows: list[tuple[str, str]] = []

    start = time.monotonic()
    ca_crt = setting_up.prepare_namespace(cluster)
    setting_up.install(cluster, images=images, ca_crt=ca_crt, timeout=300)
    rows.append(("helm install -> operator ready", f"{time.monotonic() - start:.1f} s"))

    start = time.monotonic()
    setting_up.apply_quickstart(cluster, images=images)
    wait_ready(cluster, namespace=NAMESPACE, timeout=300, say=print)
    rows.append(("kubectl apply -> three Models Ready", f"{time.monotonic() - start:.1f} s"))
    _first_answer(cluster)
    rows.append(("kubectl apply -> first answer", f"{time.monotonic() - start:.1f} s"))

    rows += _memory(cluster)
    seconds, report = _change(cluster, changes)
    rows += [
        (f"{changes} artifact changes: new artifact -> Ready, median", f"{median(seconds):.1f} s"),
        (f"{changes} artifact changes: requests sent", f"{report.sent}"),
        (f"{changes} artifact changes: requests failed", f"{report.failed}"),
        (f"{changes} artifact changes: latency, median", f"{1e3 * report.median_seconds:.1f} ms"),
        (f"{changes} artifact changes: latency, p99", f"{1e3 * report.p99_seconds:.1f} ms"),
    ]
    print_table("Main path", rows)


def _connect(cluster: Cluster) -> ModelClient:
    service = cluster.get("service", "digits", f"--namespace={NAMESPACE}")
    return ModelClient(url=f"{service['spec']['clusterIP']}:80", model="digits")


def _first_answer(cluster: Cluster) -> None:
    _, test = digits.load()
    while True:
        try:
            with _connect(cluster) as client:
                ask_digit(client, test.images[0])
        except (InferenceError, DemoError):
            time.sleep(0.05)
        else:
            return


def _memory(cluster: Cluster) -> list[tuple[str, str]]:
    (operator,) = cluster.items("pods", "--namespace=littoral-system")
    selector = "--selector=littoral.dev/pool=cloud"
    (server,) = cluster.items("pods", f"--namespace={NAMESPACE}", selector)
    return [
        ("memory of the operator (hub and site)", f"{resident(operator, 'littoral operator'):.0f} MiB"),
        ("memory of an agent", f"{resident(server, 'littoral agent'):.0f} MiB"),
        ("memory of Triton itself", f"{resident(server, '^tritonserver '):.0f} MiB"),
        ("memory of Triton's stubs (one Model, digits)", f"{resident(server, 'triton_python_backend_stub'):.0f} MiB"),
    ]


def _change(cluster: Cluster, changes: int) -> tuple[list[float], LoadReport]:
    _, test = digits.load()
    seconds = []
    with under_load(lambda: _connect(cluster), test.images, pause=0.005) as load:
        for change in range(changes):
            start = time.monotonic()
            _apply(cluster, (DIGITS_V2, DIGITS)[change % 2])
            wait_ready(cluster, namespace=NAMESPACE, timeout=120, say=lambda _: None)
            seconds.append(time.monotonic() - start)
    return seconds, load.report()


def _apply(cluster: Cluster, network: Network) -> None:
    model = cluster.get("models.littoral.dev", "digits", f"--namespace={NAMESPACE}")
    (variant,) = model["spec"]["variants"]
    variant["artifact"] = {"uri": f"https://artifacts.shop.svc/{network.file_name}", "digest": network.digest}
    patch = json.dumps({"spec": {"variants": [variant]}})
    cluster.run(
        "patch", "models.littoral.dev", "digits", f"--namespace={NAMESPACE}", "--type=merge", f"--patch={patch}"
    )


if __name__ == "__main__":
    main()
