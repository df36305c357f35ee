"""Root file systems: the entries of layers, applied to a tree in memory, then written.

Nothing is written before the tree is complete, and then only into directories that were just made:
no name and no link of an archive is ever followed on the way. Paths mean what they mean to a
process whose root directory is the tree's: ``..`` stays at the root, and an absolute link starts
there. Symbolic links are written so that they mean the same from outside, wherever the tree is.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlrs_engine.errors import ImageCorrupt

from .layers import Entry, Kind, Layer

_MODE = 0o755
_MAX_LINKS = 40
_MAX_DEPTH = 100
_MAX_CREATED_DIRECTORIES = 1_000_000
# A large image takes some millions; links that lead through links, any number.
_MAX_STEPS = 100_000_000
# What file systems without hard links, or with too many on a file, say.
_NO_LINK = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
)


@dataclass(slots=True, eq=False)
class File:
    """A file; ``content`` is the path of what a layer has. Several names may have the same one."""

    content: str


@dataclass(slots=True, eq=False)
class Symlink:
    """A symbolic link."""

    target: str


@dataclass(slots=True, eq=False)
class Directory:
    """A directory and what is in it."""

    parent: "Directory | None" = None
    nodes: "dict[str, Node]" = field(default_factory=dict)


Node = File | Symlink | Directory


class RootFiles:
    """A tree to which layers are applied, the lowest first."""

    def __init__(self) -> None:
        self.root = Directory()
        self._made = 0
        self._steps = 0

    def apply(self, layer: Layer) -> None:
        """Apply a layer. Raises ImageCorrupt when its entries do not fit what is there."""
        # Whiteouts hide what lower layers have, wherever in the archive they are.
        for entry in layer.entries:
            if entry.kind in (Kind.WHITEOUT, Kind.OPAQUE):
                self._hide(entry)
        for entry in layer.entries:
            if entry.kind not in (Kind.WHITEOUT, Kind.OPAQUE):
                self._add(entry, layer)

    def _files(self) -> Iterator[File]:
        """Yield every file once, however many names it has."""
        seen: set[int] = set()
        for _, directory in self._directories():
            for node in directory.nodes.values():
                if isinstance(node, File) and id(node) not in seen:
                    seen.add(id(node))
                    yield node

    def size_bytes(self) -> int:
        """Return the size of all files together. Raises OSError."""
        return sum(os.stat(each.content).st_size for each in self._files())  # noqa: PTH116

    def write(self, target: Path) -> None:
        """Make the directory ``target`` with all that is in the tree.

        Files are hard links to the contents of the layers where the file system has those, else
        copies. Raises ImageCorrupt when a path is too long for the system, OSError.
        """
        try:
            for parts, directory in self._directories():
                place = os.path.join(target, *parts)  # noqa: PTH118 - Path takes half of the time
                os.mkdir(place)  # noqa: PTH102
                os.chmod(place, _MODE)  # noqa: PTH101 - whatever the umask
                for name, node in directory.nodes.items():
                    if isinstance(node, File):
                        _link(node.content, f"{place}/{name}")
                    elif isinstance(node, Symlink):
                        leads_to = self._portable(node, directory, parts)
                        os.symlink(leads_to, f"{place}/{name}")  # noqa: PTH211
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
                raise _misfit(str(error)) from error
            raise

    def _hide(self, entry: Entry) -> None:
        *parents, name = entry.path.split("/") if entry.path else [""]
        path = entry.path.split("/") if entry.kind is Kind.OPAQUE else parents
        found = self._find([part for part in path if part])
        if not isinstance(found, Directory):
            return
        hidden = [*found.nodes] if entry.kind is Kind.OPAQUE else [name]
        for each in hidden:
            # Nothing of this layer is there yet, so all of it is of lower ones.
            found.nodes.pop(each, None)

    def _add(self, entry: Entry, layer: Layer) -> None:
        *parents, name = entry.path.split("/")
        directory = self._directory(parents, entry)
        there = directory.nodes.get(name)
        if entry.kind is Kind.DIRECTORY:
            if not isinstance(there, Directory):
                directory.nodes[name] = self._new_directory(directory, entry)
        elif entry.kind is Kind.FILE:
            directory.nodes[name] = File(layer.content(entry.content))
        elif entry.kind is Kind.SYMLINK:
            directory.nodes[name] = Symlink(entry.target)
        else:
            directory.nodes[name] = self._linked(entry)

    def _linked(self, entry: Entry) -> File | Symlink:
        *parents, name = entry.target.split("/")
        directory = self._find(parents)
        node = directory.nodes.get(name) if isinstance(directory, Directory) else None
        if node is None or isinstance(node, Directory):
            raise _misfit(f"the hard link {entry.path} to {entry.target}, which is not a file")
        return node

    def _directory(self, parts: Sequence[str], entry: Entry) -> Directory:
        """Return the directory at a path, made where it is missing."""
        walk = self._walked(parts)
        found = walk.directory
        for part in walk.missing:
            there = found.nodes.get(part)
            if there is not None:
                raise _misfit(f"{entry.path} is below a file or a link to nowhere")
            made = self._new_directory(found, entry)
            found.nodes[part] = found = made
        return found

    def _new_directory(self, parent: Directory, entry: Entry) -> Directory:
        self._made += 1
        depth, above = 1, parent.parent
        while above is not None:
            depth, above = depth + 1, above.parent
        if depth > _MAX_DEPTH or self._made > _MAX_CREATED_DIRECTORIES:
            raise _misfit(f"{entry.path} is too deep, or there are too many directories")
        return Directory(parent)

    def _find(self, parts: Sequence[str]) -> Directory | None:
        """Return the directory at a path, None when there is none."""
        walk = self._walked(parts)
        return None if walk.missing else walk.directory

    def _walked(self, parts: Sequence[str]) -> "_Walk":
        """Return a walk from the root."""
        walk = _Walk(self.root)
        for part in parts:
            walk.step(part)
        self._count(walk)
        return walk

    def _count(self, walk: "_Walk") -> None:
        """Raise ImageCorrupt when all walks together have taken too long."""
        self._steps += walk.steps
        if self._steps > _MAX_STEPS:
            raise _misfit("too many links lead through other links")

    def _directories(self) -> Iterator[tuple[tuple[str, ...], Directory]]:
        """Yield all directories with their paths, each after its parent."""
        waiting: list[tuple[tuple[str, ...], Directory]] = [((), self.root)]
        while waiting:
            parts, directory = waiting.pop()
            yield parts, directory
            waiting += [
                ((*parts, name), node)
                for name, node in directory.nodes.items()
                if isinstance(node, Directory)
            ]

    def _portable(self, link: Symlink, directory: Directory, parts: Sequence[str]) -> str:
        """Return a target that means outside what the link's own means inside."""
        up = "../" * len(parts)
        walk = _Walk(self.root, directory, parts)
        if link.target.startswith("/"):
            walk.go_to_root()
        *steps, last = [part for part in link.target.split("/") if part] or ["."]
        for step in steps:
            walk.step(step)
        self._count(walk)
        if last in (".", ".."):
            walk.step(last)
            last = ""
        if walk.strayed:
            return (up + "/".join(filter(None, (*walk.path, last)))) or "."
        if link.target.startswith("/"):
            return (up + link.target.lstrip("/")) or "."
        return link.target


