UPDATE webhook.ring SET
    slot = $1,
    since = now() - (SELECT k.step * interval '1 microsecond' FROM webhook.cursor AS k),
    blocked = NULL,
    blocked_at = NULL
