"""Prefetching: ask a client now for the files that later rounds would need.

What a script includes is known only once the engine has the script, so each include takes a
round for its hash and one for its content. Clients give up after eight rounds. Therefore a chain
of includes is fetched before it is followed; as a rule, its scripts are in one directory or in
neighbouring ones.

Nothing is prefetched while includes read no further scripts, and only files that a listing shows
are asked for: a client fails if a file does not exist.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlrs_engine.sources import Blobs, Manifest, Missing, paths

_LISTINGS = 40
_HASHES = 400
_BLOBS = 200


@dataclass(slots=True)
class Includes:
    """The keys of the included scripts that were found, by what is missing of them."""

    read: set[str] = field(default_factory=set)
    without_hash: set[str] = field(default_factory=set)
    without_content: set[str] = field(default_factory=set)


def prefetch(includes: Includes, manifest: Manifest, blobs: Blobs, missing: Missing) -> None:
    """Ask for the files beside the includes that are missing."""
    wanted = includes.without_hash | includes.without_content
    if not wanted:
        return
    directories = {paths.parent(key) for key in wanted}
    parents = {paths.parent(each) for each in directories if each != paths.ROOT}
    around = directories | parents
    beside = sorted({each for place in around for each in _subdirectories(manifest, place)})
    for place in [*sorted(around), *beside][:_LISTINGS]:
        if place not in manifest.directories:
            missing.listing_of(place)
    if not includes.read:
        return
    scripts = list(_scripts(manifest, sorted({*directories, *beside}), _endings(wanted)))
    for key in [key for key in scripts if key not in manifest.files][:_HASHES]:
        missing.hash_of(key)
    if includes.without_content:
        known = [key for key in scripts if key in manifest.files]
        absent = [key for key in known if not blobs.use(manifest.files[key])]
        for key in absent[:_BLOBS]:
            missing.blob(key, manifest.files[key])


def _subdirectories(manifest: Manifest, place: str) -> Iterator[str]:
    for name in manifest.subdirectories.get(place, ()):
        if not name.startswith(".") and name != "node_modules":
            yield _join(place, name)


def _scripts(manifest: Manifest, places: list[str], endings: set[str]) -> Iterator[str]:
    for place in places:
        names = manifest.directories.get(place, frozenset())
        for name in sorted(names - manifest.subdirectories.get(place, frozenset())):
            if _ending(name) in endings:
                yield _join(place, name)


def _endings(keys: set[str]) -> set[str]:
    return {_ending(key.rpartition("/")[2]) for key in keys}


def _ending(name: str) -> str:
    """Return the suffix of a name, empty when it has none."""
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if stem and dot else ""


def _join(place: str, name: str) -> str:
    return name if place == paths.ROOT else f"{place}/{name}"
