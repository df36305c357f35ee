CREATE SCHEMA bikeshare;
ALTER DATABASE :"DBNAME" SET search_path = bikeshare, public;
SET search_path = bikeshare, public;

CREATE TYPE bike_status AS ENUM ('available', 'riding', 'repair', 'retired');

CREATE DOMAIN cents AS integer CHECK (VALUE >= 0);
CREATE DOMAIN email AS text CHECK (VALUE ~ '^[^@\s]+@[^@\s]+\.[^@\s]+$');
