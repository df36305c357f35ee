"""Images with PostgreSQL for tests: a small one of this machine's files, and PostGIS from Debian.

The small one holds the PostgreSQL of the Python package with the machine's C library, and is made
in a second. The large one has the layout, the environment and the habits of the official images:
directories under ``/usr`` linked from ``/``, libraries behind absolute links, a locale archive,
extensions that want to be preloaded, and scripts for the entry point.
"""

import os
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from support import debian_packages
from support.images import Compression, Image, Layer, LayerWriter, settings

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "unknown")
PASSWD = b"root:x:0:0:root:/root:/bin/bash\npostgres:x:999:999::/var/lib/postgresql:/bin/bash\n"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT = "docker-entrypoint-initdb.d"
EXTENSIONS = ("postgis-3", "postgis-3-scripts", "partman", "cron", "hypopg")
POSTGIS = ("postgis", "postgis_raster", "postgis_sfcgal", "postgis_topology")
LANGUAGES = ("plpython3", "plperl")
PRELOADS = ("pg_stat_statements", "pg_cron")

_MERGED = re.compile(r"^(bin|sbin|lib|lib64)(?=/|$)")
_LEFT_OUT = re.compile(
    r"usr/share/(doc|man|info|locale|lintian|fonts|bug|i18n|common-licenses)(/|$)"
    r"|usr/share/postgresql/\d+/man(/|$)|usr/lib/postgresql/\d+/lib/bitcode(/|$)"
    r"|usr/lib/python3[\d.]*/(test|ensurepip|idlelib)(/|$)"
)
_LDD_LINE = re.compile(r"^\s*(?:\S+ => )?(?P<path>/\S+) \(0x", re.MULTILINE)


