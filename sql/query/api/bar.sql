-- Why nothing is captured of watch $1, whatever its triggers are, if so.
SELECT q.bar FROM webhook.watch_right AS q WHERE q.watch = $1
