-- Reports: where bikes accumulate, who rides most, revenue per month.
CREATE VIEW bikeshare.station_balance AS
SELECT s.name,
       s.docks,
       (SELECT count(*) FROM bikeshare.bike b WHERE b.station_id = s.station_id
            AND b.status = 'available') AS bikes,
       (SELECT count(*) FROM bikeshare.trip t WHERE t.to_station = s.station_id)
         - (SELECT count(*) FROM bikeshare.trip t WHERE t.from_station = s.station_id) AS drift
FROM bikeshare.station s;

CREATE VIEW bikeshare.rider_totals AS
SELECT r.rider_id, r.name, p.name AS plan,
       count(t.trip_id) AS trips,
       coalesce(sum(t.minutes), 0) AS minutes,
       coalesce(sum(t.fare), 0) AS paid
FROM bikeshare.rider r
JOIN bikeshare.plan p USING (plan_id)
LEFT JOIN bikeshare.trip t USING (rider_id)
GROUP BY r.rider_id, p.plan_id;

CREATE MATERIALIZED VIEW bikeshare.monthly_revenue AS
SELECT date_trunc('month', started_at AT TIME ZONE 'UTC')::date AS month,
       p.name AS plan,
       count(*) AS trips,
       sum(fare) AS fares
FROM bikeshare.trip
JOIN bikeshare.rider USING (rider_id)
JOIN bikeshare.plan p USING (plan_id)
GROUP BY 1, 2;

CREATE UNIQUE INDEX ON bikeshare.monthly_revenue (month, plan);
