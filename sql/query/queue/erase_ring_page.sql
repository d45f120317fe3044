-- Of the next $2 events of the ring behind transaction $4 and id $3 those that job $1 covers and that have not been erased, up to the
-- $5th of these, and the last one of all: which of them it is, and how many bytes its body has. So read that it reads no further.
SELECT p.xid, p.id, p.slot, p.bytes, p.covered, p.number
FROM (
    SELECT q.*, row_number() OVER () AS number, lead(q.id) OVER () IS NULL AS last
    FROM (
        SELECT
            e.xid, e.id, e.slot, octet_length(e.payload) AS bytes,
            e.webhook = ANY ((SELECT j.webhooks FROM webhook.job AS j WHERE j.id = $1)::integer[])
                AND e.id >= (SELECT j.first FROM webhook.job AS j WHERE j.id = $1)
                AND e.id < (SELECT j."end" FROM webhook.job AS j WHERE j.id = $1)
                AND octet_length(e.payload) > 0
                AND (
                    pg_visible_in_snapshot(e.xid, (SELECT j.seen FROM webhook.job AS j WHERE j.id = $1))
                    OR e.xid = (SELECT j.caller FROM webhook.job AS j WHERE j.id = $1)
                ) AS covered
        FROM webhook.event AS e
        WHERE (e.xid, e.id) > ($4, $3)
          AND e.xid < (
              SELECT greatest(pg_snapshot_xmax(j.seen), (j.caller::text::bigint + 1)::text::xid8)
              FROM webhook.job AS j
              WHERE j.id = $1
          )
        ORDER BY e.xid, e.id
        LIMIT $2
    ) AS q
) AS p
WHERE p.covered OR p.last
LIMIT $5
