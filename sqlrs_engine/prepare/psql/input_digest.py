r"""What a step's input amounts to: its text with every file it reads in place of the name.

Content counts, names and places do not, so a moved checkout has the same states.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.prepare.psql.interpreter.interpreter import ScriptWalk
from sqlrs_engine.prepare.psql.interpreter.session import SessionState, Start, passwd_home
from sqlrs_engine.prepare.psql.lexer.script import Script

from .arguments import Input
from .script_files import ScriptFiles

__all__ = ["InputDigest", "ScriptFiles", "Start", "input_digest", "passwd_home"]


_NOTES = 20


@dataclass(frozen=True, slots=True)
class InputDigest:
    """The digest of an input with all it reads, and the files that were read for it.

    ``text`` is the digest of a command's or standard input's own text, ``sources`` those of
    the files' own contents, by path: which of them changed is asked later.
    ``volatile`` says why the digest does not tell all (None: it does): the script reads a
    file whose name only psql can work out. Such a step must not be reused. ``notes`` tell of
    what else the script reads, on which nobody relies. ``after_programs`` are the files read
    after programs that may have written them, and the names to compare them by.
    ``next`` is how the next step's session begins, ``uses_earlier`` tells that this one reads
    what earlier ones write.
    """

    digest: str
    files: tuple[FileRead, ...]
    volatile: str | None = None
    text: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    after_programs: Mapping[Path, str] = field(default_factory=dict)
    next: Start = field(default_factory=Start)
    uses_earlier: bool = False

    @property
    def writes(self) -> bool:
        """Whether it writes files, or runs programs that may."""
        return bool(self.next.written or self.next.programs)


def input_digest(
    given: Input,
    stdin: str | None,
    *,
    files: ScriptFiles,
    directory: Path | None,
    variables: Mapping[str, str],
    home: str | None = None,
    start: Start | None = None,
    written: tuple[str, ...] = (),
    generated: Container[str] = (),
) -> InputDigest:
    """Work out the content of an input.

    ``directory`` is psql's working directory, None when there is none that means anything;
    ``home`` its ``$HOME``, by default that of the engine's user. ``written`` are the files
    that psql's options have it write, ``generated`` those that programs were seen to write.
    Raises InvalidArgument for files that cannot be read, for recursive includes and for
    connections to other servers.
    """
    session = SessionState(start or Start(), directory, passwd_home() if home is None else home)
    reading = ScriptWalk(files, session, reads_stdin=given.kind == "stdin", generated=generated)
    for name in written:
        reading.writes(name, "options")
    for name, text in variables.items():
        session.assign(name, text)
    own = None
    if given.kind == "file":
        digest = reading.file(Path(given.text), given.text, "")
    else:
        text = given.text if given.kind == "command" else stdin or ""
        # Lone surrogates stand for bytes that are not UTF-8.
        data = text.encode("utf-8", "surrogateescape")
        script = Script(data, lambda: data)
        if given.kind == "command":
            digest = reading.command(script, data)
        else:
            digest = reading.script(script, "standard input", "<stdin>")
        own = script.digest
    following = reading.finish()
    return InputDigest(
        digest,
        tuple(reading.read),
        reading.volatile,
        own,
        reading.sources,
        tuple(dict.fromkeys(reading.notes))[:_NOTES],
        reading.outputs.after_programs,
        following,
        reading.outputs.uses_earlier,
    )
