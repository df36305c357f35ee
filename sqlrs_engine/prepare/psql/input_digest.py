r"""The digest of a step's input: its text, with the content of each file in place of its name.

Content counts, names and places do not, so a moved checkout has the same states.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlrs_engine.prepare.file_reads import FileRead

from .arguments import Input
from .interpreter.interpreter import Interpreter
from .interpreter.session import Session, SessionStart, passwd_home
from .lexer.parts import encoded
from .lexer.script import Script
from .source_files import ScriptFiles

_MOST_NOTES = 20


@dataclass(frozen=True, slots=True)
class InputDigest:
    """The digest of an input with everything it reads, and the files that were read for it.

    ``text`` is the digest of a command's or standard input's own text, ``sources`` those of the
    files' own contents by path: the cache explains misses by them. ``volatile`` is the reason
    why the digest does not cover everything, None if it does: the state of such a step must not
    be reused. ``unnamed`` are such reasons, too: files that only psql knows, which can be observed.
    ``notes`` name what else the script reads, which the digest ignores.
    ``after_programs`` are the files that are read after programs which may have written them:
    the resolved names by path. ``next_start`` is how the next step's session begins;
    ``uses_earlier`` is whether this step reads what earlier ones write, ``looked_for_absent``
    whether it depends on what did not exist. ``runs_programs`` is whether psql runs programs, which
    see its working directory.
    """

    digest: str
    files: tuple[FileRead, ...]
    volatile: str | None = None
    unnamed: tuple[str, ...] = ()
    text: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    after_programs: Mapping[Path, str] = field(default_factory=dict)
    next_start: SessionStart = field(default_factory=SessionStart)
    uses_earlier: bool = False
    looked_for_absent: bool = False
    runs_programs: bool = False

    def unobserved(self) -> "InputDigest":
        """Return the digest for a step that cannot be observed."""
        if not self.unnamed:
            return self
        return replace(self, volatile=self.volatile or self.unnamed[0], unnamed=())

    @property
    def writes(self) -> bool:
        """Whether steps up to this one write files, or run programs that may."""
        return bool(self.next_start.written or self.next_start.programs)


def input_digest(
    given: Input,
    stdin: str | None,
    *,
    files: ScriptFiles,
    directory: Path | None,
    variables: Mapping[str, str],
    home: str | None = None,
    start: SessionStart | None = None,
    outputs: tuple[str, ...] = (),
    generated: Container[str] = (),
) -> InputDigest:
    """Return the digest of an input.

    ``directory`` is psql's working directory, None if the request gives none. ``home`` is its
    ``$HOME``, by default that of the engine's user. ``outputs`` are the files that psql's options
    make it write, ``generated`` those that programs were seen to write. Raises InvalidArgument
    for files that cannot be read, recursive includes and connections to other servers.
    """
    home = passwd_home() if home is None else home
    session = Session(start or SessionStart(), directory, home)
    interpreter = Interpreter(
        files, session, reads_stdin=given.kind == "stdin", generated=generated
    )
    for name in outputs:
        interpreter.option_output(name)
    for name, value in variables.items():
        session.assign(name, value)
    text = None
    if given.kind == "file":
        digest = interpreter.file(Path(given.text), given.text)
    else:
        data = encoded(given.text if given.kind == "command" else stdin or "")
        script = Script(data, lambda: data)
        if given.kind == "command":
            digest = interpreter.command(script, data)
        else:
            digest = interpreter.script(script, "standard input", "<stdin>")
        text = script.digest
    next_start = interpreter.finish()
    findings, written = interpreter.findings, interpreter.written
    return InputDigest(
        digest=digest,
        files=tuple(findings.files),
        volatile=findings.volatile,
        unnamed=tuple(findings.unnamed),
        text=text,
        sources=findings.sources,
        notes=tuple(dict.fromkeys(findings.notes))[:_MOST_NOTES],
        after_programs=written.after_programs,
        next_start=next_start,
        uses_earlier=written.uses_earlier,
        looked_for_absent=findings.looked_for_absent,
        runs_programs=findings.runs_programs,
    )
