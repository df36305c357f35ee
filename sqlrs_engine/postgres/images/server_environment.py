"""Variables that show the server's extensions the way to their data in an image.

Only the server gets them, as the programs that it starts (``COPY … PROGRAM``) inherit them.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from .root_tree import RootTree

_PYTHON_ROOTS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64")

# For each variable, the patterns of its directory or file, the best first.
_PLACES: Mapping[str, tuple[str, ...]] = {
    "PROJ_DATA": ("/usr/share/proj", "/usr/local/share/proj", "/opt/*/*/share/proj"),
    "GDAL_DATA": ("/usr/share/gdal", "/usr/local/share/gdal", "/opt/*/*/share/gdal"),
    "GDAL_DRIVER_PATH": ("/usr/lib/*/gdalplugins", "/usr/lib*/gdalplugins"),
    "OPENSSL_CONF": (
        "/usr/lib/ssl/openssl.cnf",
        "/etc/ssl/openssl.cnf",
        "/etc/pki/tls/openssl.cnf",
    ),
    "OPENSSL_MODULES": ("/usr/lib/*/ossl-modules", "/usr/lib*/ossl-modules"),
}
_TCL = ("/usr/share/tcltk/tcl8*", "/usr/lib*/tcl8*", "/usr/share/tcl8*")
_PYTHON = re.compile(r"libpython(3\.\d+)")
_PERL_DIRECTORIES = (
    "/etc/perl",
    "/usr/local/lib/*/perl/5*",
    "/usr/local/share/perl/5*",
    "/usr/local/lib/perl5/site_perl",
    "/usr/lib/*/perl5/5*",
    "/usr/share/perl5",
    "/usr/share/perl5/vendor_perl",
    "/usr/share/perl5/core_perl",
    "/usr/lib*/perl5",
    "/usr/lib*/perl5/vendor_perl",
    "/usr/lib/perl5/core_perl",
    "/usr/lib/*/perl-base",
    "/usr/lib/*/perl/5.[0-9]*",
    "/usr/share/perl/5.[0-9]*",
)

Places = dict[str, tuple[PurePosixPath, ...]]


def server_environment(tree: RootTree, modules: Iterable[str], libraries: Iterable[str]) -> Places:
    """Return the variables and their paths in the image.

    ``modules`` are the libraries that the server loads on demand, ``libraries`` all others, by
    their names without directories.
    """
    names = set(modules)
    found: Places = {
        name: (place,)
        for name, patterns in _PLACES.items()
        if (place := _first(tree, patterns)) is not None
    }
    if "PROJ_DATA" in found:
        found["PROJ_LIB"] = found["PROJ_DATA"]  # its name before PROJ 9.1
    if "plpython3.so" in names and (home := _python_home(tree, libraries)) is not None:
        found["PYTHONHOME"] = (home,)
    if "plperl.so" in names and (directories := _perl_directories(tree)):
        found["PERL5LIB"] = directories
    if "pltcl.so" in names and (library := _first(tree, _TCL, "init.tcl")) is not None:
        found["TCL_LIBRARY"] = (library,)
    return found


def _first(
    tree: RootTree, patterns: Iterable[str], content: str | None = None
) -> PurePosixPath | None:
    """Return the first place that there is, and that has a file named ``content``."""
    for pattern in patterns:
        for path in tree.glob(pattern):
            if content is None and tree.resolve(path) is not None:
                return path
            if content is not None and tree.file(path / content) is not None:
                return path
    return None


def _perl_directories(tree: RootTree) -> tuple[PurePosixPath, ...]:
    places = (each for pattern in _PERL_DIRECTORIES for each in tree.glob(pattern))
    return tuple(dict.fromkeys(each for each in places if tree.directory(each)))


def _python_home(tree: RootTree, libraries: Iterable[str]) -> PurePosixPath | None:
    """Return the prefix below which the Python that the server embeds has its own modules."""
    for version in sorted({match[1] for each in libraries if (match := _PYTHON.match(each))}):
        for root in _PYTHON_ROOTS:
            if tree.file(f"{root}/python{version}/os.py") is not None:
                return PurePosixPath(root).parent
    return None
