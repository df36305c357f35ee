"""What a client's environment adds to a request: the programs that its stages run."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def of_liquibase(
    environ: Mapping[str, str], program: str | None = None, directory: Path | None = None
) -> Json:
    """Return the request's fields for the client's Liquibase and Java.

    ``program`` is a name on the PATH or a path, which may be relative to ``directory``. Without one
    the engine finds Liquibase elsewhere if the PATH does not have it.
    """
    fields: Json = {}
    if program is not None and os.sep in program:
        fields["liquibase_exec"] = str((directory or Path.cwd()) / program)
    else:
        found = shutil.which(program or "liquibase", path=environ.get("PATH", os.defpath))
        if found is not None:
            fields["liquibase_exec"] = str(Path(found).absolute())
        elif program is not None:
            fields["liquibase_exec"] = program
    if environ.get("JAVA_HOME"):
        fields["liquibase_env"] = {"JAVA_HOME": environ["JAVA_HOME"]}
    return fields
