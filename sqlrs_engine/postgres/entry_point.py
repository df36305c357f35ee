"""The scripts of ``/docker-entrypoint-initdb.d``, which an image runs in a new cluster.

The entry points of PostgreSQL's official images and of many others run them, with a shell function
``docker_process_sql`` and an array ``psql`` that scripts may use. Here, each script has a shell of
its own: it runs as the servers' user, with the image's PostgreSQL programs and this machine's other
ones. So a script that wants more of its image fails. This fails nothing else: what scripts do
beyond SQL, such as tuning a server for a whole machine, is not needed here. It must be reported.
"""

from collections import deque
from pathlib import Path

from sqlrs_engine.errors import ClusterFailed
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Lines, OnLine
from sqlrs_engine.processes.program import Program

from .cluster import Cluster

_TAIL_LINES = 3
_UNSAFE = frozenset(
    {
        *("BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "PGHOSTADDR", "PGSERVICE", "PGPASSWORD"),
        # What glibc hides from programs with more rights than their user (unsecvars.h): root starts
        # the program that switches to the servers' user, and it must read no file of the image.
        *("GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH"),
        *("MALLOC_TRACE", "NIS_PATH", "NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TMPDIR"),
        *("TZDIR", "MUSL_LOCPATH"),
    }
)

_RUN = r"""
docker_process_sql() { psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc "$@"; }
psql=(docker_process_sql)
set -Eeo pipefail
script=$1
shift
case $script in
    *.sh) if [ -x "$script" ]; then "$script"; else . "$script"; fi ;;
    *.sql) docker_process_sql -f "$script" ;;
    *.sql.gz) gzip -dc "$script" | docker_process_sql ;;
    *.sql.xz) xz -dc "$script" | docker_process_sql ;;
    *.sql.zst) zstd -dc "$script" | docker_process_sql ;;
esac
"""


def run_scripts(cluster: Cluster, cancellation: Cancellation, on_line: OnLine) -> list[str]:
    """Run the scripts of the cluster's image on its server, which runs without a port.

    ``on_line`` gets each line that they print, after the script's name. Returns a line for each
    script that failed. Raises what ``cancellation.check`` does.
    """
    entry_point = cluster.distribution.entry_point
    failures = []
    for script in entry_point.scripts if entry_point else ():
        failure = _run(cluster, script, cancellation, on_line)
        if failure is not None:
            failures.append(f"{script.name} of the image failed: {failure}")
    return failures


def _run(cluster: Cluster, script: Path, cancellation: Cancellation, on_line: OnLine) -> str | None:
    """Run a script; return why it failed, None when it did not."""
    tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def on_output(line: str) -> None:
        tail.append(line)
        on_line(f"{script.name}: {line}")

    entry_point = cluster.distribution.entry_point
    environment = dict(entry_point.environment) if entry_point else {}
    try:
        process = cluster.shell(
            _RUN, [str(script)], environment={k: v for k, v in environment.items() if _safe(k)}
        )
    except ClusterFailed as error:
        return str(error)
    code = Program(process).follow({"stdout": Lines(on_output)}, cancellation)
    cancellation.check()
    return " / ".join([f"it ended with code {code}", *tail]) if code else None


def _safe(variable: str) -> bool:
    """Return whether a variable of an image does not change which files and servers are used."""
    return not variable.startswith("LD_") and variable not in _UNSAFE
