import os

from models import Author, Base, Book
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

_, address = os.environ["DATABASE_URL"].split("://", 1)
engine = create_engine(f"postgresql+psycopg://{address}")

Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add(Author(name="Olga Tokarczuk", books=[Book(title="Flights")]))
    session.commit()
