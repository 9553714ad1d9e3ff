-- The queue to the painters. A job's row comes before its request is on record and goes after its end is; whoever has
-- it in hand renews its lease. Nothing here waits for the disk but a claim beside other servers: each other change is on
-- disk no later than the fact that follows it in the log, and one that a crash takes back is only done again.

ALTER TABLE operations.job_leases ALTER COLUMN host DROP NOT NULL;
ALTER TABLE operations.job_leases ALTER COLUMN holder DROP NOT NULL;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS account_id uuid;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS deadline timestamptz;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS correlation_id text;
-- The host that had it before, and until when no other is to be preferred to it.
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS avoid text;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS avoid_until timestamptz;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS progress float8 NOT NULL DEFAULT 0;
-- The digest of the job's workflow, unknown where its request was put on record by an older program.
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS workflow text;
-- The servers that refused the job or would fail in it again, and all that failed in it, each try apart, and when.
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS excluded text[] NOT NULL DEFAULT '{}';
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS failed text[] NOT NULL DEFAULT '{}';
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS failed_at timestamptz;
-- Arrivals and starts are numbered by one sequence, so that they can be compared.
CREATE SEQUENCE IF NOT EXISTS operations.queue_turn;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS turn bigint NOT NULL DEFAULT nextval('operations.queue_turn');
CREATE TABLE IF NOT EXISTS operations.queue_turns (
    account_id uuid PRIMARY KEY,
    turn       bigint NOT NULL
);

-- 'open', or why not: 'enough' for this account, 'full' for everybody.
CREATE OR REPLACE FUNCTION operations.open_job(image uuid, owner uuid, by uuid, seconds float8, until timestamptz,
                                               request text, own_max int, all_max int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    own  int;
    them int;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(4714);
    SELECT count(*) FILTER (WHERE l.account_id = owner), count(*) INTO own, them
      FROM operations.job_leases l WHERE l.image_id <> image;
    IF own >= own_max OR them >= all_max THEN
        RETURN CASE WHEN own >= own_max THEN 'enough' ELSE 'full' END;
    END IF;
    INSERT INTO operations.job_leases (image_id, account_id, holder, lapses_at, deadline, correlation_id)
    VALUES (image, owner, by, clock_timestamp() + make_interval(secs => seconds), until, request) ON CONFLICT DO NOTHING;
    RETURN 'open';
END $$;

-- Who waits to be drawn, in turn. Jobs that were begun before come first; then it is the turn of the account that has
-- gone without a start for longest. So between two starts of one account every other gets at most one.
CREATE OR REPLACE VIEW operations.queue AS
SELECT image_id, account_id, fencing, avoid, avoid_until,
       row_number() OVER (ORDER BY fencing = 1, round, first_turn, turn) AS place
  FROM (SELECT w.*, min(greatest(w.turn, t.turn)) OVER (PARTITION BY w.account_id) AS first_turn,
               row_number() OVER (PARTITION BY w.account_id ORDER BY w.fencing = 1, w.turn) AS round
          FROM operations.job_leases w LEFT JOIN operations.queue_turns t USING (account_id)
         WHERE w.lapses_at <= clock_timestamp()) waiting;

-- How badly a server suits a job: 0 well, 1 it lacks what the job's workflow needs, 2 it failed in the job, 3 it is
-- excluded. `lacking` are the servers that lack something that the workflow `checked` needs.
CREATE OR REPLACE FUNCTION operations.unsuited(server text, excluded text[], failed text[], lacking text[],
                                               is_checked boolean) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN server = ANY (excluded) THEN 3 WHEN server = ANY (failed) THEN 2
                WHEN is_checked AND server = ANY (lacking) THEN 1 ELSE 0 END
$$;

-- The next job for a host, if it may have one more and no other server that answers suits the job better.
-- An older program calls the function of this name with four arguments.
CREATE OR REPLACE FUNCTION operations.claim_job(place text, by uuid, seconds float8, most int, others text[],
                                                lacking text[], checked text)
    RETURNS TABLE (image_id uuid, fencing bigint, age_seconds float8, correlation_id text, account_id uuid,
                   excluded text[], failed text[], failed_seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    next record;
BEGIN
    -- Beside other servers the claim must outlive a crash: by its number the next holder knows that one may have the job.
    IF cardinality(others) = 0 THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    PERFORM pg_advisory_xact_lock(4714);
    IF (SELECT count(*) FROM operations.job_leases l WHERE l.host = place AND l.lapses_at > clock_timestamp()) >= most THEN
        RETURN;
    END IF;
    FOR next IN SELECT q.image_id, j.excluded, j.failed, coalesce(j.workflow = checked, false) AS is_checked
                  FROM operations.queue q JOIN operations.job_leases j USING (image_id)
                 WHERE q.avoid IS DISTINCT FROM claim_job.place OR q.avoid_until <= clock_timestamp() ORDER BY q.place LOOP
        CONTINUE WHEN operations.unsuited(place, next.excluded, next.failed, lacking, next.is_checked) > (
            SELECT coalesce(min(operations.unsuited(o, next.excluded, next.failed, lacking, next.is_checked)), 3)
              FROM unnest(others) o);
        PERFORM FROM operations.job_leases l
          WHERE l.image_id = next.image_id AND l.lapses_at <= clock_timestamp() FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        RETURN QUERY
        UPDATE operations.job_leases l
           SET holder = by, host = place, fencing = l.fencing + 1, progress = 0,
               lapses_at = clock_timestamp() + make_interval(secs => seconds)
         WHERE l.image_id = next.image_id
        RETURNING l.image_id, l.fencing, extract(epoch FROM clock_timestamp() - l.opened_at)::float8, l.correlation_id,
                  l.account_id, l.excluded, l.failed, extract(epoch FROM clock_timestamp() - l.failed_at)::float8;
        INSERT INTO operations.queue_turns AS t (account_id, turn)
        SELECT l.account_id, nextval('operations.queue_turn') FROM operations.job_leases l
         WHERE l.image_id = next.image_id AND l.fencing = 2 AND l.account_id IS NOT NULL
        ON CONFLICT ON CONSTRAINT queue_turns_pkey DO UPDATE SET turn = EXCLUDED.turn;
        RETURN;
    END LOOP;
END $$;
