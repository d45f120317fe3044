-- How triggers $1 and those of partitions that were made with them fire.
WITH RECURSIVE made AS (
    SELECT t.oid, t.tgenabled FROM pg_trigger AS t WHERE t.oid = ANY ($1)
    UNION ALL
    SELECT t.oid, t.tgenabled
    FROM made
    JOIN pg_trigger AS t ON t.tgparentid = made.oid
)
SELECT made.oid, made.tgenabled FROM made
