"""What a client will be asked for in later rounds, asked for now.

A script shows what it includes only when it is there: a hash is asked for, then a content, then
the next script is known. Clients give up after eight rounds, so a chain of includes has to be
fetched before it is followed. It lies, as a rule, in a directory or in some beside each other.

Nothing is guessed for scripts whose includes read no others. Listings tell what is there, so
nothing is asked for that does not exist: a client would end at that.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlrs_engine.sources import Blobs, Manifest, Missing, paths

_LISTINGS = 40
_HASHES = 400
_BLOBS = 200


@dataclass(slots=True)
class Includes:
    """The included scripts that a walk came upon: their keys, and what is missing of some."""

    read: set[str] = field(default_factory=set)
    without_hash: set[str] = field(default_factory=set)
    without_content: set[str] = field(default_factory=set)


def foresee(includes: Includes, manifest: Manifest, blobs: Blobs, missing: Missing) -> None:
    """Ask for what lies beside the includes that are missing."""
    wanted = includes.without_hash | includes.without_content
    if not wanted:
        return
    homes = {paths.parent(key) for key in wanted}
    around = homes | {paths.parent(home) for home in homes if home != paths.ROOT}
    beside = sorted({each for place in around for each in _subdirectories(manifest, place)})
    for place in [*sorted(around), *beside][:_LISTINGS]:
        if place not in manifest.directories:
            missing.listing_of(place)
    if not includes.read:
        return
    scripts = list(_scripts(manifest, sorted({*homes, *beside}), _endings(wanted)))
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
