import os

from alembic import context
from models import Base
from sqlalchemy import create_engine


def url() -> str:
    """Return the URL of the database; SQLAlchemy wants the scheme in full and the driver in it."""
    _, rest = os.environ["DATABASE_URL"].split("://", 1)
    return f"postgresql+psycopg://{rest}"


engine = create_engine(url())
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
