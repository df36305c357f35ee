"""The recipes of ``docs/recipes.md``: their example projects, their tools, changes to make."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support import migration_tools

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "recipes"
DOCUMENT = ROOT / "docs" / "recipes.md"


@dataclass(frozen=True)
class Edit:
    """A change to a file: ``new`` in place of ``old``, or a new file with an empty ``old``."""

    path: str
    new: str
    old: str = ""

    def apply(self, project: Path) -> None:
        file = project / self.path
        if not self.old:
            assert not file.exists()
            file.write_text(self.new)
            return
        text = file.read_text()
        assert text.count(self.old) == 1, f"{self.old!r} in {file}"
        file.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Recipe:
    """A tool with its example.

    ``install`` completes a copy of the example, and returns the directories of its tool, to go
    before the PATH. ``migration`` is what a developer adds next. ``broken`` is what the tool says
    of ``mistake``, which is made in the file of the last edit.
    """

    name: str
    section: str
    install: Callable[[Path], list[Path]]
    migration: tuple[Edit, ...]
    mistake: tuple[str, str] = ("book", "nowhere")
    broken: str = 'relation "nowhere" does not exist'

    def copy(self, to: Path) -> Path:
        """Copy the example as a project of its own, without the project file."""
        return Path(shutil.copytree(EXAMPLES / self.name, to / self.name))

    def add_migration(self, project: Path) -> str:
        """Add the migration, and return the path of its file."""
        for edit in self.migration:
            edit.apply(project)
        return self.migration[-1].path

    def break_migration(self, project: Path) -> None:
        """Put a mistake into the migration."""
        right, wrong = self.mistake
        file = project / self.migration[-1].path
        text = file.read_text()
        assert right in text
        file.write_text(text.replace(right, wrong))

    def documented(self, language: str) -> str:
        """Return the block of a language in the tool's section of the document."""
        return documented(self.section, language)

    def command(self) -> list[str]:
        """Return the documented command line, without the program's own name."""
        lines = self.documented("sh").replace("\\\n", " ")
        program, *arguments = shlex.split(lines)
        assert program == "sqlrs-engine"
        return arguments


def documented(section: str, language: str) -> str:
    """Return the block of a language in a section of the document."""
    _, _, rest = DOCUMENT.read_text().partition(f"\n## {section}\n")
    text, _, _ = rest.partition("\n## ")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(block)


def _python(project: Path) -> list[Path]:
    return [migration_tools.python_environment(project / "requirements.txt") / "bin"]


def _node(project: Path) -> list[Path]:
    installed = migration_tools.node_packages(project / "package.json")
    shutil.copy(installed / "package-lock.json", project)
    (project / "node_modules").symlink_to(installed / "node_modules")
    return []


def _sqitch(project: Path) -> list[Path]:
    return [migration_tools.sqitch()]


def _rails(project: Path) -> list[Path]:
    tools = migration_tools.rails()
    lock = ["ruby", "-e", "require 'bundler/setup'"]  # writes Gemfile.lock
    search = os.pathsep.join([str(tools), os.environ["PATH"]])
    subprocess.run(lock, cwd=project, env={**os.environ, "PATH": search}, check=True)
    return [tools]


RECIPES = (
    Recipe(
        "alembic",
        "Alembic",
        _python,
        (
            Edit(
                "migrations/versions/c90d_pages.py",
                """
import sqlalchemy as sa
from alembic import op

revision = "c90d"
down_revision = "8a27"


def upgrade() -> None:
    op.add_column("book", sa.Column("pages", sa.Integer()))
""",
            ),
        ),
    ),
    Recipe(
        "django",
        "Django",
        _python,
        (
            Edit(
                "catalogue/migrations/0003_pages.py",
                """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("catalogue", "0002_first_authors")]

    operations = [migrations.RunSQL("ALTER TABLE catalogue_book ADD COLUMN pages integer")]
""",
            ),
        ),
        mistake=("catalogue_book", "nowhere"),
    ),
    Recipe(
        "sqlalchemy",
        "SQLAlchemy",
        _python,
        (
            Edit(
                "models.py",
                "(200), index=True)\n    pages: Mapped[int | None]",
                "(200), index=True)",
            ),
        ),
        mistake=('"author.id"', '"nowhere.id"'),
        broken="could not find table 'nowhere'",
    ),
    Recipe(
        "node-pg-migrate",
        "node-pg-migrate",
        _node,
        (
            Edit(
                "migrations/1743465600000_pages.js",
                "exports.up = (pgm) => pgm.addColumn('book', { pages: 'integer' });\n",
            ),
        ),
    ),
    Recipe(
        "knex",
        "Knex",
        _node,
        (
            Edit(
                "migrations/20250401000000_pages.js",
                """
exports.up = (knex) => knex.schema.alterTable('book', (table) => table.integer('pages'));
exports.down = (knex) => knex.schema.alterTable('book', (table) => table.dropColumn('pages'));
""",
            ),
        ),
    ),
    Recipe(
        "drizzle",
        "Drizzle",
        _node,
        (
            Edit(
                "drizzle/meta/_journal.json",
                """titles",
      "breakpoints": true
    },
    {
      "idx": 2,
      "version": "7",
      "when": 1743465600000,
      "tag": "0002_pages",
""",
                'titles",\n',
            ),
            Edit("drizzle/0002_pages.sql", 'ALTER TABLE "book" ADD COLUMN "pages" integer;\n'),
        ),
    ),
    Recipe(
        "dbmate",
        "dbmate",
        _node,
        (
            Edit(
                "db/migrations/20250401000000_pages.sql",
                "-- migrate:up\nALTER TABLE book ADD COLUMN pages integer;\n-- migrate:down\n",
            ),
        ),
    ),
    Recipe(
        "sqitch",
        "Sqitch",
        _sqitch,
        (
            Edit(
                "sqitch.plan",
                "# Index of titles\npages 2025-04-01T00:00:00Z Shop <shop@example.com> # Pages",
                "# Index of titles",
            ),
            Edit("deploy/pages.sql", "ALTER TABLE book ADD COLUMN pages integer;\n"),
        ),
    ),
    Recipe(
        "rails",
        "Rails",
        _rails,
        (
            Edit(
                "db/migrate/20250401000000_add_pages.rb",
                """
class AddPages < ActiveRecord::Migration[6.1]
  def change
    add_column :books, :pages, :integer
  end
end
""",
            ),
        ),
        mistake=(":books", ":nowhere"),
    ),
)
