-- What a ride costs: the minutes beyond the plan's free ones, half more on an electric bike.
CREATE FUNCTION fare(of_plan plan, minutes integer, electric boolean) RETURNS cents
LANGUAGE sql IMMUTABLE
AS $$
    SELECT ceil(
        greatest(minutes - of_plan.free_minutes, 0) * of_plan.minute_price
        * CASE WHEN electric THEN 1.5 ELSE 1 END
    )::integer
$$;

-- Great-circle distance in metres.
CREATE FUNCTION distance(lat1 numeric, lon1 numeric, lat2 numeric, lon2 numeric)
RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT
AS $$
    SELECT 2 * 6371000 * asin(sqrt(
        power(sind((lat2 - lat1)::float8 / 2), 2)
        + cosd(lat1::float8) * cosd(lat2::float8) * power(sind((lon2 - lon1)::float8 / 2), 2)
    ))
$$;

CREATE FUNCTION nearest_stations(lat numeric, lon numeric, how_many integer DEFAULT 3)
RETURNS TABLE (name text, metres integer, bikes bigint)
LANGUAGE sql STABLE
AS $$
    SELECT s.name,
           round(bikeshare.distance(lat, lon, s.latitude, s.longitude))::integer AS metres,
           (SELECT count(*) FROM bikeshare.bike b
            WHERE b.station_id = s.station_id AND b.status = 'available')
    FROM bikeshare.station s
    ORDER BY metres
    LIMIT how_many
$$;
