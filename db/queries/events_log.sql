-- Three lists instead of one with every filter, as in delivery_log.sql. Parameters of all: $1 the event to begin after, $2 since,
-- $3 until, $4 limit. The time is the event's; its id was made when it was stored, which may be later than what it tells of, but
-- not by a day.

-- name: list_events
select id, type, body, conversation_id, sequence, occurred_at
from webhook_events
where distributor_id = (select get_current_distributor_id()) and id < $1
    and id >= uuid7_floor($2::timestamptz - interval '1 day') and id < uuid7_floor($3::timestamptz + interval '1 day')
    and occurred_at >= $2 and occurred_at < $3
order by id desc
limit $4;

-- name: list_events_of_type
select id, type, body, conversation_id, sequence, occurred_at
from webhook_events
where distributor_id = (select get_current_distributor_id()) and id < $1 and type = $5
    and id >= uuid7_floor($2::timestamptz - interval '1 day') and id < uuid7_floor($3::timestamptz + interval '1 day')
    and occurred_at >= $2 and occurred_at < $3
order by id desc
limit $4;

-- name: list_events_of_conversation
-- All of the conversation are looked at, which are few, and never the tenant's from the newest on until enough are of it.
with own as materialized (
    select id
    from webhook_events
    where distributor_id = (select get_current_distributor_id()) and conversation_id = $5 and id < $1
        and ($6::text is null or type = $6)
        and occurred_at >= $2 and occurred_at < $3
)
select e.id, e.type, e.body, e.conversation_id, e.sequence, e.occurred_at
from (select id from own order by id desc limit $4) page
join webhook_events e on e.distributor_id = (select get_current_distributor_id()) and e.id = page.id
order by e.id desc;

-- name: read_event
select id, type, body, conversation_id, sequence, occurred_at from webhook_events
where distributor_id = (select get_current_distributor_id()) and id = $1;