def small_layers(home: Path, directory: Path) -> tuple[Layer, Layer]:
    """Return a layer with what this machine's programs are linked to, and one with PostgreSQL.

    ``home`` is an installation with ``bin``, ``lib`` and ``share``, which finds itself wherever it
    is.
    """
    linked = subprocess.run(
        ["ldd", home / "bin/postgres", home / "bin/psql"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # Libraries beside the installation are named by a way through it.
    paths = {Path(os.path.normpath(each["path"])) for each in _LDD_LINE.finditer(linked)}
    with LayerWriter(directory / "base", "gzip") as base:
        base.file("etc/passwd", PASSWD)
        for path in sorted(paths):
            if path.is_relative_to(home):
                continue
            # The loader keeps the place that the programs name; it may be a link of this machine.
            place = path if "ld-" in path.name else Path("/usr/lib", path.name)
            base.file(str(place).lstrip("/"), path, 0o755)
    with LayerWriter(directory / "postgres", "plain") as programs:
        for part in ("bin", "lib", "share"):
            programs.tree(home / part, f"usr/local/{part}")
    return base.layer, programs.layer


def small_image(layers: Iterable[Layer], *env: str) -> Image:
    """Return an image of the small layers and perhaps more."""
    config = settings(f"PATH={PATH}", "PGDATA=/var/lib/postgresql/data", *env)
    return Image(tuple(layers), config, architecture=ARCHITECTURE)


def postgis_image(directory: Path) -> Image:
    """Return the image with PostGIS; skip the test where Debian's packages can't be had."""
    major = _major()
    wanted = [f"postgresql-{major}", *(f"postgresql-{major}-{each}" for each in EXTENSIONS)]
    wanted += [f"postgresql-{each}-{major}" for each in LANGUAGES]
    packages = debian_packages.closure(*wanted, "locales", "tzdata")
    of_extensions = [each for each in packages if each.name.startswith(f"postgresql-{major}-")]
    of_system = [each for each in packages if each not in of_extensions]
    return Image(
        (
            _layer(directory / "system", "gzip", _system, of_system),
            _layer(directory / "extensions", "plain", _extensions, of_extensions, major),
            _layer(directory / "site", _zstd_or_gzip(), _site, major),
        ),
        settings(
            f"PATH={PATH}:/usr/lib/postgresql/{major}/bin",
            "LANG=en_US.utf8",
            f"PG_MAJOR={major}",
            "PGDATA=/var/lib/postgresql/data",
            Entrypoint=["docker-entrypoint.sh"],
            Cmd=["postgres"],
            ExposedPorts={"5432/tcp": {}},
            Volumes={"/var/lib/postgresql/data": {}},
        ),
        architecture=ARCHITECTURE,
    )


def _major() -> int:
    """Return the version of PostgreSQL that this Debian or Ubuntu has."""
    if shutil.which("apt-cache") is None:
        pytest.skip("Debian packages are needed, and there is no apt-cache")
    told = subprocess.run(
        ["apt-cache", "depends", "postgresql"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"postgresql-(\d+)", told)
    if found is None:
        pytest.skip("apt has no list of packages: apt-get update")
    return int(found[1])


def _layer(
    path: Path, compression: Compression, fill: Callable[..., None], *arguments: object
) -> Layer:
    with LayerWriter(path, compression) as tree:
        fill(tree, *arguments)
    return tree.layer


def _zstd_or_gzip() -> Compression:
    return "gzip" if shutil.which("zstd") is None else "zstd"


def _system(tree: LayerWriter, packages: Iterable[Path]) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        tree.directory(f"usr/{name}")
        tree.symlink(name, f"usr/{name}")
    _unpack(tree, packages)
    tree.file("etc/passwd", PASSWD)
    machine = f"{platform.machine()}-linux-gnu"
    for name in ("blas", "lapack"):
        library = f"lib{name}.so.3"
        _alternative(tree, f"usr/lib/{machine}/{library}", f"usr/lib/{machine}/{name}/{library}")
    tree.symlink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
    tree.file("usr/share/leftover/of-the-system", b"gone in the image\n")
    (locales,) = (each for each in packages if each.name.startswith("locales_"))
    _add_locale(tree, locales)


def _extensions(tree: LayerWriter, packages: Iterable[Path], major: int) -> None:
    _unpack(tree, packages)
    directory = f"usr/share/postgresql/{major}/extension"
    for name in POSTGIS:
        _alternative(tree, f"{directory}/{name}.control", f"{directory}/{name}-3.control")
    tree.whiteout("usr/share/leftover")


def _alternative(tree: LayerWriter, name: str, target: str) -> None:
    """Link as ``update-alternatives`` does when a package is installed: absolute, in two steps."""
    step = f"etc/alternatives/{name.replace('/', '-')}"
    tree.symlink(name, f"/{step}")
    tree.symlink(step, f"/{target}")


def _unpack(tree: LayerWriter, packages: Iterable[Path]) -> None:
    """Add the files of packages, in the merged ``/usr`` that their installation would make."""
    for package in packages:
        command = ["dpkg-deb", "--fsys-tarfile", package]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as process,
            tarfile.open(fileobj=process.stdout, mode="r|") as archive,
        ):
            for entry in archive:
                _add(tree, archive, entry)


def _add(tree: LayerWriter, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
    name = _merged(entry.name)
    if not name or _LEFT_OUT.match(name) or (entry.isdir() and name.startswith("usr/lib64")):
        return
    tree.entry(
        name,
        source=archive.extractfile(entry) if entry.isfile() else None,
        type=entry.type,
        mode=entry.mode,
        size=entry.size,
        linkname=_merged(entry.linkname) if entry.islnk() else entry.linkname,
    )


def _merged(name: str) -> str:
    return _MERGED.sub(r"usr/\1", name.removeprefix("./").rstrip("/"), count=1)


def _add_locale(tree: LayerWriter, package: Path) -> None:
    """Add the locale archive that ``localedef`` makes of the sources in a package."""
    place = tree.path.parent / "locales"
    subprocess.run(["dpkg-deb", "-x", package, place], check=True)
    (place / "usr/lib/locale").mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["localedef", "-i", "en_US", "-f", "UTF-8", f"--prefix={place}", "en_US.UTF-8"],
        env={"PATH": os.environ["PATH"], "I18NPATH": str(place / "usr/share/i18n")},
        check=True,
    )
    tree.file("usr/lib/locale/locale-archive", place / "usr/lib/locale/locale-archive")
    shutil.rmtree(place)


def _site(tree: LayerWriter, major: int) -> None:
    """Add what the official images add to the packages, and the scripts of their users."""
    sample = f"usr/share/postgresql/{major}/postgresql.conf.sample"
    tree.symlink(sample, "../postgresql.conf.sample")
    preloads = ",".join(PRELOADS)
    tree.file(
        "usr/share/postgresql/postgresql.conf.sample",
        f"listen_addresses = '*'\nshared_preload_libraries = '{preloads}'\n".encode(),
    )
    tree.file("usr/local/bin/docker-entrypoint.sh", b"#!/bin/sh\nexec postgres\n", 0o755)
    tree.directory("var/lib/postgresql/data", 0o1777)
    for name, (text, mode) in _SCRIPTS.items():
        tree.file(f"{INIT}/{name}", text.encode(), mode)


# In the manner of the entry point: a script that is not executable is read by its shell, and
# finds the array `psql` there.
_SCRIPTS = {
    "10_template.sh": (
        """\
#!/bin/bash
set -e
export PGUSER="$POSTGRES_USER"
"${psql[@]}" <<-'EOSQL'
	CREATE DATABASE template_site IS_TEMPLATE true;
EOSQL
for database in template_site "$POSTGRES_DB"; do
	"${psql[@]}" --dbname="$database" <<-'EOSQL'
		CREATE EXTENSION IF NOT EXISTS postgis;
	EOSQL
done
""",
        0o644,
    ),
    "20_site.sql": (
        "CREATE TABLE site (script text, place geometry(Point, 4326));\n"
        "INSERT INTO site VALUES ('20_site.sql', ST_SetSRID(ST_MakePoint(18.6, 54.4), 4326));\n",
        0o644,
    ),
    "30_site.sh": (
        """\
#!/bin/sh
set -e
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<EOF
INSERT INTO site (script) VALUES ('30_site.sh');
EOF
""",
        0o755,
    ),
}
