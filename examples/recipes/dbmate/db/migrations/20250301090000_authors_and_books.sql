-- migrate:up
CREATE TABLE author (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);
CREATE TABLE book (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title text NOT NULL,
    author_id integer NOT NULL REFERENCES author
);
INSERT INTO author (name) VALUES ('Olga Tokarczuk'), ('Bolesław Prus');

-- migrate:down
DROP TABLE book;
DROP TABLE author;
