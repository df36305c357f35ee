-- The schema of the bike share: types, tables, functions and triggers.
-- \ir reads relative to this file, so it works from any directory.
\ir schema/types.sql
\ir schema/tables.sql
\ir schema/functions.sql
\ir schema/triggers.sql
