-- Revert shop:authors_and_books from pg
DROP TABLE book;
DROP TABLE author;
