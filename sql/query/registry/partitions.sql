-- The partitions of relation $1, and theirs, each after its parent.
WITH RECURSIVE below (relation, depth) AS (
    SELECT $1::oid, 0
    UNION ALL
    SELECT i.inhrelid, b.depth + 1
    FROM below AS b
    JOIN pg_class AS c ON c.oid = b.relation AND c.relkind = 'p'
    JOIN pg_inherits AS i ON i.inhparent = b.relation
)
SELECT b.relation FROM below AS b WHERE b.depth > 0 ORDER BY b.depth, b.relation
