"""The packages of the extra `littoral[optimize]`: imported where they are used, missed with one clear line."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from types import ModuleType

from littoral.optimize.errors import OptimizeError

# OpenVINO and NNCF report their use to Google Analytics through this package, which they do without where it cannot be
# imported. Nobody who calls a command of ours has agreed to that.
_TELEMETRY = "openvino_telemetry"


def extra(name: str) -> ModuleType:
    """A module of the extra.

    Raises:
        OptimizeError: it is not installed.
    """
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]
    try:
        with quiet():
            return import_module(name)
    except ImportError as error:
        raise OptimizeError(
            f"{(error.name or name).partition('.')[0]} is not installed: pip install 'littoral[optimize]'"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars and advice of the libraries out of what the command prints."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
