"""The installation of Liquibase and Java on this machine.

Liquibase is searched in this order: the one that the request names, the one that the
configuration names, the PATH, the ``liquibase`` package that
``pip install sqlrs-engine[liquibase]`` installs.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlrs_engine.errors import LiquibaseUnavailable

MAIN_CLASS = "liquibase.integration.commandline.LiquibaseCommandLine"
SESSION_JAR = Path(__file__).with_name("session.jar")

_CORE = Path("internal", "lib", "liquibase-core.jar")
_JARS = ("liquibase*.jar", "lib/*.jar", "internal/lib/*.jar", "internal/extensions/*.jar")
# A small, short-lived JVM: the second compiler would never pay off.
_JVM_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_HOME = re.compile(r"^Liquibase Home: (.+)$", re.MULTILINE)
_VERSION_SECONDS = 30.0
_INSTALL_JAVA = "on Debian or Ubuntu: apt-get install default-jre-headless; or set JAVA_HOME"
_INSTALL_LIQUIBASE = (
    "pip install 'sqlrs-engine[liquibase]'; or install it from liquibase.com and put "
    "it on the PATH or into the configuration (liquibase.exec)"
)


@dataclass(frozen=True, slots=True)
class Installation:
    """A Liquibase, ``home`` being the directory with its jars, and the Java it runs on."""

    java: Path
    home: Path

    @property
    def identity(self) -> list[str]:
        """The files' paths, sizes and times: they differ when another version replaces it."""
        known = [str(self.java.resolve())]
        for jar in self._jars():
            found = Path(jar).stat()
            known += [jar, str(found.st_size), str(found.st_mtime_ns)]
        return known

    @property
    def environment(self) -> dict[str, str]:
        """The variables that Liquibase needs."""
        return {"LIQUIBASE_HOME": str(self.home)}

    def session(self) -> list[str]:
        """Return the start of the command line of a session."""
        return self._command(["-Dsqlrs.session=true"], [str(SESSION_JAR), *self._jars()])

    def plain(self) -> list[str]:
        """Return the start of the command line of Liquibase by itself."""
        return self._command([], self._jars())

    def _command(self, options: Sequence[str], jars: Sequence[str]) -> list[str]:
        classpath = os.pathsep.join(jars)
        return [str(self.java), *_JVM_OPTIONS, *options, "-cp", classpath, MAIN_CLASS]

    def _jars(self) -> list[str]:
        # Sorted: the order decides which of two classes of the same name is loaded.
        return [str(jar) for pattern in _JARS for jar in sorted(self.home.glob(pattern))]


def find(given: str | None, configured: str | None, environment: Mapping[str, str]) -> Installation:
    """Return the Liquibase to use: the one ``given`` by the request, ``configured``, or found.

    Of ``environment``, the request's over the engine's, PATH, JAVA_HOME and LIQUIBASE_HOME count.
    Raises LiquibaseUnavailable, which says what to install.
    """
    launcher = _launcher(given or configured, environment)
    home = _home(launcher, environment)
    return Installation(find_java(environment, home), home)


def find_java(environment: Mapping[str, str], home: Path | None = None) -> Path:
    """Return the Java to use: that of JAVA_HOME, of the Liquibase itself, or of the PATH.

    Raises LiquibaseUnavailable.
    """
    java_home = environment.get("JAVA_HOME")
    if java_home:
        java = Path(java_home, "bin", "java")
        if not os.access(java, os.X_OK):
            raise LiquibaseUnavailable(
                "JAVA_HOME has no Java", f"{java} does not exist: correct JAVA_HOME, or unset it"
            )
        return java
    if home is not None and os.access(home / "jre" / "bin" / "java", os.X_OK):
        return home / "jre" / "bin" / "java"
    found = shutil.which("java", path=environment.get("PATH", os.defpath))
    if found is None:
        raise LiquibaseUnavailable("Liquibase needs Java, which is not installed", _INSTALL_JAVA)
    return Path(found)


def _launcher(named: str | None, environment: Mapping[str, str]) -> Path:
    if named and os.sep in named:
        path = Path(named)
        if path.is_dir():
            path = path / "liquibase"
        if not path.is_absolute() or not path.is_file():
            raise LiquibaseUnavailable(
                "Liquibase not found", f"{named}: give the absolute path of its program"
            )
        return path
    found = shutil.which(named or "liquibase", path=environment.get("PATH", os.defpath))
    if found is not None:
        return Path(found)
    if named and named != "liquibase":
        raise LiquibaseUnavailable(
            "Liquibase not found",
            f"{named} is not on the PATH: give the absolute path of its program",
        )
    packaged = _packaged()
    if packaged is None:
        raise LiquibaseUnavailable("Liquibase is not installed", _INSTALL_LIQUIBASE)
    return packaged


def _packaged() -> Path | None:
    """Return the launcher of the ``liquibase`` package, if it is installed."""
    spec = importlib.util.find_spec("liquibase")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if Path(place, "bin", _CORE).is_file():
            return Path(place, "bin", "liquibase")
    return None


def _home(launcher: Path, environment: Mapping[str, str]) -> Path:
    """Return the directory of Liquibase's jars: near its launcher, or as the launcher reports."""
    given = environment.get("LIQUIBASE_HOME")
    beside = launcher.resolve().parent
    candidates = [Path(given)] if given else [beside, beside.parent, beside.parent / "libexec"]
    for place in candidates:
        if (place / _CORE).is_file():
            return place
    printed = None if given else _printed_home(launcher, tuple(sorted(environment.items())))
    if printed is None:
        raise LiquibaseUnavailable(
            "the jars of Liquibase are not beside its program",
            f"{_CORE} is not near {given or launcher}: set LIQUIBASE_HOME to its directory",
        )
    return printed


@cache
def _printed_home(launcher: Path, environment: tuple[tuple[str, str], ...]) -> Path | None:
    """Return the directory that a wrapper script prints with its version."""
    try:
        done = subprocess.run(
            [launcher, "--version"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _HOME.search(done.stdout + done.stderr)
    return Path(match[1]) if match and Path(match[1], _CORE).is_file() else None
