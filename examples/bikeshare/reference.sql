-- Plans, stations and bikes: data that changes a few times a year.
BEGIN;

INSERT INTO bikeshare.plan (plan_id, name, monthly_fee, free_minutes, minute_price) VALUES
    (1, 'pay as you go',    0,  0, 15),
    (2, 'commuter',       900, 30,  8),
    (3, 'all you can ride', 2900, 120, 5);

\ir data/stations.sql

-- Three bikes in four docks; every fourth bike is electric.
INSERT INTO bikeshare.bike (model, electric, station_id, in_service)
SELECT CASE WHEN n % 4 = 0 THEN 'Volt 2' ELSE 'City 7' END,
       n % 4 = 0,
       station_id,
       date '2025-01-06' + (station_id * 11 + n * 17) % 400
FROM bikeshare.station, generate_series(1, docks * 3 / 4) AS n;

-- Some need repair, a few are gone for good: the trigger writes their history.
UPDATE bikeshare.bike SET status = 'repair' WHERE bike_id % 23 = 0;
UPDATE bikeshare.bike SET status = 'retired' WHERE bike_id % 115 = 0;

COMMIT;
