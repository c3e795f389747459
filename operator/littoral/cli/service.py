"""What the commands that a container runs have in common."""

from __future__ import annotations

from typing import Any, Final

SERVICE: Final[dict[str, Any]] = {"show_default": True, "help_option_names": ["-h", "--help"]}
"""click's context settings. The names of the help option stand here, too, since a command may be called by itself."""
