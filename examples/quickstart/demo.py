"""The demo: install Littoral, apply three Models, ask them, see where they run and why, and replace one under load.

`python -m examples.quickstart.demo --help`; `make demo` brings up a cluster first.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

import click

from examples.vision import text_recognition

from . import digits, setting_up
from .client import InferenceError, ModelClient
from .cluster import Cluster, DemoError, connect, service_path
from .console import Console
from .digits import Digits
from .lab import connect_lab, lab_images, run_module
from .models import describe_places, wait_ready
from .networks import DIGITS, DIGITS_V2, Network, NetworkError
from .pictures import pictures
from .reading import accuracy_directly, accuracy_through, ask_digit, read_picture, under_load
from .setting_up import NAMESPACE, Images

_FIRST_ANSWER_TIMEOUT = 20.0
_SETTLE_SECONDS = 2.0
_POD_COLUMNS = "POD:.metadata.name,NODE:.spec.nodeName,PHASE:.status.phase"


@dataclass(kw_only=True)
class Demo:
    """One run of the demo; its steps, in order, are the public methods."""

    cluster: Cluster
    images: Images
    timeout: float
    console: Console
    times: dict[str, float] = field(default_factory=dict)
    address: str = ""

    def show_cluster(self) -> None:
        """Name the cluster and its nodes."""
        version = self.cluster.get_raw("/version")["gitVersion"]
        nodes = setting_up.check_nodes(self.cluster)
        self.console.say(f"Kubernetes {version}; nodes: {', '.join(nodes)}")

    def install(self) -> None:
        """Install the chart."""
        start = time.monotonic()
        ca_crt = setting_up.prepare_namespace(self.cluster)
        setting_up.install(self.cluster, images=self.images, ca_crt=ca_crt, timeout=self.timeout)
        self.times["helm install -> operator ready"] = time.monotonic() - start

    def apply(self) -> None:
        """Apply the manifests, wait until the Models are Ready, and until the first answers."""
        start = time.monotonic()
        for line in setting_up.apply_quickstart(self.cluster, images=self.images):
            self.console.say(line)
        wait_ready(self.cluster, namespace=NAMESPACE, timeout=self.timeout, say=self.console.say)
        self.times["kubectl apply -> all Models Ready"] = time.monotonic() - start
        with self.connect("digits") as client:
            _first_answer(client)
        self.times["kubectl apply -> first answer"] = time.monotonic() - start

    def ask_digits(self, test: Digits) -> None:
        """Send a few scans and draw them above the answers."""
        arts, captions = [], []
        with self.connect("digits") as client:
            for image in test.images[:4]:
                start = time.perf_counter()
                answer = ask_digit(client, image).values[0]
                elapsed = time.perf_counter() - start
                arts.append(digits.ascii_art(image))
                captions.append(f"{answer.argmax()}  {answer.max():4.0%}  {1e3 * elapsed:.0f} ms".ljust(16))
        for rows in [*zip(*arts, strict=True), captions]:
            self.console.say("   ".join(rows))

    def read_pictures(self) -> None:
        """Send pictures with text and print what was read; raise DemoError if it is not what they show."""
        characters = text_recognition.alphabet()
        wrong = []
        with self.connect("text-detect") as detector, self.connect("text-recognize") as recognizer:
            for picture in pictures():
                reading = read_picture(picture, detector=detector, recognizer=recognizer, characters=characters)
                self.console.say(
                    f"{picture.name} ({picture.image.width} x {picture.image.height}): "
                    f"found in {1e3 * reading.detect_seconds:.0f} ms, read in {1e3 * reading.recognize_seconds:.0f} ms"
                )
                for box, line in reading.lines:
                    (x, y), (width, height) = box.corners[0], box.size
                    where = f"at ({x:.0f}, {y:.0f}), {width:.0f} x {height:.0f}"
                    self.console.say(f"  {line.text:<24} {line.confidence:4.0%}  {where}")
                if reading.texts != picture.lines:
                    wrong.append(f"{picture.name}: expected {picture.lines}, read {reading.texts}")
        if wrong:
            raise DemoError("Pictures were misread:\n" + "\n".join(wrong))

    def explain(self) -> None:
        """Say where each Model runs and why."""
        for model in self.cluster.items("models.littoral.dev", f"--namespace={NAMESPACE}"):
            for line in describe_places(model):
                self.console.say(line)
        self.console.say(
            self.cluster.run("get", "pods", f"--namespace={NAMESPACE}", f"--output=custom-columns={_POD_COLUMNS}")
        )

    def measure_accuracy(self, test: Digits) -> None:
        """Compare the accuracy through Triton with that of the same file run here; raise DemoError if they differ."""
        with self.connect("digits") as client:
            self._compare(client, test)

    def replace(self, test: Digits) -> None:
        """Replace the network of `digits` while requests run; raise DemoError if any fails."""
        start = time.monotonic()
        with under_load(lambda: self.connect("digits"), test.images) as load:
            setting_up.apply_second_version(self.cluster)
            wait_ready(self.cluster, namespace=NAMESPACE, timeout=self.timeout, say=self.console.say)
            self.times["new artifact applied -> Ready"] = time.monotonic() - start
            # Requests that are under way when the new version is ready count, too.
            time.sleep(_SETTLE_SECONDS)
        report = load.report()
        answers = ", ".join(f"{count} by version {version}" for version, count in sorted(report.answers.items()))
        self.console.say(f"{report.sent} requests sent while `digits` was replaced, {report.failed} failed ({answers})")
        self.console.say(f"median {1e3 * report.median_seconds:.1f} ms, p99 {1e3 * report.p99_seconds:.1f} ms")
        if report.failed:
            raise DemoError("Requests failed during the replacement:\n" + "\n".join(report.errors[:5]))
        with self.connect("digits") as client:
            self._compare(client, test, network=DIGITS_V2)

    def summarize(self) -> None:
        """Print the times."""
        self.console.table([(f"{seconds:6.1f} s", what) for what, seconds in self.times.items()])

    def connect(self, model: str) -> ModelClient:
        """Return a client of the Model's Service, through the API server."""
        return ModelClient(url=self.address + service_path(namespace=NAMESPACE, service=model), model=model)

    def _compare(self, client: ModelClient, test: Digits, *, network: Network = DIGITS) -> None:
        start = time.monotonic()
        through, directly = accuracy_through(client, test), accuracy_directly(network, test)
        sign = "==" if through == directly else "!="
        self.console.say(
            f"{network.name}: accuracy {through:.4f} (through Triton) {sign} {directly:.4f} (onnxruntime) "
            f"over {len(test.labels)} scans in {time.monotonic() - start:.1f} s"
        )
        if through != directly:
            raise DemoError(f"What answers under the name `digits` is not {network.file_name}.")


