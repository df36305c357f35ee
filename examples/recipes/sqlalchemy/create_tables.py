import os

from models import Author, Base, Book
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"])

Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add(Author(name="Olga Tokarczuk", books=[Book(title="Flights")]))
    session.commit()
