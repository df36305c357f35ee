"""Root file systems of images with files that only look like PostgreSQL's: nothing in them runs."""

import platform
from pathlib import Path

from support.elf_files import GLIBC_LOADER, elf_file, write

MACHINES = {"x86_64": 62, "aarch64": 183}
HERE = MACHINES.get(platform.machine(), 62)


def add_server(
    root: Path,
    bin_dir: str = "/usr/lib/postgresql/17/bin",
    version: str = "17.2",
    *,
    machine: int = HERE,
    interpreter: str = GLIBC_LOADER,
    programs: tuple[str, ...] = ("postgres", "initdb", "psql"),
) -> Path:
    """Add programs, of which the server names its version and its directories."""
    home = bin_dir.removesuffix("/bin")
    directories = (f"{home}/lib", f"{home}/share")
    for name in programs:
        strings = (f"{name} (PostgreSQL) {version} (Debian)\n", *directories, "/usr/share/zoneinfo")
        content = elf_file(interpreter=interpreter, machine=machine, strings=strings)
        write(inside(root, f"{bin_dir}/{name}"), content)
    write(inside(root, f"{home}/lib/dict_snowball.so"), elf_file(machine=machine))
    write(inside(root, f"{home}/share/postgres.bki"), b"")
    return inside(root, bin_dir)


def add_loader(root: Path) -> None:
    """Add what looks like the loader and the C library of glibc."""
    loader = elf_file(strings=("/etc/ld.so.cache",), machine=HERE)
    write(inside(root, GLIBC_LOADER), loader)
    libc = elf_file(strings=("/usr/lib/locale", "/usr/lib/locale/locale-archive"), machine=HERE)
    write(inside(root, "/lib64/libc.so.6"), libc)


def inside(root: Path, path: str) -> Path:
    """Return where a path of the image is on this machine."""
    return root / path.lstrip("/")
