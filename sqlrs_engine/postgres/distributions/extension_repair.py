"""Downloaded extensions that cannot be created: mended, or hidden so that errors are clear.

Files of hidden extensions are moved to ``share/hidden-extensions``, each with the reason beside
it. That directory is made by the first check.
"""

import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from .additions import UUID_OSSP
from .debian_packages import fetch_library
from .distribution import Distribution
from .libraries import how_to_get, missing_libraries

Check = Callable[[Distribution, Collection[str]], Mapping[str, str]]
"""Returns those of some extensions that cannot be created, with PostgreSQL's error."""

Fetch = Callable[[str, Path, Callable[[str], None]], bool]

_EXTENSIONS = "share/extension"
_HIDDEN = "share/hidden-extensions"
_REASON = ".reason"
_MODULE = re.compile(r"^\s*module_pathname\s*=\s*'\$libdir/([^']+)'", re.MULTILINE)
# Where the libraries of these builds look for others; there is nothing in that directory.
_BUILT_IN_PATH = b"\0/opt/postgresql/lib\0"
_OWN_DIRECTORY = b"\0$ORIGIN\0".ljust(len(_BUILT_IN_PATH), b"\0")


def hidden(home: Path) -> dict[str, str]:
    """Return the hidden extensions of a download with the reasons."""
    files = (home / _HIDDEN).glob(f"*{_REASON}")
    return {each.stem: each.read_text(encoding="utf-8") for each in sorted(files)}


def was_checked(home: Path) -> bool:
    """Return whether the extensions of a download were checked and all of them work."""
    return (home / _HIDDEN).is_dir() and not hidden(home)


def repair(
    distribution: Distribution,
    check: Check,
    tell: Callable[[str], None],
    *,
    fetch: Fetch = fetch_library,
) -> None:
    """Check all extensions of a download; mend those that fail, and hide what cannot be mended."""
    home = distribution.root
    _restore(home)
    _let_find_each_other(home / "lib")
    names = [each.stem for each in sorted((home / _EXTENSIONS).glob("*.control"))]
    tell(f"checking {len(names)} extensions")
    failing = dict(check(distribution, names))
    mended = [_mend(home, name, tell, fetch) for name in failing]
    if any(mended):
        failing = dict(check(distribution, failing))
    for name, error in failing.items():
        _hide(home, name, _reason(home, name, error))
    if "uuid-ossp" in failing and _replace_uuid_ossp(distribution, check):
        tell(f"uuid-ossp is written in SQL, because {_forget_reason(home, 'uuid-ossp')}")
        del failing["uuid-ossp"]
    for name in failing:
        tell(f"note: the extension {name} is not available: {hidden(home)[name]}")


def _restore(home: Path) -> None:
    """Undo what an earlier check has hidden."""
    (home / _HIDDEN).mkdir(exist_ok=True)
    for file in (home / _HIDDEN).iterdir():
        if file.suffix == _REASON:
            file.unlink()
        else:
            file.replace(home / _EXTENSIONS / file.name)


def _hide(home: Path, name: str, reason: str) -> None:
    for file in _files(home, name):
        file.replace(home / _HIDDEN / file.name)
    (home / _HIDDEN / f"{name}{_REASON}").write_text(reason, encoding="utf-8")


def _forget_reason(home: Path, name: str) -> str:
    file = home / _HIDDEN / f"{name}{_REASON}"
    reason = file.read_text(encoding="utf-8")
    file.unlink()
    return reason


def _replace_uuid_ossp(distribution: Distribution, check: Check) -> bool:
    """Put the extension in SQL in the place of the hidden one; return whether that works."""
    own = [distribution.root / _EXTENSIONS / file.name for file in UUID_OSSP.iterdir()]
    for file in own:
        shutil.copyfile(UUID_OSSP / file.name, file)
    works = not check(distribution, ["uuid-ossp"])
    if not works:
        for file in own:
            file.unlink()
    return works


def _files(home: Path, name: str) -> Iterator[Path]:
    for pattern in (f"{name}.control", f"{name}--*.sql"):
        yield from list((home / _EXTENSIONS).glob(pattern))


def _mend(home: Path, name: str, tell: Callable[[str], None], fetch: Fetch) -> bool:
    """Fetch the libraries that an extension lacks; return whether one was found."""
    module = _module(home, name)
    missing = missing_libraries([module]) if module else []
    fetched = [fetch(each, home / "lib", tell) for each in missing]
    return any(fetched)


def _let_find_each_other(libraries: Path) -> None:
    """Let libraries look for others in their own directory rather than in the machine's first.

    Of ``libpq``, for example, the machine may have an older version.
    """
    for file in libraries.glob("*.so"):
        content = file.read_bytes()
        if not file.is_symlink() and content.count(_BUILT_IN_PATH) == 1:
            new = file.with_name(f".{file.name}")
            new.write_bytes(content.replace(_BUILT_IN_PATH, _OWN_DIRECTORY))
            shutil.copymode(file, new)
            new.replace(file)


def _module(home: Path, name: str) -> Path | None:
    """Return the library of an extension, None when it has none."""
    control = home / _EXTENSIONS / f"{name}.control"
    named = _MODULE.search(control.read_text(encoding="utf-8", errors="replace"))
    library = home / "lib" / f"{named[1] if named else name}.so"
    return library if library.is_file() else None


def _reason(home: Path, name: str, error: str) -> str:
    """Return why an extension does not work, and what to install."""
    module = _module(home, name)
    missing = missing_libraries([module]) if module else []
    if not missing:
        return error
    advice = how_to_get(missing)
    return f"it needs {', '.join(missing)}" + (f" ({advice}, then install again)" if advice else "")
