-- The queue of drawing jobs. The row of a job is inserted before the event of its request and deleted after the event of
-- its end. The process that runs the job renews its lease. Only a claim beside other servers waits for the disk: each
-- other change is on disk no later than the event that follows it, and after a crash it is only repeated.

ALTER TABLE operations.job_leases ALTER COLUMN server DROP NOT NULL;
ALTER TABLE operations.job_leases ALTER COLUMN holder DROP NOT NULL;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS account_id uuid;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS deadline timestamptz;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS correlation_id text;
-- The inference server that had the job before, and until when it is not to get it again.
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS avoid text;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS avoid_until timestamptz;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS progress float8 NOT NULL DEFAULT 0;
-- The digest of the job's workflow, NULL where log.after_append has inserted the row.
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS workflow text;
-- The servers that refused the job or would fail again; the servers that failed, one entry a try; and the time.
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS excluded text[] NOT NULL DEFAULT '{}';
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS failed text[] NOT NULL DEFAULT '{}';
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS failed_at timestamptz;
-- One sequence numbers arrivals and starts, so that they can be compared.
CREATE SEQUENCE IF NOT EXISTS operations.queue_turn;
ALTER TABLE operations.job_leases ADD COLUMN IF NOT EXISTS turn bigint NOT NULL DEFAULT nextval('operations.queue_turn');
CREATE TABLE IF NOT EXISTS operations.queue_turns (
    account_id uuid PRIMARY KEY,
    turn       bigint NOT NULL
);

-- Inserts a job. Returns 'open', or the reason for not doing so: 'enough' jobs of this account, or a 'full' queue.
CREATE OR REPLACE FUNCTION operations.open_job(image uuid, owner uuid, opener uuid, seconds float8, due timestamptz,
                                               request text, own_max int, all_max int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    own_jobs int;
    all_jobs int;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(4714);
    SELECT count(*) FILTER (WHERE l.account_id = owner), count(*) INTO own_jobs, all_jobs
      FROM operations.job_leases l WHERE l.image_id <> image;
    IF own_jobs >= own_max OR all_jobs >= all_max THEN
        RETURN CASE WHEN own_jobs >= own_max THEN 'enough' ELSE 'full' END;
    END IF;
    INSERT INTO operations.job_leases (image_id, account_id, holder, expires_at, deadline, correlation_id)
    VALUES (image, owner, opener, clock_timestamp() + make_interval(secs => seconds), due, request) ON CONFLICT DO NOTHING;
    RETURN 'open';
END $$;

-- The waiting jobs in fair order. Jobs that were started before come first, then the account whose last start is the
-- longest ago. So between two starts of one account each other account gets at most one start.
CREATE OR REPLACE VIEW operations.queue AS
SELECT image_id, account_id, fencing, avoid, avoid_until,
       row_number() OVER (ORDER BY fencing = 1, round, first_turn, turn) AS queue_position
  FROM (SELECT w.*, min(greatest(w.turn, t.turn)) OVER (PARTITION BY w.account_id) AS first_turn,
               row_number() OVER (PARTITION BY w.account_id ORDER BY w.fencing = 1, w.turn) AS round
          FROM operations.job_leases w LEFT JOIN operations.queue_turns t USING (account_id)
         WHERE w.expires_at <= clock_timestamp()) waiting;

-- The rank of an inference server for a job, the lower the better: 0 suitable, 1 the server lacks something that the
-- workflow needs, 2 it failed in this job, 3 it is excluded. `lacking` are the servers that lack something.
CREATE OR REPLACE FUNCTION operations.server_rank(server text, excluded text[], failed text[], lacking text[],
                                               is_checked boolean) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN server = ANY (excluded) THEN 3 WHEN server = ANY (failed) THEN 2
                WHEN is_checked AND server = ANY (lacking) THEN 1 ELSE 0 END
$$;

-- Claims the next job for an inference server, if the server may have one more and no other reachable server ranks
-- better for the job. `lacking` are the servers that lack something that the workflow `checked` needs.
CREATE OR REPLACE FUNCTION operations.claim_job(claiming_server text, claimer uuid, seconds float8, most int,
                                                others text[], lacking text[], checked text)
    RETURNS TABLE (image_id uuid, fencing bigint, age_seconds float8, correlation_id text, account_id uuid,
                   excluded text[], failed text[], failed_seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    next record;
BEGIN
    -- Where the queue has several inference servers, the claim must survive a crash: its fencing number tells the next
    -- holder that a server may have the job.
    IF cardinality(others) = 0 THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    PERFORM pg_advisory_xact_lock(4714);
    IF (SELECT count(*) FROM operations.job_leases l WHERE l.server = claiming_server AND l.expires_at > clock_timestamp()) >= most THEN
        RETURN;
    END IF;
    FOR next IN SELECT q.image_id, j.excluded, j.failed, coalesce(j.workflow = checked, false) AS is_checked
                  FROM operations.queue q JOIN operations.job_leases j USING (image_id)
                 WHERE q.avoid IS DISTINCT FROM claiming_server OR q.avoid_until <= clock_timestamp()
                 ORDER BY q.queue_position LOOP
        CONTINUE WHEN operations.server_rank(claiming_server, next.excluded, next.failed, lacking, next.is_checked) > (
            SELECT coalesce(min(operations.server_rank(o, next.excluded, next.failed, lacking, next.is_checked)), 3)
              FROM unnest(others) o);
        PERFORM FROM operations.job_leases l
          WHERE l.image_id = next.image_id AND l.expires_at <= clock_timestamp() FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        RETURN QUERY
        UPDATE operations.job_leases l
           SET holder = claimer, server = claiming_server, fencing = l.fencing + 1, progress = 0,
               expires_at = clock_timestamp() + make_interval(secs => seconds)
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
