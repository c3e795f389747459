"""Makes each form, measures it against the original, and decides what becomes a variant."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from littoral.agent import digest
from littoral.optimize import onnx_forms, openvino_forms, tensorrt
from littoral.optimize.accuracy import Answers, Judge, Metric, judge_by_labels, judge_by_original
from littoral.optimize.data import Dataset
from littoral.optimize.engines import Engine, open_engine
from littoral.optimize.errors import OptimizeError, Unfit
from littoral.optimize.network import Network
from littoral.optimize.onnx_forms import Attempt
from littoral.optimize.recipes import ORIGINAL, Form, Target
from littoral.optimize.speed import Speed, batch_sizes, measure

Say = Callable[[str], None]
"""Hears what is being done, in a line."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is asked for.

    Attributes:
        max_drop: the most that a variant's accuracy may be below the original's.
        max_batch: the largest batch that is measured.
        seconds: how long each variant is run at each batch size.
        calibration: the most items that ranges are calibrated with.
        threads: threads of an inference; None: as many as the runtime likes.
        metric: of the agreement with the original, where there are no labels; None: by the outputs' shapes.
        output: name of the output that is judged; None: the first with labels, else all.
    """

    max_drop: float = 0.01
    max_batch: int = 8
    seconds: float = 1.0
    calibration: int = 128
    threads: int | None = None
    metric: Metric | None = None
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """A form that exists.

    Attributes:
        path: the file or directory of the artifact.
        digest: `sha256:...`, by the agent's rule.
        size: bytes.
        accuracy: None where this machine cannot run it.
    """

    form: Form
    method: str
    path: Path
    digest: str
    size: int
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one target.

    Attributes:
        refusal: why it is no variant; empty if it is one.
        speed: None where it was not measured: this machine has no such device.
    """

    target: Target
    made: Made | None = None
    refusal: str = ""
    speed: Speed | None = None

    @property
    def accepted(self) -> bool:
        """Whether it is a variant of the Model."""
        return not self.refusal


@dataclass(frozen=True, kw_only=True)
class Report:
    """All outcomes, the best of each device class first, and how they were judged."""

    network: Network
    outcomes: tuple[Outcome, ...]
    metric: Metric
    labelled: bool
    items: int
    original_accuracy: float


def optimize(
    network: Network,
    targets: Sequence[Target],
    *,
    calibration: Dataset,
    test: Dataset,
    settings: Settings,
    artifacts: Path,
    say: Say = lambda line: None,
) -> Report:
    """Make, measure and choose the variants of a network.

    Args:
        calibration: what ranges are calibrated with.
        test: what accuracy is measured with.
        artifacts: directory for the accepted forms, each in a directory of its name; what was there before is replaced.

    Raises:
        OptimizeError: the original itself does not run on the data, or labels do not fit it.
    """
    with tempfile.TemporaryDirectory(prefix="littoral-optimize-") as scratch:
        work = _Work(network=network, calibration=calibration, test=test, settings=settings, say=say)
        forms = dict.fromkeys([ORIGINAL, *(target.form for target in targets)])
        made: dict[Form, Made | str] = {}
        for number, form in enumerate(forms, start=1):
            say(f"[{number}/{len(forms)}] {form.name}")
            made[form] = work.make(form, Path(scratch, form.name))
        outcomes = [_outcome(target, made[target.form]) for target in targets]
        say("measuring latency")
        outcomes = _with_speeds(outcomes, work)
        return Report(
            network=network,
            outcomes=tuple(_kept(outcomes, artifacts)),
            metric=work.judge.metric,
            labelled=work.judge.labelled,
            items=len(test.items),
            original_accuracy=work.original,
        )


