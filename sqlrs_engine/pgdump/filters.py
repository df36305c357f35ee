"""The parts of a database that are wanted, in pg_dump's terms."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Options of pg_dump; all but ``schema_only`` are patterns."""

    schema_only: bool = False
    schemas: tuple[str, ...] = ()
    exclude_schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    exclude_tables: tuple[str, ...] = ()
    exclude_table_data: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether a part of the data is left out."""
        return self != Filters()

    def arguments(self) -> list[str]:
        """Return the arguments of pg_dump."""
        arguments = ["--schema-only"] if self.schema_only else []
        for option, patterns in (
            ("schema", self.schemas),
            ("exclude-schema", self.exclude_schemas),
            ("table", self.tables),
            ("exclude-table", self.exclude_tables),
            ("exclude-table-data", self.exclude_table_data),
        ):
            arguments += [f"--{option}={pattern}" for pattern in patterns]
        return arguments

    def words(self) -> Iterator[str]:
        """Yield what is left out or selected, for people."""
        if self.schema_only:
            yield "schema only"
        for word, patterns in (
            ("schemas", self.schemas),
            ("without schemas", self.exclude_schemas),
            ("tables", self.tables),
            ("without tables", self.exclude_tables),
            ("without the data of", self.exclude_table_data),
        ):
            if patterns:
                yield f"{word} {' '.join(patterns)}"
