-- Renames in databases of schema number 1, before the CREATE statements. Each is done where the old name still exists.

DO $$
DECLARE
    renamed record;
BEGIN
    FOR renamed IN
        SELECT r.old, r.statement FROM (VALUES
            ('tenancy', 'TABLE operations.tenancy RENAME TO cache_lease'),
            ('tenancy_pkey', 'INDEX operations.tenancy_pkey RENAME TO cache_lease_pkey'),
            ('cache_lease.tag', 'TABLE operations.cache_lease RENAME COLUMN tag TO holder'),
            ('cache_lease.until', 'TABLE operations.cache_lease RENAME COLUMN until TO expires_at'),
            ('cache_lease.shared_until', 'TABLE operations.cache_lease RENAME COLUMN shared_until TO blocked_until'),
            ('servers.lapses_at', 'TABLE operations.servers RENAME COLUMN lapses_at TO expires_at'),
            ('job_leases.lapses_at', 'TABLE operations.job_leases RENAME COLUMN lapses_at TO expires_at'),
            ('job_leases.host', 'TABLE operations.job_leases RENAME COLUMN host TO server'),
            ('job_leases_lapsing', 'INDEX operations.job_leases_lapsing RENAME TO job_leases_expiring'),
            ('queue.place', 'VIEW operations.queue RENAME COLUMN place TO queue_position'),
            ('idempotency.lapses_at', 'TABLE operations.idempotency RENAME COLUMN lapses_at TO expires_at'),
            ('idempotency.command', 'TABLE operations.idempotency RENAME COLUMN command TO command_id'),
            ('idempotency.run', 'TABLE operations.idempotency RENAME COLUMN run TO run_id'),
            ('installation.schema', 'TABLE operations.installation RENAME COLUMN schema TO schema_digest'),
            ('installation.made_at', 'TABLE operations.installation RENAME COLUMN made_at TO created_at'),
            ('rebuilds.asked', 'TABLE operations.rebuilds RENAME COLUMN asked TO requested_at_position'),
            ('workflows.kept_at', 'TABLE operations.workflows RENAME COLUMN kept_at TO stored_at'),
            ('erasures.asked_at', 'TABLE operations.erasures RENAME COLUMN asked_at TO requested_at'),
            ('uploaded_avatars.look_at', 'TABLE operations.uploaded_avatars RENAME COLUMN look_at TO check_at')
        ) AS r(old, statement)
    LOOP
        -- Checked in each iteration, because it may depend on an earlier rename.
        IF EXISTS (SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                    WHERE c.relnamespace = 'operations'::regnamespace AND NOT a.attisdropped
                      AND renamed.old IN (c.relname, c.relname || '.' || a.attname)) THEN
            EXECUTE 'ALTER ' || renamed.statement;
        END IF;
    END LOOP;
END $$;

DROP FUNCTION IF EXISTS log.follow(uuid[], text[]);
DROP FUNCTION IF EXISTS log.follows_on(uuid[], bigint[]);
DROP FUNCTION IF EXISTS log.refused_of(int[], uuid[], bigint[]);
DROP FUNCTION IF EXISTS operations.take_tenancy(text, float8);
DROP FUNCTION IF EXISTS operations.fold_beside(text);
DROP FUNCTION IF EXISTS operations.unsuited(text, text[], text[], text[], boolean);
DROP FUNCTION IF EXISTS operations.drop_version_unused(text, float8);
DROP FUNCTION IF EXISTS operations.know_address(uuid, bytea, int, float8);
-- The parameters of these have other names now, which CREATE OR REPLACE cannot change.
DROP FUNCTION IF EXISTS operations.open_job(uuid, uuid, uuid, float8, timestamptz, text, int, int);
DROP FUNCTION IF EXISTS operations.claim_job(text, uuid, float8, int);
DROP FUNCTION IF EXISTS operations.claim_job(text, uuid, float8, int, text[], text[], text);
