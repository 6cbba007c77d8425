-- name: list_events
select id, type, body, conversation_id, occurred_at
from webhook_events
where distributor_id = (select get_current_distributor_id()) and id < $1
    and ($2::text is null or type = $2)
    and ($3::uuid is null or conversation_id = $3)
    and ($4::timestamptz is null or occurred_at >= $4)
    and ($5::timestamptz is null or occurred_at < $5)
order by id desc
limit $6;

-- name: read_event
select id, type, body, conversation_id, occurred_at from webhook_events
where distributor_id = (select get_current_distributor_id()) and id = $1;
