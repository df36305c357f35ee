-- Verify shop:index_of_titles on pg
SELECT 'book_title_idx'::regclass;
