-- Deploy shop:index_of_titles to pg
-- requires: authors_and_books
CREATE INDEX book_title_idx ON book (title);
