-- What happened, told to everyone who asked.

-- name: record_events
select record_events($1::jsonb);
