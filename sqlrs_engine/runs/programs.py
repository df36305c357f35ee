"""PostgreSQL's client programs, as far as telling their options from values takes.

Source: the ``getopt_long`` calls of the programs, all versions from 14 on together.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The options of a program that take a value, and which of them name a database.

    ``letters`` and ``words`` take a value; host, port and user do so everywhere and are left
    out. ``flags`` are words without a value that begin like one with. What names a database
    may be a connection string in its place; ``positional`` says that a bare word is one.
    Words are separated by spaces.
    """

    letters: str = ""
    words: str = ""
    flags: str = ""
    host_letters: str = "hpU"
    database_letters: str = "d"
    database_words: str = "dbname maintenance-db"
    positional: bool = True


HOST_WORDS = "host port username"

PROGRAMS = {
    "psql": Program(
        letters="cfFLoPRTv",
        words=(
            "command field-separator file log-file output pset record-separator set table-attr"
            " variable"
        ),
        # No program's own, but what everyone takes for one.
        database_words="dbname database",
    ),
    "pgbench": Program(
        letters="bcDfFIjLMPRstT",
        words=(
            "aggregate-interval builtin client define file fillfactor index-tablespace init-steps"
            " jobs latency-limit log-prefix max-tries partition-method partitions progress"
            " protocol random-seed rate sampling-rate scale show-script tablespace time"
            " transactions"
        ),
        flags="log",
        database_words="dbname database",
    ),
    "pg_dump": Program(
        letters="eEfFjnNStTZ",
        words=(
            "compress encoding exclude-extension exclude-schema exclude-table"
            " exclude-table-and-children exclude-table-data exclude-table-data-and-children"
            " extension extra-float-digits file filter format include-foreign-data jobs"
            " lock-wait-timeout restrict-key role rows-per-insert schema section snapshot"
            " superuser sync-method table table-and-children"
        ),
    ),
    "pg_dumpall": Program(
        letters="EfFS",
        words=(
            "encoding exclude-database extra-float-digits file filter format lock-wait-timeout"
            " restrict-key role rows-per-insert superuser"
        ),
        database_letters="dl",
        database_words="dbname database",
    ),
    "pg_restore": Program(
        letters="fFIjLnNPStT",
        words=(
            "exclude-database exclude-schema file filter format function index jobs restrict-key"
            " role schema section superuser table transaction-size trigger use-list"
        ),
        positional=False,
    ),
    "createdb": Program(
        letters="DTElOS",
        words=(
            "builtin-locale encoding icu-locale icu-rules lc-collate lc-ctype locale"
            " locale-provider owner strategy tablespace template"
        ),
        database_letters="",
        positional=False,
    ),
    "dropdb": Program(database_letters="", positional=False),
    "createuser": Program(
        letters="acgmv",
        words=("connection-limit member-of role valid-until with-admin with-member"),
        database_letters="",
        positional=False,
    ),
    "dropuser": Program(database_letters="", positional=False),
    "vacuumdb": Program(
        letters="jnNPt",
        words=(
            "buffer-usage-limit exclude-schema jobs min-mxid-age min-xid-age parallel schema table"
        ),
    ),
    "reindexdb": Program(letters="ijSt", words="index jobs schema table tablespace"),
    "clusterdb": Program(letters="t", words="table"),
    "pg_amcheck": Program(
        letters="DiIjrRsStT",
        words=(
            "endblock exclude-database exclude-index exclude-relation exclude-schema"
            " exclude-table index jobs relation schema skip startblock table"
        ),
        database_words="database maintenance-db",
    ),
    "pg_isready": Program(letters="t", words="timeout"),
    "oid2name": Program(letters="fot", words="filenode oid table", host_letters="hHpU"),
    "vacuumlo": Program(letters="l", words="limit", database_letters=""),
    "pg_basebackup": Program(
        letters="cDFilrsStTXZ",
        words=(
            "checkpoint compress format incremental label manifest-checksums max-rate pgdata slot"
            " status-interval sync-method tablespace-mapping target waldir wal-method"
        ),
    ),
    "pg_receivewal": Program(
        letters="DEsSZ",
        words="compress directory endpos slot status-interval",
    ),
    "pg_recvlogical": Program(
        letters="EfFIoPsS",
        words=("endpos file fsync-interval option plugin slot startpos status-interval"),
        flags="start",
    ),
}
"""The programs by name; whatever is not among them has options that nobody here knows."""
