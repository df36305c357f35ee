-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY book_title_idx ON book (title);

-- migrate:down
DROP INDEX book_title_idx;
