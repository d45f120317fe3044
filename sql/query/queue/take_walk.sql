-- Where the walk is that an earlier run has left, which goes on from there once: whoever crashes begins anew. It may have gone by
-- other settings.
DELETE FROM webhook.walk AS w
RETURNING
    w.before,
    w.again OR w.settings IS DISTINCT FROM pg_conf_load_time() AS again,
    w.soonest,
    w.at,
    w.webhooks,
    w.waiting_events,
    w.waiting_bytes,
    w.dead_events,
    w.dead_bytes,
    w.left_events,
    w.left_since
