-- The next $2 events of the ring behind transaction $5 and id $3, fewer where job $1 covers more than $6 of them, or those have bodies of
-- more than $4 bytes: in which of these its path finds something, and which cannot be looked into. Returns how many it has looked at,
-- the last of them, and what erase_backlog_page.sql returns of those that are to be erased.
WITH page AS (
    SELECT p.*
    FROM (
        SELECT
            q.*,
            coalesce(sum(octet_length(q.payload)) OVER (ORDER BY q.xid, q.id), 0) - coalesce(octet_length(q.payload), 0) AS before,
            count(q.payload) OVER (ORDER BY q.xid, q.id) AS covered
        FROM (
            SELECT
                e.id, e.xid,
                CASE
                    WHEN e.webhook = ANY (j.webhooks) AND e.id >= j.first AND e.id < j."end" AND e.payload <> ''
                        AND (pg_visible_in_snapshot(e.xid, j.seen) OR e.xid = j.caller)
                        THEN e.payload
                END AS payload
            FROM webhook.job AS j
            CROSS JOIN LATERAL (
                SELECT v.id, v.xid, v.webhook, v.payload
                FROM webhook.event AS v
                WHERE (v.xid, v.id) > ($5, $3)
                  AND v.xid < greatest(pg_snapshot_xmax(j.seen), (j.caller::text::bigint + 1)::text::xid8)
                ORDER BY v.xid, v.id
                LIMIT $2
            ) AS e
            WHERE j.id = $1
        ) AS q
    ) AS p
    WHERE p.before < $4 AND p.covered <= $6
), judged AS MATERIALIZED (
    SELECT p.id, p.xid, CASE WHEN k.path IS NULL THEN true ELSE webhook.finds(p.payload, k.path) END AS found
    FROM page AS p
    LEFT JOIN webhook.job_path AS k ON k.job = $1
    WHERE p.payload IS NOT NULL
)
SELECT
    (SELECT count(*) FROM page) AS seen_rows,
    (SELECT p.xid FROM page AS p ORDER BY p.xid DESC, p.id DESC LIMIT 1) AS place_xid,
    (SELECT p.id FROM page AS p ORDER BY p.xid DESC, p.id DESC LIMIT 1) AS place,
    NULL::integer AS wanted,
    (SELECT count(*) FROM judged AS u WHERE u.found) AS done,
    0::bigint AS bytes,
    (SELECT count(*) FROM judged AS u WHERE u.found IS NULL) AS skipped,
    coalesce((SELECT array_agg(u.id ORDER BY u.xid, u.id) FROM judged AS u WHERE u.found), '{}') AS ids,
    coalesce((SELECT array_agg(u.xid::text::bigint ORDER BY u.xid, u.id) FROM judged AS u WHERE u.found), '{}') AS xids
