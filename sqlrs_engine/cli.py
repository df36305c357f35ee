"""The command line: flags of the daemon, or a command for people.

If the first argument is a flag, this runs the daemon that other programs start
(``commands.daemon``); otherwise the first word is a command.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper

from sqlrs_engine.errors import EngineError, InvalidArgument, Unavailable

_EXAMPLES = """\
examples:
  sqlrs-engine prepare -- -f schema.sql           make a database, print its DSN
  sqlrs-engine prepare --name dev -- -f schema.sql -c "insert into t values (1)"
  sqlrs-engine up                                 start the database of sqlrs.toml
  sqlrs-engine exec dev -- psql                   open psql on it
  sqlrs-engine ls                                 list what exists
  sqlrs-engine rm dev                             remove it
  sqlrs-engine doctor                             check this machine

exit codes:
  0 success   1 failure   2 usage error   3 no engine is running   4 removal blocked
  130 interrupted

as a daemon (for clients such as sqlrs; Go flag syntax):
  sqlrs-engine --listen HOST:PORT --write-engine-json FILE
               [--run-dir DIR] [--idle-timeout 30s] [--version V]
"""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    environment = dict(os.environ if environ is None else environ)
    _repair_streams()
    if arguments and arguments[0].startswith("-") and not _asks_for_help(arguments):
        return _daemon(arguments, environment)
    return _command(arguments, environment)


def _repair_streams() -> None:
    """Replace closed streams, and escape characters that an encoding lacks.

    Otherwise other files would get the descriptors of streams that a caller has closed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
        elif mode == "w" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return arguments[0] in ("-h", "--help", "-help") or list(arguments) in (
        ["--version"],
        ["-version"],
    )


def _daemon(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    from sqlrs_engine import commands
    from sqlrs_engine.commands import daemon, terminal

    try:
        flags = daemon.parse(arguments)
    except InvalidArgument as error:
        _print_error(error)
        return commands.USAGE
    from sqlrs_engine.engine.options import EngineOptions
    from sqlrs_engine.engine.process import run_engine

    try:
        run_engine(
            EngineOptions(
                listen=flags.listen,
                engine_file=flags.engine_file,
                store_root=terminal.store_root(flags.engine_file, environ),
                run_dir=flags.run_dir,
                idle_timeout=flags.idle_timeout,
                version=flags.version,
                search_path=environ.get("PATH", ""),
                builds=terminal.builds_root(environ, flags.engine_file.parent),
                images=terminal.images_root(environ, flags.engine_file.parent),
            )
        )
    except (EngineError, OSError) as error:
        _print_error(error)
        return commands.FAILURE
    return commands.SUCCESS


def _command(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    from sqlrs_engine import commands
    from sqlrs_engine.commands.terminal import system_terminal

    parser = _parser()
    if not arguments:
        parser.print_help()
        return commands.SUCCESS
    words, rest = _split(arguments)
    try:
        args = parser.parse_args(words)
        args.rest = rest
    except SystemExit as end:  # argparse has printed help, the version or the usage error
        return end.code if isinstance(end.code, int) else commands.USAGE
    try:
        code: int = args.run(args, system_terminal(environ))
    except InvalidArgument as error:
        _print_error(error)
        return commands.USAGE
    except UnicodeEncodeError as error:
        _print_error(
            InvalidArgument(
                "an argument is not UTF-8: retype it, or rename the file", repr(error.object)[:200]
            )
        )
        return commands.USAGE
    except Unavailable as error:
        _print_error(error)
        return commands.NO_ENGINE
    except BrokenPipeError:
        # The reader of the output has gone (`| head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return commands.FAILURE
    except (EngineError, OSError) as error:
        _print_error(error)
        return commands.FAILURE
    except KeyboardInterrupt:
        return commands.INTERRUPTED
    return code


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of the command, and the arguments after ``--`` for another program."""
    words = ["--version"] if list(arguments) == ["-version"] else list(arguments)
    if words[0] in ("prepare", "exec") and "--" in words:
        border = words.index("--")
        return words[:border], words[border + 1 :]
    return words, []


def _parser() -> argparse.ArgumentParser:
    from sqlrs_engine import __version__
    from sqlrs_engine.commands import (
        check,
        config,
        doctor,
        explain,
        import_,
        ls,
        plan,
        postgres,
        prepare,
        rm,
        serve,
        status,
        stop,
        store,
        up,
    )
    from sqlrs_engine.commands import exec as exec_

    parser = argparse.ArgumentParser(
        prog="sqlrs-engine",
        description=(
            "Disposable PostgreSQL: turn scripts, dumps and migrations into cached states, and\n"
            "states into running databases in milliseconds."
        ),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sqlrs-engine {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (
        prepare,
        up,
        plan,
        explain,
        check,
        exec_,
        import_,
        ls,
        rm,
        status,
        serve,
        stop,
        config,
        doctor,
        postgres,
        store,
    ):
        module.add_parser(subparsers)
    return parser


def _print_error(error: BaseException) -> None:
    """Print one line on standard error."""
    from sqlrs_engine.control_characters import visible

    print(f"sqlrs-engine: {visible(' '.join(str(error).split()))}", file=sys.stderr)
