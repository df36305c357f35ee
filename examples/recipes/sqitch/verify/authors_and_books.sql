-- Verify shop:authors_and_books on pg
SELECT id, title, author_id FROM book WHERE false;
SELECT id, name FROM author WHERE false;
