"""The problems in a configuration file, and the part of it that is still usable.

The engine starts with any file: a path with an invalid value falls back to its default, and the
problem is reported.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import paths
from .validation import Fault, Validation

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """A path whose value is ignored, and the reason; the path is empty for the whole file."""

    path: str
    reason: str

    def __str__(self) -> str:
        """Return one sentence for the log, ``doctor`` and ``status``."""
        what = f"{self.path} is" if self.path else "the settings are"
        return f"{self.reason}; {what} at the default"


def read(file: Path, validation: Validation) -> tuple[Tree, list[Problem]]:
    """Return the usable overrides in a file, and the problems with the others.

    A file that does not exist has neither.
    """
    try:
        # Copied here, as later, so that excessive nesting fails immediately.
        overrides = copy.deepcopy(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [Problem("", f"{file} cannot be read: {error}")]
    except (ValueError, RecursionError) as error:
        return {}, [Problem("", f"{file} is not JSON: {error}")]
    if not isinstance(overrides, dict):
        return {}, [Problem("", f"{file} must hold a JSON object")]
    problems = []
    while (fault := validation.fault(overrides)) is not None:
        problems += [Problem(paths.join(path), fault.reason) for path in fault.paths]
        _drop(overrides, fault)
    return overrides, problems


def _drop(overrides: Tree, fault: Fault) -> None:
    """Remove the values at fault, so that the next check finds fewer."""
    for path in fault.paths:
        parent: Any = overrides
        for key in path[:-1]:
            parent = parent.get(key, {})
        parent.pop(path[-1], None)
