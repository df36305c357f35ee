-- Every bike rides on from where and when its last ride ended, so rides of one bike
-- can't overlap and the constraint on `trip` holds by construction.
WITH rolls AS MATERIALIZED (
    SELECT n,
           random() AS who, random() AS whither,
           5 + floor(random() * random() * 90)::integer AS minutes,
           60 + floor(random() * 9000)::integer AS pause
    FROM generate_series(1, :trips) AS n
),
fleet AS MATERIALIZED (
    SELECT bike_id, station_id, row_number() OVER (ORDER BY bike_id) - 1 AS place,
           count(*) OVER () AS size
    FROM bikeshare.bike
    WHERE status = 'available'
),
rides AS (
    SELECT f.bike_id, f.station_id, r.*,
           1 + floor(r.whither * (SELECT count(*) FROM bikeshare.station))::integer AS to_station,
           sum(r.pause + r.minutes) OVER ride_so_far - r.minutes AS starts_after
    FROM rolls r JOIN fleet f ON f.place = r.n % f.size
    WINDOW ride_so_far AS (PARTITION BY f.bike_id ORDER BY r.n)
)
INSERT INTO bikeshare.trip (bike_id, rider_id, from_station, to_station, started_at, ended_at)
SELECT bike_id,
       1 + floor(who * :riders)::integer,
       coalesce(lag(to_station) OVER (PARTITION BY bike_id ORDER BY n), station_id),
       to_station,
       timestamptz '2026-05-01 05:00:00+00' + starts_after * interval '1 minute',
       timestamptz '2026-05-01 05:00:00+00' + (starts_after + minutes) * interval '1 minute'
FROM rides
ORDER BY starts_after, bike_id;

-- The bikes now stand where their last ride ended.
UPDATE bikeshare.bike b
SET station_id = last.to_station
FROM (SELECT DISTINCT ON (bike_id) bike_id, to_station
      FROM bikeshare.trip ORDER BY bike_id, started_at DESC) AS last
WHERE last.bike_id = b.bike_id;
