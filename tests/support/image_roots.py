"""Root file systems like those of images, made of this machine's own files."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.images.manifests import ImageConfig
from sqlrs_engine.postgres.images.platforms import this_platform

_LINKED = re.compile(r"^\s*(?:\S+ => )?(?P<path>/\S+) \(0x", re.MULTILINE)
_LOADER = re.compile(r"ld-(linux|musl)|ld64\.so|ld\.so")
_NOT_COPIED = shutil.ignore_patterns("include", "doc", "man", "pgxs", "bitcode", "pkgconfig")


def image_config(**env: str) -> ImageConfig:
    """Return the configuration of an image for this machine, with environment variables."""
    here = this_platform()
    return ImageConfig(os=here.os, architecture=here.architecture, variant=here.variant, env=env)


def make_root(root: Path, distribution: Distribution) -> Path:
    """Copy a PostgreSQL, and all that it is linked to, as it would be in an image.

    The programs of a system stay where they are; those of a Python package, which may be anywhere,
    come to ``/usr/local``. Returns the directory of the programs in the image.
    """
    home = distribution.root
    if distribution.origin == "system":
        places = [home, Path("/usr/share/postgresql", str(distribution.major))]
        for place in places:
            _copy(place, root / place.relative_to("/"))
        programs = distribution.bin_dir
    else:
        for part in ("bin", "lib", "share"):
            _copy(home / part, root / "usr/local" / part)
        programs = Path("/usr/local/bin")
    files = [*(home / "bin").iterdir(), *(home / "lib").glob("*.so")]
    for path in _linked(each for each in files if each.is_file()):
        # Programs name the loader by its path; all other libraries are looked for.
        place = path if _LOADER.match(path.name) else Path("/usr/lib", path.name)
        target = root / place.relative_to("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return programs


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=_NOT_COPIED, ignore_dangling_symlinks=True)


def _linked(files: Iterable[Path]) -> list[Path]:
    """Return what the machine's loader loads for programs and libraries."""
    answer = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False)
    return sorted({Path(each["path"]) for each in _LINKED.finditer(answer.stdout)})
