"""Advice for an image that nothing on this machine answers."""

from sqlrs_engine.postgres.majors import NEWEST_MAJOR, OLDEST_MAJOR

from .distribution import Distribution
from .image_names import Image


def advice(wanted: Image, available: list[Distribution]) -> str:
    """Return what there is instead of the wanted image, and the command that installs it."""
    versions = dict.fromkeys(each.version for each in available)
    listed = ", ".join(versions) if versions else "nothing"
    if wanted.digest is not None:
        return (
            f"available: {listed}; no PostgreSQL here has this digest: install its version "
            "again, or use a tag such as postgres:17"
        )
    if not wanted.known_tag:
        return f"available: {listed}; use a version as tag, such as postgres:17"
    if wanted.major is not None and wanted.major < OLDEST_MAJOR:
        return (
            f"available: {listed}; the oldest supported version is PostgreSQL {OLDEST_MAJOR}: "
            f"sqlrs-engine postgres install {OLDEST_MAJOR}"
        )
    if wanted.major is not None and wanted.major > NEWEST_MAJOR:
        return (
            f"available: {listed}; the newest version to install is PostgreSQL "
            f"{NEWEST_MAJOR}: sqlrs-engine postgres install {NEWEST_MAJOR}"
        )
    same_major = [each for each in available if each.major == wanted.major]
    if same_major:
        return f"available: {listed}; use postgres:{wanted.major} for any minor version"
    major = wanted.major or 17
    return f"available: {listed}; to install it: sqlrs-engine postgres install {major}"
