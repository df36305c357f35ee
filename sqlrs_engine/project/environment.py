"""What a client's environment adds to a request: the programs that its stages run."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def of_liquibase(environ: Mapping[str, str], program: Path | str | None = None) -> Json:
    """Return the request's fields for the client's Liquibase and Java.

    ``program`` is a path, or a name on the PATH. Without one the engine finds Liquibase elsewhere
    if the PATH does not have it.
    """
    fields: Json = {}
    found = shutil.which(program or "liquibase", path=environ.get("PATH", os.defpath))
    if found is not None or program is not None:
        fields["liquibase_exec"] = str(Path(found).absolute()) if found else str(program)
    if environ.get("JAVA_HOME"):
        fields["liquibase_env"] = {"JAVA_HOME": environ["JAVA_HOME"]}
    return fields
