"""authors and books"""

import sqlalchemy as sa
from alembic import op

revision = "3f1c"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    author = op.create_table(
        "author",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("author_pkey")),
        sa.UniqueConstraint("name", name=op.f("author_name_key")),
    )
    op.create_table(
        "book",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("author_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["author.id"], name=op.f("book_author_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("book_pkey")),
    )
    op.bulk_insert(author, [{"name": "Olga Tokarczuk"}, {"name": "Bolesław Prus"}])


def downgrade() -> None:
    op.drop_table("book")
    op.drop_table("author")