class _Walk:
    """A walk through a tree: ``directory``, and below it the parts that are ``missing``.

    It has ``strayed`` when it went up from the root, or from where there is nothing.
    """

    def __init__(
        self, root: Directory, start: Directory | None = None, path: Sequence[str] = ()
    ) -> None:
        """``path`` is that of ``start``."""
        self._root = root
        self._links = 0
        self._path = [*path]
        self.directory = start or root
        self.missing: list[str] = []
        self.steps = 0
        self.strayed = False

    @property
    def path(self) -> list[str]:
        """The path from the root, without links."""
        return [*self._path, *self.missing]

    def go_to_root(self) -> None:
        """Start anew at the root."""
        self.directory, self._path, self.missing = self._root, [], []

    def step(self, part: str) -> None:
        """Go on by one part; symbolic links are followed."""
        if part in ("", "."):
            return
        if part == "..":
            self._up()
            return
        node = None if self.missing else self.directory.nodes.get(part)
        if isinstance(node, Directory):
            self.directory = node
            self._path.append(part)
        elif isinstance(node, Symlink) and self._links < _MAX_LINKS:
            self._links += 1
            self.steps += len(node.target) // 2
            if node.target.startswith("/"):
                self.go_to_root()
            for each in node.target.split("/"):
                self.step(each)
        else:
            self.missing.append(part)

    def _up(self) -> None:
        if self.missing:
            # Relocation adds files: what is not there now may be a link to elsewhere then.
            self.missing.pop()
            self.strayed = True
        elif self.directory.parent is not None:
            self.directory = self.directory.parent
            self._path.pop()
        else:
            self.strayed = True


def _link(content: str, name: str) -> None:
    try:
        os.link(content, name)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copy2(content, name)


def _misfit(reason: str) -> ImageCorrupt:
    return ImageCorrupt(
        "the layers of the image do not fit together: pull it again, or ask its publisher to "
        "repair it",
        reason,
    )
