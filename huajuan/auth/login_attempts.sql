-- Rate limits: attempts by a keyed hash of the username or of the client's address.

-- A row is an attempt in progress, until its lease ends, or a counted attempt, until it leaves the window. A statement
-- that is retried finds the row of its own attempt.
CREATE TABLE IF NOT EXISTS operations.counted_attempts (
    subject    bytea       NOT NULL,
    attempt    uuid        NOT NULL,
    is_counted boolean     NOT NULL DEFAULT false,
    ends_at    timestamptz NOT NULL,
    PRIMARY KEY (subject, attempt)
);

-- The addresses of successful logins to an account, as keyed hashes.
CREATE TABLE IF NOT EXISTS operations.known_addresses (
    account_id uuid        NOT NULL,
    address    bytea       NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, address)
);

-- Admits an attempt if each subject has fewer attempts, counted or in progress, than its maximum. Else `locked_seconds`
-- is the time until enough of the counted ones have left the window, or 0 where only attempts in progress are in the way.
-- The locks make check and insertion atomic. They are acquired in one order, which excludes deadlocks.
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

-- Records an address and keeps the newest ones of the account. The lock on the key serializes it with an erasure.
CREATE OR REPLACE FUNCTION operations.remember_address(account uuid, known bytea, most int, days float8)
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
