-- The bike share's schema: what there is, what must hold, what happens by itself.
-- \ir reads relative to this file, so it works from any directory.
\ir schema/types.sql
\ir schema/tables.sql
\ir schema/functions.sql
\ir schema/triggers.sql
