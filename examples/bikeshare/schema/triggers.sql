CREATE FUNCTION set_fare() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    its_plan bikeshare.plan;
    its_bike bikeshare.bike;
BEGIN
    SELECT p.* INTO STRICT its_plan
    FROM bikeshare.rider r JOIN bikeshare.plan p USING (plan_id)
    WHERE r.rider_id = NEW.rider_id;

    SELECT * INTO STRICT its_bike FROM bikeshare.bike WHERE bike_id = NEW.bike_id;
    IF its_bike.status = 'retired' THEN
        RAISE EXCEPTION 'bike % is retired', NEW.bike_id USING ERRCODE = 'check_violation';
    END IF;

    NEW.fare := bikeshare.fare(
        its_plan,
        ceil(extract(epoch FROM NEW.ended_at - NEW.started_at) / 60)::integer,
        its_bike.electric
    );
    RETURN NEW;
END
$$;

CREATE TRIGGER set_fare BEFORE INSERT OR UPDATE OF rider_id, bike_id, started_at, ended_at ON trip
    FOR EACH ROW EXECUTE FUNCTION set_fare();

CREATE FUNCTION record_status() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO bikeshare.bike_history (bike_id, seq, before, after)
    SELECT NEW.bike_id, coalesce(max(seq), 0) + 1, OLD.status, NEW.status
    FROM bikeshare.bike_history
    WHERE bike_id = NEW.bike_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER record_status AFTER UPDATE OF status ON bike
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION record_status();
