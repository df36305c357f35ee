"""Starting Liquibase: a program in its own process group, with a small environment."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlrs_engine.errors import LiquibaseUnavailable
from sqlrs_engine.processes.program import Program

_INHERITED = ("PATH", "HOME", "TMPDIR", "TZ", "JAVA_HOME")
_FIXED = {"LANG": "C.UTF-8", "LIQUIBASE_SHOW_BANNER": "false"}


def start(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    reads: bool = False,
) -> Program:
    """Start Liquibase in ``directory``, both its outputs in one pipe.

    It sees exactly ``environment``. ``reads`` makes a pipe of its standard input, which is
    empty otherwise. Raises LiquibaseUnavailable.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=dict(environment),
            start_new_session=True,
        )
        return Program(process)
    except OSError as error:
        raise LiquibaseUnavailable(
            "Liquibase does not run: check its installation with `sqlrs-engine doctor`", str(error)
        ) from error


def program_environment(
    given: Mapping[str, str], installation: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of Liquibase: a small one, ``given`` by the request, and more.

    Later ones win: a few variables of the engine's environment and those that begin with
    ``LIQUIBASE_``, then ``given``, then those that the ``installation`` needs.
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment.setdefault("PATH", os.defpath)
    own = {n: v for n, v in os.environ.items() if n.startswith("LIQUIBASE_")}
    return environment | own | _FIXED | dict(given) | dict(installation)
