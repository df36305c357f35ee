"""The interface of the state filesystem for other packages; ``StateFs`` implements it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class StateFiles(Protocol):
    """The containers of one store; safe to use from any thread.

    A full disk raises StorageFull; other failures of the filesystem raise OSError.
    """

    def base_dir(self, image_id: str, base_id: str) -> Path:
        """Return the path of the container of an empty cluster of an image."""

    def note_use(self, base: Path) -> None:
        """Note that an empty cluster is in use; one without use for long is deleted at a start."""

    def state_dir(self, image_id: str, state_id: str) -> Path:
        """Return the path of a state's container."""

    def state_dirs(self) -> Iterator[Path]:
        """Yield the containers of all states; their names are the states' ids."""

    def instance_dir(self, instance_id: str) -> Path:
        """Return the path of an instance's container."""

    def instance_dirs(self) -> Iterator[Path]:
        """Yield the entries of the instances' directory that have an instance id as name."""

    def new_workspace(self) -> Path:
        """Make a container without a data directory, which the next start sweeps away."""

    def clone(self, source: Path, target: Path) -> None:
        """Make a writable copy; ``target`` appears complete or not at all.

        Raises InvalidArgument when the cluster has a tablespace outside its data directory,
        Conflict when the target exists.
        """

    def clone_to_workspace(self, source: Path) -> Path:
        """Make a writable copy in a container that the next start sweeps away.

        Raises InvalidArgument when the cluster has a tablespace outside its data directory.
        """

    def publish(self, workspace: Path, target: Path) -> bool:
        """Make a workspace a state, immutable from then on.

        Discard the workspace and return False when the state exists. Raises InvalidArgument
        when the cluster has a tablespace outside its data directory.
        """

    def exchange(self, container: Path, workspace: Path) -> None:
        """Swap a container and a workspace in one step: a crash leaves one or the other."""

    def discard(self, path: Path) -> None:
        """Remove a container: move it to the trash at once, delete it in the background.

        Do nothing when it is gone. Raises Conflict when it is not a container of this store,
        or when something is mounted on it or in it.
        """

    def wait_idle(self, seconds: float) -> bool:
        """Wait until all discarded containers are deleted; return False on timeout."""

    def await_space(self, seconds: float) -> bool:
        """Wait until the disk has regained the discarded space; return False on timeout."""

    def set_aside(self, container: Path) -> Path:
        """Move a container out of use without deleting it; return its new path."""

    def take_back(self, container: Path) -> bool:
        """Move a container that was set aside back to its own path; return whether it was."""

    def set_aside_dirs(self) -> Iterator[Path]:
        """Yield the former paths of the containers that were set aside."""

    def is_whole(self, container: Path) -> bool:
        """Return whether a container has the files that every cluster has."""

    def usage(self, path: Path) -> int:
        """Return the apparent size of a container in bytes."""

    def sync(self) -> None:
        """Wait until everything written to the store has reached the disk."""
