"""index of titles"""

from alembic import op

revision = "8a27"
down_revision = "3f1c"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("book_title_idx"), "book", ["title"])


def downgrade() -> None:
    op.drop_index(op.f("book_title_idx"), table_name="book")
