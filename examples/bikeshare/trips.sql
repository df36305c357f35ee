-- Riders and their rides, generated: always the same ones for the same variables.
--   -v riders=500 -v trips=4000   (these are the defaults)
\if :{?riders}
\else
    \set riders 500
\endif
\if :{?trips}
\else
    \set trips 4000
\endif

DO $$ BEGIN PERFORM setseed(0.2026); END $$;

\ir data/riders.sql
\ir data/trips.sql

ANALYZE;
