"""Objects that well-known extensions create, whose names show that a script expects one."""

_TYPES = {
    "age": "agtype",
    "citext": "citext",
    "cube": "cube",
    "earthdistance": "earth",
    "h3": "h3index",
    "hll": "hll",
    "hstore": "hstore",
    "intarray": "query_int",
    "ip4r": "ip4 ip4r ip6 ip6r ipaddress iprange",
    "isn": "ean13 isbn isbn13 ismn ismn13 issn issn13 upc",
    "ltree": "lquery ltree ltxtquery",
    "postgis": "box2d box3d geography geometry geometry_dump",
    "postgis_raster": "raster",
    "postgis_topology": "topogeometry",
    "prefix": "prefix_range",
    "seg": "seg",
    "semver": "semver",
    "tdigest": "tdigest",
    "vector": "halfvec sparsevec vector",
}

# Not what many scripts define themselves, such as `digest` of an argument of their own.
_FUNCTIONS = {
    "dblink": "dblink dblink_connect dblink_connect_u dblink_exec",
    "earthdistance": "earth_box earth_distance ll_to_earth",
    "fuzzystrmatch": "daitch_mokotoff difference dmetaphone dmetaphone_alt levenshtein "
    "levenshtein_less_equal metaphone soundex",
    "intarray": "icount idx uniq",
    "pg_partman": "create_parent run_maintenance",
    "pg_trgm": "show_trgm similarity strict_word_similarity word_similarity",
    "pgcrypto": "armor crypt dearmor decrypt decrypt_iv digest encrypt encrypt_iv gen_random_bytes "
    "gen_salt hmac pgp_key_id pgp_pub_decrypt pgp_pub_encrypt pgp_sym_decrypt "
    "pgp_sym_decrypt_bytea pgp_sym_encrypt pgp_sym_encrypt_bytea",
    "postgis": "addgeometrycolumn geometrytype postgis_full_version postgis_version "
    "st_area st_asgeojson st_astext st_buffer st_contains st_distance st_dwithin st_geogfromtext "
    "st_geomfromgeojson st_geomfromtext st_intersects st_makepoint st_point st_setsrid st_srid "
    "st_transform st_within st_x st_y",
    "tablefunc": "connectby crosstab normal_rand",
    "timescaledb": "add_retention_policy create_hypertable time_bucket",
    "unaccent": "unaccent",
    "uuid-ossp": "uuid_generate_v1 uuid_generate_v1mc uuid_generate_v3 uuid_generate_v4 "
    "uuid_generate_v5 uuid_ns_dns uuid_ns_url uuid_nil",
}

_OPERATOR_CLASSES = {
    "intarray": "gin__int_ops gist__int_ops gist__intbig_ops",
    "ltree": "gist_ltree_ops gist__ltree_ops",
    "pg_trgm": "gin_trgm_ops gist_trgm_ops",
    "vector": "vector_cosine_ops vector_ip_ops vector_l1_ops vector_l2_ops halfvec_cosine_ops "
    "halfvec_ip_ops halfvec_l2_ops",
}

_OTHERS = {
    "access method": {"bloom": "bloom", "rum": "rum", "vector": "hnsw ivfflat"},
    "foreign-data wrapper": {
        "file_fdw": "file_fdw",
        "postgres_fdw": "postgres_fdw",
        "mysql_fdw": "mysql_fdw",
        "tds_fdw": "tds_fdw",
    },
    "language": {"plperl": "plperl", "plpython3u": "plpython3u", "pltcl": "pltcl", "plv8": "plv8"},
    "text search dictionary": {"unaccent": "unaccent"},
}


def _by_name(objects: dict[str, str]) -> dict[str, str]:
    return {name: extension for extension, names in objects.items() for name in names.split()}


_EXTENSIONS = {
    "type": _by_name(_TYPES),
    "function": _by_name(_FUNCTIONS),
    "operator class": _by_name(_OPERATOR_CLASSES),
    **{kind: _by_name(objects) for kind, objects in _OTHERS.items()},
}

KINDS = tuple(_EXTENSIONS)
"""The kinds of objects that are known, in the words of PostgreSQL's messages."""


def extension_with(kind: str, name: str) -> str | None:
    """Return the extension that creates an object of this kind and (unquoted, bare) name."""
    return _EXTENSIONS.get(kind, {}).get(name)