class _Work:
    """What stays the same for all forms; the original's answers are what the others are compared with."""

    def __init__(self, *, network: Network, calibration: Dataset, test: Dataset, settings: Settings, say: Say) -> None:
        self.network, self.settings, self.test = network, settings, test
        self._say, self._calibration = say, calibration
        self._items = calibration.spread(settings.calibration)
        self._names = [tensor.name for tensor in network.outputs]
        if settings.output is not None and settings.output not in self._names:
            raise OptimizeError(f"the network has no output {settings.output}, but {', '.join(self._names)}")
        output = None if settings.output is None else self._names.index(settings.output)
        try:
            answers = self.answers(self.engine(network.path))
        except OptimizeError:
            raise
        except Exception as error:
            raise OptimizeError(f"{network.path} does not run on the data: {str(error).splitlines()[0]}") from error
        self.judge: Judge = (
            judge_by_original(answers, metric=settings.metric, output=output)
            if test.labels is None
            else judge_by_labels(test.labels, answers, output=output or 0)
        )
        self.original = self.judge.score(answers)

    def engine(self, path: Path) -> Engine:
        """The form on this machine's CPU."""
        return open_engine(path, outputs=self._names, threads=self.settings.threads)

    def answers(self, engine: Engine) -> Answers:
        """What it says to each item of the test."""
        return [engine(item) for item in self.test.items]

    def make(self, form: Form, folder: Path) -> Made | str:
        """The form, or why there is none."""
        if form == ORIGINAL:
            return _made(form, Attempt(method="as given", path=self.network.path), accuracy=self.original)
        folder.mkdir(parents=True)
        best: Made | None = None
        try:
            for attempt in self._attempts(form, folder):
                made = _made(form, attempt, accuracy=self._accuracy(form, attempt))
                told = "not measured here" if made.accuracy is None else f"{made.accuracy:.4f}"
                self._say(f"  {attempt.method}: accuracy {told}")
                if made.accuracy is None or self._drop(made) <= self.settings.max_drop:
                    return made
                if best is None or made.accuracy > (best.accuracy or 0):
                    best = made
        except Unfit as error:
            if best is None:
                self._say(f"  {error}")
                return str(error)
        assert best is not None
        return (
            f"accuracy {best.accuracy:.4f} is {self._drop(best):.4f} below the original's {self.original:.4f}, and "
            f"{self.settings.max_drop:g} is allowed ({best.method})"
        )

    def _drop(self, made: Made) -> float:
        # Rounded as it is shown: a limit of 0.01 allows what looks like 0.0100.
        return round(self.original - (made.accuracy or 0.0), 4)

    def _accuracy(self, form: Form, attempt: Attempt) -> float | None:
        if form.format == "tensorrt":
            return None
        try:
            return self.judge.score(self.answers(self.engine(attempt.path)))
        except OptimizeError:
            raise
        except Exception as error:
            raise Unfit(f"it does not run ({attempt.method}): {str(error).splitlines()[0][:200]}") from error

    def _attempts(self, form: Form, folder: Path) -> Iterator[Attempt]:
        if form.format == "openvino":
            yield from openvino_forms.intermediate(self.network, form, self._calibration, self._items, folder=folder)
        elif form.format == "tensorrt":
            program = tensorrt.trtexec()
            if program is None:
                raise Unfit("there is no trtexec here: see the Job")
            options = tensorrt.arguments(self.network, self._calibration, max_batch=self.settings.max_batch)
            yield Attempt(method="trtexec", path=tensorrt.build(program, self.network, options, folder=folder))
        elif form.precision == "int8":
            yield from onnx_forms.int8(self.network, self._items, folder=folder)
        else:
            yield from onnx_forms.fp16(self.network, folder=folder)


def _made(form: Form, attempt: Attempt, *, accuracy: float | None) -> Made:
    files = attempt.path.rglob("*") if attempt.path.is_dir() else [attempt.path]
    return Made(
        form=form,
        method=attempt.method,
        path=attempt.path,
        digest=f"sha256:{digest.of_path(attempt.path)}",
        size=sum(file.stat().st_size for file in files),
        accuracy=accuracy,
    )


def _outcome(target: Target, made: Made | str) -> Outcome:
    return Outcome(target=target, refusal=made) if isinstance(made, str) else Outcome(target=target, made=made)


def _with_speeds(outcomes: Iterable[Outcome], work: _Work) -> list[Outcome]:
    """Those for the CPU with their speeds; of a class the fastest first, and what was refused last."""
    outcomes = list(outcomes)
    here = {
        outcome.target.name: outcome.made.path
        for outcome in outcomes
        if outcome.made is not None and outcome.target.device == "cpu"
    }
    if here:
        speeds: Mapping[str, Speed] = measure(
            {name: work.engine(path) for name, path in here.items()},
            work.test.items[0],
            sizes=batch_sizes(work.settings.max_batch) if work.network.batchable else (1,),
            seconds=work.settings.seconds,
        )
        outcomes = [replace(outcome, speed=speeds.get(outcome.target.name)) for outcome in outcomes]
    classes = list(dict.fromkeys(outcome.target.device for outcome in outcomes))

    def rank(outcome: Outcome) -> tuple[int, bool, float]:
        p50 = outcome.speed[1].quantile(0.5) if outcome.speed else 0.0
        return classes.index(outcome.target.device), not outcome.accepted, p50

    return sorted(outcomes, key=rank)


def _kept(outcomes: Iterable[Outcome], artifacts: Path) -> Iterator[Outcome]:
    """The outcomes, with the accepted forms at their place in the output."""
    shutil.rmtree(artifacts, ignore_errors=True)
    for outcome in outcomes:
        if outcome.made is None or not outcome.accepted:
            yield outcome
            continue
        target = artifacts / outcome.made.form.name / outcome.made.form.files
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if outcome.made.path.is_dir() else shutil.copyfile
            copy(outcome.made.path, target)
        yield replace(outcome, made=replace(outcome.made, path=target))
