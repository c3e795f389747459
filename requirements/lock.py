"""Pin the Python packages, with hashes: `runtime.txt` for the image, `dev.txt` for everything done in a checkout.

No index address is written: the files hold on whatever mirror a machine uses.
"""

import subprocess
import sys

OPTIONS = [
    "--quiet", "--generate-hashes", "--strip-extras", "--allow-unsafe", "--newline=lf", "--no-emit-options",
    "--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host",
]  # fmt: skip


def compile_pins(*arguments: str) -> None:
    """Run pip-compile over pyproject.toml; raises `subprocess.CalledProcessError` when there is no solution."""
    subprocess.run([sys.executable, "-m", "piptools", "compile", *OPTIONS, *arguments, "pyproject.toml"], check=True)


compile_pins("--output-file=requirements/runtime.txt")
compile_pins(
    "--all-extras",
    "--all-build-deps",
    "--constraint=requirements/runtime.txt",
    "--output-file=requirements/dev.txt",
)
