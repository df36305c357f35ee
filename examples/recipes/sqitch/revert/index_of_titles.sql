-- Revert shop:index_of_titles from pg
DROP INDEX book_title_idx;
