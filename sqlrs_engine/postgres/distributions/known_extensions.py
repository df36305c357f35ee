"""Where to get the extensions that schemas ask for most, when no PostgreSQL here has them."""

from dataclasses import dataclass

from sqlrs_engine.postgres.majors import NEWEST_MAJOR, OLDEST_MAJOR

# What the builds of `postgres install` have.
_DOWNLOADED = frozenset(
    {
        "amcheck",
        "autoinc",
        "bloom",
        "btree_gin",
        "btree_gist",
        "citext",
        "cube",
        "dblink",
        "dict_int",
        "dict_xsyn",
        "earthdistance",
        "file_fdw",
        "fuzzystrmatch",
        "hstore",
        "insert_username",
        "intagg",
        "intarray",
        "isn",
        "lo",
        "ltree",
        "moddatetime",
        "pageinspect",
        "pg_buffercache",
        "pg_freespacemap",
        "pg_prewarm",
        "pg_stat_statements",
        "pg_trgm",
        "pg_visibility",
        "pgcrypto",
        "pgrowlocks",
        "pgstattuple",
        "postgres_fdw",
        "refint",
        "seg",
        "sslinfo",
        "tablefunc",
        "tcn",
        "tsm_system_rows",
        "tsm_system_time",
        "unaccent",
        "uuid-ossp",
        "xml2",
    }
)

_POSTGIS_VERSIONS = {14: "3.5", 15: "3.5", 16: "3.5", 17: "3.5", 18: "3.6"}
_POSTGIS = frozenset(
    {
        "address_standardizer",
        "address_standardizer_data_us",
        "postgis",
        "postgis_raster",
        "postgis_sfcgal",
        "postgis_tiger_geocoder",
        "postgis_topology",
    }
)

_IMAGES = {
    "age": "apache/age:latest",
    "citus": "citusdata/citus:latest",
    "citus_columnar": "citusdata/citus:latest",
    "timescaledb": "timescale/timescaledb:latest-pg{major}",
    "vector": "pgvector/pgvector:pg{major}",
}

# Debian's packages, and those of apt.postgresql.org: postgresql-<major>-<name>.
_PACKAGES = {
    "age": "age",
    "first_last_agg": "first-last-agg",
    "h3": "h3",
    "hll": "hll",
    "http": "http",
    "hypopg": "hypopg",
    "ip4r": "ip4r",
    "mysql_fdw": "mysql-fdw",
    "ogr_fdw": "ogr-fdw",
    "orafce": "orafce",
    "periods": "periods",
    "pg_cron": "cron",
    "pg_hint_plan": "pg-hint-plan",
    "pg_partman": "partman",
    "pg_qualstats": "pg-qualstats",
    "pg_repack": "repack",
    "pg_similarity": "similarity",
    "pg_stat_kcache": "pg-stat-kcache",
    "pgaudit": "pgaudit",
    "pglogical": "pglogical",
    "pgrouting": "pgrouting",
    "pgtap": "pgtap",
    "plpgsql_check": "plpgsql-check",
    "prefix": "prefix",
    "q3c": "q3c",
    "rum": "rum",
    "semver": "semver",
    "set_user": "set-user",
    "tdigest": "tdigest",
    "tds_fdw": "tds-fdw",
    "unit": "unit",
}

# The major versions from which on PostgreSQL no longer has them.
_REMOVED = {
    "adminpack": 17,
    "chkpass": 11,
    "old_snapshot": 17,
    "timetravel": 12,
    "tsearch2": 10,
}

# The names of libraries that differ from those of their extensions.
_OF_LIBRARY = {
    "_int": "intarray",
    "pgxml": "xml2",
    "plpython3": "plpython3u",
    "rtpostgis": "postgis_raster",
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Ways to get an extension for a major version, each None if there is none.

    ``install`` is the major version to install, ``image`` an image of a registry, ``package`` a
    Debian package, which brings a PostgreSQL of its own.
    """

    install: int | None = None
    image: str | None = None
    package: str | None = None


def sources_of(extension: str, major: int) -> Sources:
    """Return the known ways to get an extension."""
    supported = OLDEST_MAJOR <= major <= NEWEST_MAJOR
    package = _PACKAGES.get(extension)
    return Sources(
        install=major if supported and extension in _DOWNLOADED else None,
        image=_image(extension, major),
        package=package and f"postgresql-{major}-{package}",
    )


def removed_in(extension: str, major: int) -> int | None:
    """Return the major version that removed an extension which ``major`` therefore lacks."""
    removed = _REMOVED.get(extension)
    return removed if removed is not None and removed <= major else None


def extension_of(library: str) -> str:
    """Return the extension of a library, by the name with which SQL loads it."""
    name = library.removesuffix(".so")
    stem, _, version = name.rpartition("-")  # postgis-3
    if stem and version.replace(".", "").isdigit():
        name = stem
    return _OF_LIBRARY.get(name, name)


def _image(extension: str, major: int) -> str | None:
    if extension in _POSTGIS:
        version = _POSTGIS_VERSIONS.get(major)
        return version and f"postgis/postgis:{major}-{version}"
    image = _IMAGES.get(extension)
    return image and image.format(major=major)
