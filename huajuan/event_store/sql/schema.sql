-- The schema of the log and of the operations. The library's recorder has created the table of the events before.
-- Every statement may be executed again.

ALTER TABLE log.huajuan_events ADD COLUMN IF NOT EXISTS chain bytea NOT NULL;

-- log.append assigns the positions under its lock. Without a default no other statement can insert.
ALTER TABLE log.huajuan_events ALTER COLUMN notification_id DROP DEFAULT;

CREATE OR REPLACE FUNCTION log.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only';
END $$;

CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log.huajuan_events
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

-- One link of the hash chain. The length of the topic fixes the border between topic and state.
CREATE OR REPLACE FUNCTION log.link(previous bytea, stream uuid, version bigint, topic text, state bytea)
RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(previous || uuid_send(stream) || int8send(version)
                  || int4send(octet_length(topic)) || convert_to(topic, 'UTF8') || state)
$$;

-- The chain links of rows that follow `head`. The array is allocated at once: one that grows is copied at each step.
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

-- The side effects of an appended batch, in the same transaction. An erasure deletes the key of the account; its row
-- stays. Notifications let every process drop cached tokens and data of erased accounts.
CREATE OR REPLACE FUNCTION log.after_append(streams uuid[], topics text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF topics && ARRAY['account.password_changed', 'account.banned', 'account.erased'] THEN
        PERFORM pg_notify('huajuan_sessions', n.stream::text)
           FROM unnest(streams, topics) AS n(stream, topic)
          WHERE n.topic IN ('account.password_changed', 'account.banned', 'account.erased');
    END IF;
    IF 'account.avatar_changed' = ANY (topics) THEN
        -- The account's other avatars may be unused now. One that no event has yet is checked when it is due.
        UPDATE operations.uploaded_avatars a SET check_at = clock_timestamp()
          FROM unnest(streams, topics) AS n(stream, topic)
         WHERE n.topic = 'account.avatar_changed' AND a.account_id = n.stream
           AND (a.check_at IS NULL OR a.check_at < clock_timestamp());
    END IF;
    IF 'image.requested' = ANY (topics) THEN
        -- The row of the job exists already, unless the server crashed: its insertion did not wait for the disk.
        INSERT INTO operations.job_leases (image_id, account_id, expires_at, deadline, correlation_id)
        SELECT e.originator_id, (fields ->> 'account_id')::uuid, clock_timestamp(), (fields ->> 'deadline')::timestamptz,
               fields ->> 'correlation_id'
          FROM unnest(streams, topics) AS n(stream, topic)
          JOIN log.huajuan_events e ON e.originator_id = n.stream AND e.topic = n.topic,
               LATERAL (SELECT convert_from(e.state, 'UTF8')::json AS fields) AS state
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

-- The saves of a batch that conflict with the log, because their streams have another version by now. A row must follow
-- the last accepted row of its stream: the stored one, or one before it in the batch. Only called where the fast path of
-- log.append fails.
CREATE OR REPLACE FUNCTION log.refused_saves(saves int[], streams uuid[], versions bigint[]) RETURNS int[]
    LANGUAGE plpgsql AS $$
DECLARE
    stored   bigint[];                                -- the stream's last stored version, of each row
    before   int[];                                   -- the previous row of the same stream in the batch
    accepted bool[];
    last     bigint[];                                -- the stream's last version before the row
    refused  int[] := '{}';
    n_before int;
    b        int;
BEGIN
    SELECT array_agg(coalesce(e.originator_version, least(n.version, 1) - 1) ORDER BY n.i), array_agg(n.b ORDER BY n.i)
      INTO stored, before
      FROM (SELECT u.*, lag(u.i) OVER (PARTITION BY u.stream ORDER BY u.i) AS b
              FROM unnest(streams, versions) WITH ORDINALITY AS u(stream, version, i)) n
      LEFT JOIN LATERAL (SELECT k.originator_version FROM log.huajuan_events k
                          WHERE k.originator_id = n.stream ORDER BY k.originator_version DESC LIMIT 1) e ON true;
    LOOP
        -- Repeated until no further save is refused, because the rows of a save need not be adjacent.
        n_before := cardinality(refused);
        last := stored;
        accepted := array_fill(false, ARRAY[cardinality(saves)]);
        FOR i IN 1 .. cardinality(saves) LOOP
            b := before[i];
            IF b IS NOT NULL THEN
                last[i] := CASE WHEN accepted[b] AND saves[b] <> ALL (refused) THEN versions[b] ELSE last[b] END;
            END IF;
            IF saves[i] = ANY (refused) THEN
                CONTINUE;
            ELSIF versions[i] = last[i] + 1 THEN
                accepted[i] := true;
            ELSE
                refused := refused || saves[i];
            END IF;
        END LOOP;
        EXIT WHEN cardinality(refused) = n_before;
    END LOOP;
    RETURN refused;
END $$;

-- Appends a batch of saves in one transaction. Row i belongs to save number saves[i]. A save is refused as a whole if one
-- of its versions exists, or if the version before it neither exists nor is in an accepted save before it. So a stream
-- has no gap, even where the database has lost events. All others are appended in order at base + 1, base + 2, …
CREATE OR REPLACE FUNCTION log.append(saves int[], streams uuid[], versions bigint[], topics text[], states bytea[],
                                      OUT base bigint, OUT refused int[]) LANGUAGE plpgsql AS $$
DECLARE
    head     bytea;
    inserted int;
BEGIN
    PERFORM pg_advisory_xact_lock(4712);
    SELECT notification_id, chain INTO base, head FROM log.huajuan_events ORDER BY notification_id DESC LIMIT 1;
    base := coalesce(base, 0);
    head := coalesce(head, '');
    NOTIFY huajuan_events;
    -- The fast path: each row's previous version is the row before it, or exists. The scalar subquery is one probe of the
    -- primary key, whatever the statistics of the table are.
    BEGIN
        INSERT INTO log.huajuan_events (originator_id, originator_version, topic, state, notification_id, chain)
        SELECT n.stream, n.version, n.topic, n.state, base + n.i, n.link
          FROM unnest(streams, versions, topics, states, log.links(head, streams, versions, topics, states))
               WITH ORDINALITY AS n(stream, version, topic, state, link, i)
         WHERE n.version <= 1 OR (n.stream = streams[n.i - 1] AND n.version = versions[n.i - 1] + 1) IS TRUE
               OR (SELECT true FROM log.huajuan_events e
                    WHERE e.originator_id = n.stream AND e.originator_version = n.version - 1);
        GET DIAGNOSTICS inserted = ROW_COUNT;
        IF inserted < cardinality(streams) THEN
            RAISE unique_violation;  -- undoes the INSERT
        END IF;
        PERFORM log.after_append(streams, topics);
        RETURN;
    EXCEPTION WHEN unique_violation THEN NULL;
    END;
    refused := log.refused_saves(saves, streams, versions);
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
        PERFORM log.after_append(streams, topics);
    END IF;
END $$;

-- For audits: the events of an account, and the likes of an image, that are in streams of their own.
CREATE INDEX IF NOT EXISTS events_about_account ON log.huajuan_events
    (left(split_part(encode(state, 'escape'), '"account_id":"', 2), 36), notification_id)
    WHERE topic IN ('like.given', 'like.given_again', 'like.taken_back',
                    'favorite.added', 'favorite.added_again', 'favorite.removed',
                    'email_claim.claimed', 'email_claim.claimed_again');
CREATE INDEX IF NOT EXISTS likes_about_image ON log.huajuan_events
    (left(split_part(encode(state, 'escape'), '"image_id":"', 2), 36), notification_id)
    WHERE topic IN ('like.given', 'like.given_again', 'like.taken_back');

-- All accounts that ever were admins.
CREATE INDEX IF NOT EXISTS admins_granted ON log.huajuan_events (notification_id) WHERE topic = 'admin.granted';

-- The tables of the operations. No rebuild changes them.

CREATE TABLE IF NOT EXISTS operations.installation (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    stream_key    bytea       NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    schema_digest text        NOT NULL DEFAULT ''
);
-- The number of the schema, which only grows, and the lowest program number that may use it.
ALTER TABLE operations.installation ADD COLUMN IF NOT EXISTS schema_number int NOT NULL DEFAULT 0;
ALTER TABLE operations.installation ADD COLUMN IF NOT EXISTS minimum_program int NOT NULL DEFAULT 0;
-- The id of the picture store. The store has a copy of it.
ALTER TABLE operations.installation ADD COLUMN IF NOT EXISTS picture_store uuid;

-- The leases of the running servers. `secret` is a slow keyed hash. `settings` has a keyed hash of each setting that
-- must be equal on all servers. The workers of a server renew its row.
CREATE TABLE IF NOT EXISTS operations.servers (
    id         uuid PRIMARY KEY,
    name       text        NOT NULL,
    program    int         NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    secret     bytea       NOT NULL,
    settings   jsonb       NOT NULL
);

-- A row without a key belongs to an erased account. It never gets a key again.
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
-- The process that updated it last, and its smoothed number of folded events a second.
ALTER TABLE operations.checkpoints ADD COLUMN IF NOT EXISTS leader text;
ALTER TABLE operations.checkpoints ADD COLUMN IF NOT EXISTS rate float8 NOT NULL DEFAULT 0;

-- Drops a version of a read table with its checkpoint, unless a process has used it within `hours`. Returns whether it
-- was dropped. A process records its use before it checks whether the version exists. Waits briefly for readers.
CREATE OR REPLACE FUNCTION operations.drop_unused_version(version text, hours float8) RETURNS boolean
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
    image_id   uuid PRIMARY KEY,
    server     text        NOT NULL,
    holder     uuid        NOT NULL,
    fencing    bigint      NOT NULL DEFAULT 1,
    opened_at  timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS job_leases_expiring ON operations.job_leases (expires_at);

-- Workflows by the digest of their text, which events refer to. To draw a picture again its workflow is needed.
CREATE TABLE IF NOT EXISTS operations.workflows (
    digest    text COLLATE "C" PRIMARY KEY CHECK (digest = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
    document  text        NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);

-- Deleted pictures. Their files are deleted at `sweep_at`, when they can no longer be restored.
CREATE TABLE IF NOT EXISTS operations.deleted_pictures (
    image_id uuid PRIMARY KEY,
    sweep_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS deleted_pictures_due ON operations.deleted_pictures (sweep_at);

-- Erased accounts whose data may not be deleted completely yet.
CREATE TABLE IF NOT EXISTS operations.erasures (
    account_id   uuid PRIMARY KEY,
    requested_at timestamptz NOT NULL DEFAULT now()
);

-- The owners of uploaded avatars, for erasures.
CREATE TABLE IF NOT EXISTS operations.uploaded_avatars (
    avatar_id  uuid PRIMARY KEY,
    account_id uuid NOT NULL
);
CREATE INDEX IF NOT EXISTS uploaded_avatars_of ON operations.uploaded_avatars (account_id);
-- When to check whether the account still uses the avatar; else its file is deleted. NULL while it is in use.
ALTER TABLE operations.uploaded_avatars ADD COLUMN IF NOT EXISTS check_at timestamptz
    DEFAULT now() + interval '1 hour';
CREATE INDEX IF NOT EXISTS uploaded_avatars_due ON operations.uploaded_avatars (check_at) WHERE check_at IS NOT NULL;

-- The records of rebuilds of read tables.
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
-- The position of the event in which an admin requested it. Each request starts one rebuild.
ALTER TABLE operations.rebuilds ADD COLUMN IF NOT EXISTS requested_at_position bigint;

-- The versions of the read tables that processes use.
CREATE TABLE IF NOT EXISTS operations.tables_in_use (
    schema  text COLLATE "C" PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

-- One row that is updated when nothing else was written for a while, to detect a database that rejects writes.
CREATE TABLE IF NOT EXISTS operations.write_probe (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    written_at timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS operations.revoked_tokens (
    token      text COLLATE "C" PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- Requests with an idempotency key, kept for a day: the digest of the body, the run that executes it, and the encrypted
-- reply. The events of the command have positions after `since` and carry its id, so that a second run finds them.
CREATE TABLE IF NOT EXISTS operations.idempotency (
    id         bytea PRIMARY KEY,
    account_id uuid,
    digest     bytea       NOT NULL,
    command_id uuid        NOT NULL,
    since      bigint      NOT NULL,
    run_id     uuid        NOT NULL,
    expires_at timestamptz NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    reply      bytea
);
CREATE INDEX IF NOT EXISTS idempotency_of ON operations.idempotency (account_id);
CREATE INDEX IF NOT EXISTS idempotency_ageing ON operations.idempotency (claimed_at);

-- The characters and the pairs of adjacent characters of a text. A substring of any length, in any script, has them.
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

-- The cache lease: until `expires_at` only the server `holder` may fold, and so it may cache what it read from the read
-- tables. Until `blocked_until` no server may acquire it, because a rebuild is about to swap tables.
CREATE TABLE IF NOT EXISTS operations.cache_lease (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch         bigint      NOT NULL DEFAULT 0,
    holder        text        NOT NULL DEFAULT '',
    expires_at    timestamptz NOT NULL DEFAULT '-infinity',
    blocked_until timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO operations.cache_lease DEFAULT VALUES ON CONFLICT DO NOTHING;

-- Acquires or renews the cache lease and returns its epoch, which changes after each interruption. Returns 0 where
-- another server is connected. The exclusive lock waits for folds in progress; folds that start meanwhile wait behind it,
-- so the wait is short.
CREATE OR REPLACE FUNCTION operations.acquire_cache_lease(acquiring text, seconds float8) RETURNS bigint
    LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
    number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(4721);
    IF EXISTS (SELECT FROM pg_stat_activity a
                WHERE a.datname = current_database() AND a.application_name LIKE 'huajuan serves %'
                  AND split_part(a.application_name, ' ', 3) <> acquiring) THEN
        RETURN 0;
    END IF;
    UPDATE operations.cache_lease l
       SET epoch = l.epoch + (CASE WHEN l.holder = acquiring AND l.expires_at > clock_timestamp() THEN 0 ELSE 1 END),
           holder = acquiring, expires_at = clock_timestamp() + make_interval(secs => seconds)
     WHERE l.blocked_until < clock_timestamp() AND (l.holder = acquiring OR l.expires_at < clock_timestamp())
    RETURNING l.epoch INTO number;
    RETURN coalesce(number, 0);
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;

-- Whether the server may fold now. No other server can acquire the cache lease before the transaction ends.
CREATE OR REPLACE FUNCTION operations.may_fold(folding text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4721);
    RETURN NOT EXISTS (SELECT FROM operations.cache_lease l
                        WHERE l.holder <> folding AND l.expires_at > clock_timestamp());
END $$;
