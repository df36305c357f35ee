"""The options of PostgreSQL's client programs: which of them take a value.

Source: the ``getopt_long`` calls of the programs, all versions from 14 on together.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramOptions:
    """The options of a program that take a value, and those that name a database.

    ``letters`` and ``words`` take a value; host, port and user do so everywhere and are left out.
    ``flags`` take none, although they begin like a word that does. An option that names a database
    accepts a connection string as well; ``positional`` is whether a bare word does too. Words are
    separated by spaces.
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
    "psql": ProgramOptions(
        letters="cfFLoPRTv",
        words=(
            "command field-separator file log-file output pset record-separator set table-attr"
            " variable"
        ),
        # psql has no --database, although many users expect it.
        database_words="dbname database",
    ),
    "pgbench": ProgramOptions(
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
    "pg_dump": ProgramOptions(
        letters="eEfFjnNStTZ",
        words=(
            "compress encoding exclude-extension exclude-schema exclude-table"
            " exclude-table-and-children exclude-table-data exclude-table-data-and-children"
            " extension extra-float-digits file filter format include-foreign-data jobs"
            " lock-wait-timeout restrict-key role rows-per-insert schema section snapshot"
            " superuser sync-method table table-and-children"
        ),
    ),
    "pg_dumpall": ProgramOptions(
        letters="EfFS",
        words=(
            "encoding exclude-database extra-float-digits file filter format lock-wait-timeout"
            " restrict-key role rows-per-insert superuser"
        ),
        database_letters="dl",
        database_words="dbname database",
    ),
    "pg_restore": ProgramOptions(
        letters="fFIjLnNPStT",
        words=(
            "exclude-database exclude-schema file filter format function index jobs restrict-key"
            " role schema section superuser table transaction-size trigger use-list"
        ),
        positional=False,
    ),
    "createdb": ProgramOptions(
        letters="DTElOS",
        words=(
            "builtin-locale encoding icu-locale icu-rules lc-collate lc-ctype locale"
            " locale-provider owner strategy tablespace template"
        ),
        database_letters="",
        positional=False,
    ),
    "dropdb": ProgramOptions(database_letters="", positional=False),
    "createuser": ProgramOptions(
        letters="acgmv",
        words=("connection-limit member-of role valid-until with-admin with-member"),
        database_letters="",
        positional=False,
    ),
    "dropuser": ProgramOptions(database_letters="", positional=False),
    "vacuumdb": ProgramOptions(
        letters="jnNPt",
        words=(
            "buffer-usage-limit exclude-schema jobs min-mxid-age min-xid-age parallel schema table"
        ),
    ),
    "reindexdb": ProgramOptions(letters="ijSt", words="index jobs schema table tablespace"),
    "clusterdb": ProgramOptions(letters="t", words="table"),
    "pg_amcheck": ProgramOptions(
        letters="DiIjrRsStT",
        words=(
            "endblock exclude-database exclude-index exclude-relation exclude-schema"
            " exclude-table index jobs relation schema skip startblock table"
        ),
        database_words="database maintenance-db",
    ),
    "pg_isready": ProgramOptions(letters="t", words="timeout"),
    "oid2name": ProgramOptions(letters="fot", words="filenode oid table", host_letters="hHpU"),
    "vacuumlo": ProgramOptions(letters="l", words="limit", database_letters=""),
    "pg_basebackup": ProgramOptions(
        letters="cDFilrsStTXZ",
        words=(
            "checkpoint compress format incremental label manifest-checksums max-rate pgdata slot"
            " status-interval sync-method tablespace-mapping target waldir wal-method"
        ),
    ),
    "pg_receivewal": ProgramOptions(
        letters="DEsSZ",
        words="compress directory endpos slot status-interval",
    ),
    "pg_recvlogical": ProgramOptions(
        letters="EfFIoPsS",
        words=("endpos file fsync-interval option plugin slot startpos status-interval"),
        flags="start",
    ),
}
"""By program; the options of any other program are unknown."""
