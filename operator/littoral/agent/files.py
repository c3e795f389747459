"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Replace the file's content; after a crash at any moment it is the old one or the new one."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with staged.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