def _first_answer(client: ModelClient) -> None:
    """Ask until there is an answer: a Service follows its Model's readiness within a second or so."""
    _, test = digits.load()
    deadline = time.monotonic() + _FIRST_ANSWER_TIMEOUT
    while True:
        try:
            ask_digit(client, test.images[0])
        except InferenceError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"The Model is Ready, and its Service does not answer: {error}") from error
            time.sleep(0.1)
        else:
            return


def _registry_images(*, registry: str | None, tag: str, triton: str | None) -> Images:
    if registry is None:
        raise DemoError(
            "Your cluster cannot have the images that only this machine has. Build images/littoral and "
            "images/quickstart-models, push them to a registry that it reaches, then say where: "
            "make demo CLUSTER=current IMAGE_REGISTRY=registry.example/you"
        )
    return Images(
        littoral=f"{registry}/littoral:{tag}",
        quickstart_models=f"{registry}/quickstart-models:{tag}",
        triton=triton,
    )


def run(demo: Demo) -> None:
    """Run every step; raise DemoError at the first that does not succeed."""
    console, (_, test) = demo.console, digits.load()
    with console.step("The cluster"):
        demo.show_cluster()
    with console.step("Install Littoral (helm)"):
        demo.install()
    with demo.cluster.proxy(namespace=NAMESPACE) as demo.address:
        with console.step("kubectl apply -f manifests/quickstart/"):
            demo.apply()
        with console.step("Ask `digits`: handwritten digits"):
            demo.ask_digits(test)
        with console.step("Ask `text-detect` and `text-recognize`: pictures with text"):
            demo.read_pictures()
        with console.step("Where each Model runs, and why"):
            demo.explain()
        with console.step("Accuracy of `digits`"):
            demo.measure_accuracy(test)
        with console.step("kubectl apply -f manifests/quickstart-v2/, while requests run"):
            demo.replace(test)
    with console.step("Times"):
        demo.summarize()


@click.command(context_settings={"show_default": True, "max_content_width": 110})
@click.option(
    "--cluster", type=click.Choice(["lab", "current"]), default="lab", envvar="CLUSTER",
    help="The lab, or the cluster of the current kubectl context.",
)  # fmt: skip
@click.option("--lab", "lab_name", default="lab", envvar="LAB", help="Name of the lab.")
@click.option("--image-registry", envvar="IMAGE_REGISTRY", help="Where littoral and quickstart-models are.")
@click.option("--image-tag", envvar="IMAGE_TAG", default="latest", help="Tag of both.")
@click.option("--triton-image", envvar="TRITON_IMAGE", help="Triton's image, if not the chart's.")
@click.option("--timeout", default=300.0, help="Seconds to wait for the operator, and for the Models.")
@click.option("--keep", is_flag=True, envvar="KEEP", help="Leave everything as it is at the end.")
def main(
    *, cluster: str, lab_name: str, image_registry: str | None, image_tag: str, triton_image: str | None,
    timeout: float, keep: bool,
) -> None:  # fmt: skip
    """Install Littoral, apply three Models, ask them, see where they run and why, and replace one under load."""
    try:
        if cluster == "lab":
            # Quick if the lab is up: then it only makes sure that the nodes have the images of this checkout.
            run_module("lab", "up", "--name", lab_name, capture=False)
            target, images = connect_lab(lab_name), lab_images()
        else:
            images = _registry_images(registry=image_registry, tag=image_tag, triton=triton_image)
            target = connect(kubeconfig=None)
        console = Console(steps=9 if keep else 10)
        run(Demo(cluster=target, images=images, timeout=timeout, console=console))
        if not keep:
            with console.step("Take it all away again (KEEP=1 leaves everything)"):
                setting_up.remove(target)
    except (DemoError, InferenceError, NetworkError) as error:
        sys.exit(f"\ndemo: {error}")


if __name__ == "__main__":
    main()
