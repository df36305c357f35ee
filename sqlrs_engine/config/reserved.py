"""The server settings that ``postgres.settings`` must not contain.

The engine sets them itself, or they name files, directories, libraries, programs, addresses or
authentication methods: with them, a server could use files outside its directory, listen elsewhere,
or let clients in without a password. The names come from ``pg_settings`` in PostgreSQL 14 to 18;
older names that these versions still accept are included.
"""

from collections.abc import Iterable

_FILES = (
    "config_file",
    "data_directory",
    "external_pid_file",
    "extension_control_path",
    "extension_destdir",  # Debian's
    "hba_file",
    "ident_file",
    "log_directory",
    "log_filename",
    "promote_trigger_file",
    "stats_temp_directory",
    "timezone_abbreviations",
)
_LIBRARIES = (
    "archive_library",
    "dynamic_library_path",
    "jit_provider",
    "local_preload_libraries",
    "oauth_validator_libraries",
    "output_plugin_libraries",
    "session_preload_libraries",
    "shared_preload_libraries",
)
_PROGRAMS = (
    "archive_cleanup_command",
    "archive_command",
    "recovery_end_command",
    "restore_command",
)
_ADDRESSES = (
    "bonjour",
    "bonjour_name",
    "listen_addresses",
    "log_destination",
    "logging_collector",
    "port",
    "primary_conninfo",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
)
_LOGIN = (
    "authentication_timeout",
    "db_user_namespace",
    "gss_accept_delegation",
    "krb_caseins_users",
    "krb_server_keyfile",
    "md5_password_warnings",
    "password_encryption",
    "role",
    "scram_iterations",
    "session_authorization",
    "ssl",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_ciphers",
    "ssl_crl_dir",
    "ssl_crl_file",
    "ssl_dh_params_file",
    "ssl_ecdh_curve",
    "ssl_groups",
    "ssl_key_file",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "ssl_passphrase_command",
    "ssl_passphrase_command_supports_reload",
    "ssl_prefer_server_ciphers",
    "ssl_tls13_ciphers",
)
# Built in, or fixed by initdb: a server does not start when one of these is set.
_PRESET = (
    "block_size",
    "data_checksums",
    "data_directory_mode",
    "debug_assertions",
    "effective_wal_level",
    "huge_pages_status",
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "lc_collate",
    "lc_ctype",
    "max_function_args",
    "max_identifier_length",
    "max_index_keys",
    "num_os_semaphores",
    "segment_size",
    "server_encoding",
    "server_version",
    "server_version_num",
    "shared_memory_size",
    "shared_memory_size_in_huge_pages",
    "ssl_library",
    "wal_block_size",
    "wal_segment_size",
)

NAMES = tuple(sorted((*_FILES, *_LIBRARIES, *_PROGRAMS, *_ADDRESSES, *_LOGIN, *_PRESET)))


def folded(name: str) -> str:
    """Return a setting's name in the form in which PostgreSQL compares it.

    Only ASCII letters are folded (``guc_name_compare`` in PostgreSQL's guc.c).
    """
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def repeated(names: Iterable[str]) -> str | None:
    """Return the first name that means the same setting as an earlier one."""
    seen: set[str] = set()
    for name in names:
        if folded(name) in seen:
            return name
        seen.add(folded(name))
    return None
