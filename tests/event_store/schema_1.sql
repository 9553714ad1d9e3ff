-- The statements of schema number 1, for the tests of upgrades. Never change them.
-- The log's own part of the schema, laid over the table that the library's recorder made.
-- Every statement may be run again.

ALTER TABLE log.huajuan_events ADD COLUMN IF NOT EXISTS chain bytea NOT NULL;

-- Positions are given by log.append under its lock; without a default nothing can write around it.
ALTER TABLE log.huajuan_events ALTER COLUMN notification_id DROP DEFAULT;

CREATE OR REPLACE FUNCTION log.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is only ever added to';
END $$;

CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log.huajuan_events
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

-- One link of the chain. The topic's length keeps the border between topic and state fixed.
CREATE OR REPLACE FUNCTION log.link(previous bytea, stream uuid, version bigint, topic text, state bytea)
RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(previous || uuid_send(stream) || int8send(version)
                  || int4send(octet_length(topic)) || convert_to(topic, 'UTF8') || state)
$$;

-- The chain's links for rows that follow `head`. The array has its length from the start, for one that
-- grows is copied at each step.
CREATE OR REPLACE FUNCTION log.links(head bytea, streams uuid[], versions bigint[], topics text[], states bytea[])
RETURNS bytea[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    links bytea[] := array_fill(NULL::bytea, ARRAY[cardinality(streams)]);
BEGIN
    FOR i IN 1 .. cardinality(streams) LOOP
        head := sha256(head || uuid_send(streams[i]) || int8send(versions[i])
                       || int4send(octet_length(topics[i])) || convert_to(topics[i], 'UTF8') || states[i]);
        links[i] := head;
    END LOOP;
    RETURN links;
END $$;

-- What else a batch that landed brings about, in the same transaction. Of an erased person's key only a
-- tombstone is left, and every process hears whose tokens are dead and who is to be forgotten.
CREATE OR REPLACE FUNCTION log.follow(streams uuid[], topics text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF topics && ARRAY['account.password_changed', 'account.banned', 'account.erased'] THEN
        PERFORM pg_notify('huajuan_sessions', n.stream::text)
           FROM unnest(streams, topics) AS n(stream, topic)
          WHERE n.topic IN ('account.password_changed', 'account.banned', 'account.erased');
    END IF;
    IF 'account.avatar_changed' = ANY (topics) THEN
        -- One of them may be replaced now. Those that are not stated yet are looked at when they are due.
        UPDATE operations.uploaded_avatars a SET look_at = clock_timestamp()
          FROM unnest(streams, topics) AS n(stream, topic)
         WHERE n.topic = 'account.avatar_changed' AND a.account_id = n.stream
           AND (a.look_at IS NULL OR a.look_at < clock_timestamp());
    END IF;
    IF 'image.requested' = ANY (topics) THEN
        -- Its job was opened before; but that does not wait for the disk, and the server may have died since.
        INSERT INTO operations.job_leases (image_id, account_id, lapses_at, deadline, correlation_id)
        SELECT e.originator_id, (said ->> 'account_id')::uuid, clock_timestamp(), (said ->> 'deadline')::timestamptz,
               said ->> 'correlation_id'
          FROM unnest(streams, topics) AS n(stream, topic)
          JOIN log.huajuan_events e ON e.originator_id = n.stream AND e.topic = n.topic,
               LATERAL (SELECT convert_from(e.state, 'UTF8')::json AS said) AS state
         WHERE n.topic = 'image.requested'
           AND NOT EXISTS (SELECT FROM operations.job_leases l WHERE l.image_id = n.stream)
        ON CONFLICT DO NOTHING;
    END IF;
    IF 'account.erased' = ANY (topics) THEN
        UPDATE operations.personal_keys k SET key = NULL
          FROM unnest(streams, topics) AS n(stream, topic)
         WHERE n.topic = 'account.erased' AND k.subject_id = n.stream;
        DELETE FROM log.huajuan_snapshots s USING unnest(streams, topics) AS n(stream, topic)
         WHERE n.topic = 'account.erased' AND s.originator_id = n.stream;
        DELETE FROM operations.known_addresses a USING unnest(streams, topics) AS n(stream, topic)
         WHERE n.topic = 'account.erased' AND a.account_id = n.stream;
        PERFORM pg_notify('huajuan_erasures', n.stream::text)
           FROM unnest(streams, topics) AS n(stream, topic) WHERE n.topic = 'account.erased';
    END IF;
END $$;

-- Whether the version before each row is stored, or stands in the row before it: then no save leaves a gap. Planned once,
-- and a scalar subquery, so that each is one look into the primary key, whatever the planner believes of the table.
CREATE OR REPLACE FUNCTION log.follows_on(streams uuid[], versions bigint[]) RETURNS boolean
    LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN NOT EXISTS (
        SELECT FROM unnest(streams, versions) WITH ORDINALITY AS n(stream, version, i)
         WHERE n.version > 1 AND (n.stream = streams[n.i - 1] AND n.version = versions[n.i - 1] + 1) IS NOT TRUE
           AND (SELECT true FROM log.huajuan_events e
                 WHERE e.originator_id = n.stream AND e.originator_version = n.version - 1) IS NULL);
END $$;

-- The saves of a batch that must be refused, because their streams do not stand where they were decided. Asked
-- only where something is wrong, or not seen at a glance to be right. A row follows the last accepted row of its stream: the stored one, or one before it in the batch.
CREATE OR REPLACE FUNCTION log.refused_of(saves int[], streams uuid[], versions bigint[]) RETURNS int[]
    LANGUAGE plpgsql AS $$
DECLARE
    stored   bigint[];                                -- the stream's last stored version, of each row
    befores  int[];                                   -- the row before it of the same stream in the batch
    accepted bool[];
    lasts    bigint[];                                -- the stream's last version when the row's turn comes
    refused  int[] := '{}';
    known    int;
    b        int;
BEGIN
    SELECT array_agg(coalesce(e.originator_version, least(n.version, 1) - 1) ORDER BY n.i), array_agg(n.b ORDER BY n.i)
      INTO stored, befores
      FROM (SELECT u.*, lag(u.i) OVER (PARTITION BY u.stream ORDER BY u.i) AS b
              FROM unnest(streams, versions) WITH ORDINALITY AS u(stream, version, i)) n
      LEFT JOIN LATERAL (SELECT k.originator_version FROM log.huajuan_events k
                          WHERE k.originator_id = n.stream ORDER BY k.originator_version DESC LIMIT 1) e ON true;
    LOOP
        -- Again until nothing more is refused, for the rows of a save need not stand together.
        known := cardinality(refused);
        lasts := stored;
        accepted := array_fill(false, ARRAY[cardinality(saves)]);
        FOR i IN 1 .. cardinality(saves) LOOP
            b := befores[i];
            IF b IS NOT NULL THEN
                lasts[i] := CASE WHEN accepted[b] AND saves[b] <> ALL (refused) THEN versions[b] ELSE lasts[b] END;
            END IF;
            IF saves[i] = ANY (refused) THEN
                CONTINUE;
            ELSIF versions[i] = lasts[i] + 1 THEN
                accepted[i] := true;
            ELSE
                refused := refused || saves[i];
            END IF;
        END LOOP;
        EXIT WHEN cardinality(refused) = known;
    END LOOP;
    RETURN refused;
END $$;

-- Appends a batch of saves in one transaction. Row i belongs to save number saves[i]. A save is refused whole if one of
-- its versions is taken, or if the version before it is neither stored nor in an accepted save before it: a stream has
-- no gap, even where the database has lost what it had acknowledged. All others land, in order, at base + 1, base + 2, …
CREATE OR REPLACE FUNCTION log.append(saves int[], streams uuid[], versions bigint[], topics text[], states bytea[],
                                      OUT base bigint, OUT refused int[]) LANGUAGE plpgsql AS $$
DECLARE
    head bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(4712);
    SELECT notification_id, chain INTO base, head FROM log.huajuan_events ORDER BY notification_id DESC LIMIT 1;
    base := coalesce(base, 0);
    head := coalesce(head, '');
    NOTIFY huajuan_events;
    IF log.follows_on(streams, versions) THEN
        BEGIN
            INSERT INTO log.huajuan_events (originator_id, originator_version, topic, state, notification_id, chain)
            SELECT n.stream, n.version, n.topic, n.state, base + n.i, n.link
              FROM unnest(streams, versions, topics, states, log.links(head, streams, versions, topics, states))
                   WITH ORDINALITY AS n(stream, version, topic, state, link, i);
            PERFORM log.follow(streams, topics);
            RETURN;
        EXCEPTION WHEN unique_violation THEN NULL;
        END;
    END IF;
    refused := log.refused_of(saves, streams, versions);
    SELECT array_agg(n.stream ORDER BY n.i), array_agg(n.version ORDER BY n.i),
           array_agg(n.topic ORDER BY n.i), array_agg(n.state ORDER BY n.i)
      INTO streams, versions, topics, states
      FROM unnest(saves, streams, versions, topics, states)
           WITH ORDINALITY AS n(save, stream, version, topic, state, i)
     WHERE n.save <> ALL (refused);
    IF streams IS NOT NULL THEN
        INSERT INTO log.huajuan_events (originator_id, originator_version, topic, state, notification_id, chain)
        SELECT n.stream, n.version, n.topic, n.state, base + n.i, n.link
          FROM unnest(streams, versions, topics, states, log.links(head, streams, versions, topics, states))
               WITH ORDINALITY AS n(stream, version, topic, state, link, i);
        PERFORM log.follow(streams, topics);
    END IF;
END $$;

-- Auditors find what an account did, and who liked a picture, though it stands in streams of its own.
CREATE INDEX IF NOT EXISTS events_about_account ON log.huajuan_events
    (left(split_part(encode(state, 'escape'), '"account_id":"', 2), 36), notification_id)
    WHERE topic IN ('like.given', 'like.given_again', 'like.taken_back',
                    'favorite.added', 'favorite.added_again', 'favorite.removed',
                    'email_claim.claimed', 'email_claim.claimed_again');
CREATE INDEX IF NOT EXISTS likes_about_image ON log.huajuan_events
    (left(split_part(encode(state, 'escape'), '"image_id":"', 2), 36), notification_id)
    WHERE topic IN ('like.given', 'like.given_again', 'like.taken_back');

-- Every account that was ever made an admin, each once.
CREATE INDEX IF NOT EXISTS admins_granted ON log.huajuan_events (notification_id) WHERE topic = 'admin.granted';

-- What the service needs to run and no rebuild touches.

CREATE TABLE IF NOT EXISTS operations.installation (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    stream_key bytea       NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now(),
    schema     text        NOT NULL DEFAULT ''
);
-- The number of the schema, which only grows, and the lowest program number that may serve beside it.
ALTER TABLE operations.installation ADD COLUMN IF NOT EXISTS schema_number int NOT NULL DEFAULT 0;
ALTER TABLE operations.installation ADD COLUMN IF NOT EXISTS minimum_program int NOT NULL DEFAULT 0;
-- The name of the store that holds the pictures. It also stands in the store.
ALTER TABLE operations.installation ADD COLUMN IF NOT EXISTS picture_store uuid;

-- The servers that are alive. `secret` is a slow keyed hash; `settings` has a keyed hash of each setting that all must
-- agree on. A server's workers renew its row.
CREATE TABLE IF NOT EXISTS operations.servers (
    id         uuid PRIMARY KEY,
    name       text        NOT NULL,
    program    int         NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lapses_at  timestamptz NOT NULL,
    secret     bytea       NOT NULL,
    settings   jsonb       NOT NULL
);

-- A row without a key is the tombstone of an erased person and is never filled again.
CREATE TABLE IF NOT EXISTS operations.personal_keys (
    subject_id uuid PRIMARY KEY,
    key        bytea
);

CREATE TABLE IF NOT EXISTS operations.checkpoints (
    projection text COLLATE "C" PRIMARY KEY,
    position   bigint      NOT NULL DEFAULT 0,
    stopped_at bigint,
    stopped_by text,
    moved_at   timestamptz NOT NULL DEFAULT now()
);
-- Who moved it last, and how many events a second it has been folding, smoothed.
ALTER TABLE operations.checkpoints ADD COLUMN IF NOT EXISTS leader text;
ALTER TABLE operations.checkpoints ADD COLUMN IF NOT EXISTS rate float8 NOT NULL DEFAULT 0;

-- Drops a read table's version with its checkpoint, unless somebody has noted its use since; whether it did.
-- Who would use it notes that first and then looks whether it is there. Whoever still reads it is waited for briefly.
CREATE OR REPLACE FUNCTION operations.drop_version_unused(version text, hours float8) RETURNS boolean
    LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
BEGIN
    INSERT INTO operations.tables_in_use (schema, seen_at)
    SELECT c.projection, c.moved_at FROM operations.checkpoints c WHERE c.projection = version
    ON CONFLICT DO NOTHING;
    DELETE FROM operations.tables_in_use u
     WHERE u.schema = version AND u.seen_at < now() - make_interval(hours => 1) * hours;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM operations.checkpoints c WHERE c.projection = version;
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', version);
    RETURN true;
END $$;

CREATE TABLE IF NOT EXISTS operations.job_leases (
    image_id  uuid PRIMARY KEY,
    host      text        NOT NULL,
    holder    uuid        NOT NULL,
    fencing   bigint      NOT NULL DEFAULT 1,
    opened_at timestamptz NOT NULL DEFAULT now(),
    lapses_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS job_leases_lapsing ON operations.job_leases (lapses_at);

-- Workflows by the digest of their text, as the events name them. Whoever redraws a picture needs its workflow.
CREATE TABLE IF NOT EXISTS operations.workflows (
    digest   text COLLATE "C" PRIMARY KEY CHECK (digest = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
    document text        NOT NULL,
    kept_at  timestamptz NOT NULL DEFAULT now()
);

-- Deleted pictures whose files go when they can no longer be restored.
CREATE TABLE IF NOT EXISTS operations.deleted_pictures (
    image_id uuid PRIMARY KEY,
    sweep_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS deleted_pictures_due ON operations.deleted_pictures (sweep_at);

-- Erased people of whom something may still be shown or stored.
CREATE TABLE IF NOT EXISTS operations.erasures (
    account_id uuid PRIMARY KEY,
    asked_at   timestamptz NOT NULL DEFAULT now()
);

-- Whose the uploaded avatars are, so that they go with the person.
CREATE TABLE IF NOT EXISTS operations.uploaded_avatars (
    avatar_id  uuid PRIMARY KEY,
    account_id uuid NOT NULL
);
CREATE INDEX IF NOT EXISTS uploaded_avatars_of ON operations.uploaded_avatars (account_id);
-- When to look whether it still is the person's avatar, else its file goes; null while it is known to be.
ALTER TABLE operations.uploaded_avatars ADD COLUMN IF NOT EXISTS look_at timestamptz
    DEFAULT now() + interval '1 hour';
CREATE INDEX IF NOT EXISTS uploaded_avatars_due ON operations.uploaded_avatars (look_at) WHERE look_at IS NOT NULL;

-- The note that each rebuild of read tables keeps of itself.
CREATE TABLE IF NOT EXISTS operations.rebuilds (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    projections       text[]      NOT NULL,
    started_at        timestamptz NOT NULL DEFAULT now(),
    moved_at          timestamptz NOT NULL DEFAULT now(),
    ended_at          timestamptz,
    position          bigint      NOT NULL DEFAULT 0,
    head              bigint      NOT NULL DEFAULT 0,
    events_per_second float8      NOT NULL DEFAULT 0,
    outcome           text,
    differences       jsonb
);
-- The position at which an admin's request for it is on record: it is begun once.
ALTER TABLE operations.rebuilds ADD COLUMN IF NOT EXISTS asked bigint;

-- Which versions of the read tables some process still serves from.
CREATE TABLE IF NOT EXISTS operations.tables_in_use (
    schema  text COLLATE "C" PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

-- One row that is updated when nothing else was written for a while, to learn whether writes succeed.
CREATE TABLE IF NOT EXISTS operations.write_probe (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    written_at timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS operations.revoked_tokens (
    token      text COLLATE "C" PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- Requests that were sent with a key, for a day: which body came with it, who runs it, and the reply, sealed.
-- Facts that the command leads to come after `since` and carry its id, so that a second run finds them.
CREATE TABLE IF NOT EXISTS operations.idempotency (
    id         bytea PRIMARY KEY,
    account_id uuid,
    digest     bytea       NOT NULL,
    command    uuid        NOT NULL,
    since      bigint      NOT NULL,
    run        uuid        NOT NULL,
    lapses_at  timestamptz NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    reply      bytea
);
CREATE INDEX IF NOT EXISTS idempotency_of ON operations.idempotency (account_id);
CREATE INDEX IF NOT EXISTS idempotency_ageing ON operations.idempotency (claimed_at);

-- Single characters and pairs of neighbours: what a substring of any length, in any script, must have.
CREATE OR REPLACE FUNCTION operations.grams(words text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    grams   text[] := coalesce(string_to_array(words, NULL), '{}');
    letters int    := cardinality(grams);
BEGIN
    FOR i IN 1 .. letters - 1 LOOP
        grams[letters + i] := grams[i] || grams[i + 1];
    END LOOP;
    RETURN grams;
END $$;

-- Who alone may change the read tables, until when, and so remember what it read from them. `shared_until` keeps
-- everybody from it: a rebuild is about to change them.
CREATE TABLE IF NOT EXISTS operations.tenancy (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch        bigint      NOT NULL DEFAULT 0,
    tag          text        NOT NULL DEFAULT '',
    until        timestamptz NOT NULL DEFAULT '-infinity',
    shared_until timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO operations.tenancy DEFAULT VALUES ON CONFLICT DO NOTHING;

-- The number of the tenancy, which is another one after a gap; 0 if it is not to be had, because another server serves.
-- Under the lock nobody folds who has not seen who has it.
-- Those who fold wait behind whoever waits for the lock, so that is not for long.
CREATE OR REPLACE FUNCTION operations.take_tenancy(asking text, seconds float8) RETURNS bigint
    LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
    number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(4721);
    IF EXISTS (SELECT FROM pg_stat_activity a
                WHERE a.datname = current_database() AND a.application_name LIKE 'huajuan serves %'
                  AND split_part(a.application_name, ' ', 3) <> asking) THEN
        RETURN 0;
    END IF;
    UPDATE operations.tenancy t
       SET epoch = t.epoch + (CASE WHEN t.tag = asking AND t.until > clock_timestamp() THEN 0 ELSE 1 END),
           tag = asking, until = clock_timestamp() + make_interval(secs => seconds)
     WHERE t.shared_until < clock_timestamp() AND (t.tag = asking OR t.until < clock_timestamp())
    RETURNING t.epoch INTO number;
    RETURN coalesce(number, 0);
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;

-- Whether the tables may be changed now. Nobody takes a tenancy before the transaction ends.
CREATE OR REPLACE FUNCTION operations.fold_beside(folding text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4721);
    RETURN NOT EXISTS (SELECT FROM operations.tenancy t WHERE t.tag <> folding AND t.until > clock_timestamp());
END $$;
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
-- Rate limits: attempts by a keyed hash of the account's name or of the client's address.

-- A row is an attempt under way, which holds its place until its lease ends, or one that counts until it leaves the
-- window. A statement that is sent again finds the row of its own attempt.
CREATE TABLE IF NOT EXISTS operations.counted_attempts (
    subject    bytea       NOT NULL,
    attempt    uuid        NOT NULL,
    is_counted boolean     NOT NULL DEFAULT false,
    ends_at    timestamptz NOT NULL,
    PRIMARY KEY (subject, attempt)
);

-- Addresses that somebody has logged in to the account from, as keyed hashes.
CREATE TABLE IF NOT EXISTS operations.known_addresses (
    account_id uuid        NOT NULL,
    address    bytea       NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, address)
);

-- Admits an attempt if each subject has fewer attempts, counted or under way, than its maximum. Else `locked_seconds`
-- is when enough of the counted ones have left the window, or 0 where only attempts under way are in the way.
-- The locks make the look and the insertion one step, in the same order for everybody.
CREATE OR REPLACE FUNCTION operations.begin_attempt(
    this uuid, subjects bytea[], maxima int[], lease_seconds float8,
    OUT is_admitted boolean, OUT locked_seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    key int;
BEGIN
    FOR key IN SELECT DISTINCT ('x' || encode(substr(s, 1, 4), 'hex'))::bit(32)::int
                 FROM unnest(subjects) AS s ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(4730, key);
    END LOOP;
    SELECT bool_and(taken.places < s.maximum),
           coalesce(max(extract(epoch FROM taken.ends[cardinality(taken.ends) - s.maximum + 1] - clock_timestamp())), 0)
      INTO is_admitted, locked_seconds
      FROM unnest(subjects, maxima) AS s(subject, maximum),
           LATERAL (SELECT count(*) AS places,
                           array_agg(a.ends_at ORDER BY a.ends_at) FILTER (WHERE a.is_counted) AS ends
                      FROM operations.counted_attempts a
                     WHERE a.subject = s.subject AND a.attempt <> this AND a.ends_at > clock_timestamp()) AS taken;
    IF is_admitted THEN
        INSERT INTO operations.counted_attempts (subject, attempt, ends_at)
        SELECT s, this, clock_timestamp() + make_interval(secs => lease_seconds) FROM unnest(subjects) AS s
        ON CONFLICT (subject, attempt) DO UPDATE SET ends_at = greatest(counted_attempts.ends_at, EXCLUDED.ends_at);
    END IF;
END $$;

-- Remembers the newest addresses of an account. The lock on its key keeps an erasure from missing the new row.
CREATE OR REPLACE FUNCTION operations.know_address(account uuid, known bytea, most int, days float8)
    RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM operations.personal_keys k WHERE k.subject_id = account AND k.key IS NOT NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO operations.known_addresses (account_id, address) VALUES (account, known)
    ON CONFLICT (account_id, address) DO UPDATE SET seen_at = now();
    DELETE FROM operations.known_addresses a
     WHERE a.account_id = account
       AND (a.seen_at < now() - make_interval(hours => 24) * days
            OR a.address IN (SELECT o.address FROM operations.known_addresses o WHERE o.account_id = account
                              ORDER BY o.seen_at DESC, o.address OFFSET most));
END $$;
