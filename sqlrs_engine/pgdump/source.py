"""How to reach a database: the parameters of libpq, given or from the environment.

PostgreSQL docs, "Database Connection Control Functions" and "Environment Variables". What is given
takes precedence over the service file, and that over the environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg import Error
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from sqlrs_engine.errors import InvalidArgument

_SCHEMES = ("postgres://", "postgresql://")
_SECRETS = "*D"  # how libpq marks values that are not to be shown, and those for debugging
_HIDDEN = "********"
_UNUSED = ("fallback_application_name", "replication")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A database to connect to. ``given`` are the parameters that the user gave.

    ``environ`` is the user's environment, with what libpq takes from it.
    """

    given: Mapping[str, str] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str]) -> "Source":
        """Read a URL, a connection string (``host=… dbname=…``, ``service=…``) or a name.

        An empty text leaves everything to the environment. Raises InvalidArgument.
        """
        if text and "=" not in text and not text.startswith(_SCHEMES):
            return cls(given={"dbname": text}, environ=environ)
        try:
            given = _values(text)
        except Error:
            # The reason may quote a part of the password.
            raise InvalidArgument(
                "cannot read the connection: write postgres://USER@HOST/DATABASE, or "
                "host=… user=… dbname=…, or service=…",
                "in a URL, percent-encode special characters: %40 for @, %2F for /, %3A for :",
            ) from None
        if "@" in given.get("host", ""):
            raise InvalidArgument(
                "cannot read the connection: the host contains @",
                "in the user name and the password of a URL, write %40 for @",
            )
        for name in given:
            if name not in _environment_names() and _is_secret(name):
                raise InvalidArgument(
                    f"the parameter {name} cannot be used here: leave it out",
                    "programs could get it by their arguments only, which every user can read",
                )
        return cls(given=given, environ=environ)

    @property
    def password(self) -> str | None:
        """The password, unless it comes from a file or there is none."""
        return self.given.get("password") or self.environ.get("PGPASSWORD")

    def with_password(self, password: str) -> "Source":
        """Return the same source with a password."""
        return Source(given={**self.given, "password": password}, environ=self.environ)

    def parameters(self) -> dict[str, str]:
        """Return the parameters for a connection of this process."""
        if "service" in self.given or self.environ.get("PGSERVICE"):
            service = self.environ.get("PGSERVICE")
            return {**({"service": service} if service else {}), **self.given}
        names = _environment_names().items()
        from_environment = {
            name: self.environ[variable] for name, variable in names if self.environ.get(variable)
        }
        return {**from_environment, **self.given}

    def program_environment(self, **more: str) -> dict[str, str]:
        """Return the environment in which libpq's programs connect to this database.

        ``more`` are further parameters.
        """
        names = _environment_names()
        given = {**self.given, **more}
        variables = {names[name]: value for name, value in given.items() if name in names}
        return {**self.environ, **variables}

    def program_arguments(self) -> list[str]:
        """Return the arguments for parameters that no variable of the environment has."""
        names = _environment_names()
        rest = {
            name: value
            for name, value in self.given.items()
            if name not in names and name not in _UNUSED
        }
        return [f"--dbname={make_conninfo('', **rest)}"] if rest else []

    def redacted(self, text: str) -> str:
        """Return a message without the password."""
        return text.replace(self.password, _HIDDEN) if self.password else text


def _values(text: str) -> dict[str, str]:
    options = Conninfo.parse(text.encode())
    return {
        option.keyword.decode(): option.val.decode() for option in options if option.val is not None
    }


def _environment_names() -> dict[str, str]:
    """Return the variables of libpq by the names of their parameters."""
    options = Conninfo.get_defaults()
    return {each.keyword.decode(): each.envvar.decode() for each in options if each.envvar}


def _is_secret(name: str) -> bool:
    options = {each.keyword.decode(): each.dispchar.decode() for each in Conninfo.get_defaults()}
    return bool(options.get(name)) and options[name] in _SECRETS and name not in _UNUSED
