-- Three lists instead of one with every filter: a plan is made once for all values, so what may be absent helps no index.
-- Parameters of all: $1 and $2 event and delivery to begin after, $3 since, $4 until, $5 type or null, $6 limit. The time
-- is the event's. Its id was made when it was stored, which may be later than what it tells of, but not by a day.

-- name: list_deliveries
select d.id, d.event_id, d.endpoint_id, e.type as event_type, d.status, d.attempt_count,
    d.due_at as next_attempt_at, d.created_at, d.updated_at
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
where d.distributor_id = (select get_current_distributor_id())
    and (d.event_id, d.id) < ($1, $2)
    and d.event_id >= uuid7_floor($3::timestamptz - interval '1 day') and d.event_id < uuid7_floor($4::timestamptz + interval '1 day')
    and d.created_at >= $3 and d.created_at < $4
    and ($5::text is null or e.type = $5)
    and ($7::text is null or d.status = $7)
order by d.event_id desc, d.id desc
limit $6;

-- name: list_deliveries_of_endpoint
select d.id, d.event_id, d.endpoint_id, e.type as event_type, d.status, d.attempt_count,
    d.due_at as next_attempt_at, d.created_at, d.updated_at
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
where d.distributor_id = (select get_current_distributor_id())
    and (d.event_id, d.id) < ($1, $2)
    and d.event_id >= uuid7_floor($3::timestamptz - interval '1 day') and d.event_id < uuid7_floor($4::timestamptz + interval '1 day')
    and d.created_at >= $3 and d.created_at < $4
    and ($5::text is null or e.type = $5)
    and d.endpoint_id = $7
    and ($8::text is null or d.status = $8)
order by d.event_id desc, d.id desc
limit $6;

-- name: list_unhappy_deliveries
-- Of one status, which is not SUCCESS: so most of the log is not looked at.
select d.id, d.event_id, d.endpoint_id, e.type as event_type, d.status, d.attempt_count,
    d.due_at as next_attempt_at, d.created_at, d.updated_at
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
where d.distributor_id = (select get_current_distributor_id())
    and (d.event_id, d.id) < ($1, $2)
    and d.event_id >= uuid7_floor($3::timestamptz - interval '1 day') and d.event_id < uuid7_floor($4::timestamptz + interval '1 day')
    and d.created_at >= $3 and d.created_at < $4
    and ($5::text is null or e.type = $5)
    and d.status = $7 and d.status <> 'SUCCESS'
    and ($8::uuid is null or d.endpoint_id = $8)
order by d.event_id desc, d.id desc
limit $6;

-- name: read_delivery
select d.id, d.event_id, d.endpoint_id, e.type as event_type, d.status, d.attempt_count,
    d.due_at as next_attempt_at, d.created_at, d.updated_at
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
where d.distributor_id = (select get_current_distributor_id()) and d.id = $1;

-- name: list_attempts
select a.endpoint_id, a.event_id, a.number, a.started_at, a.duration_ms, a.status_code, a.error_class,
    a.response_excerpt, a.outcome
from unnest($1::uuid[], $2::uuid[]) as wanted(endpoint_id, event_id)
join webhook_delivery_attempts a on a.distributor_id = (select get_current_distributor_id())
    and a.endpoint_id = wanted.endpoint_id and a.event_id = wanted.event_id
order by a.number;

-- name: lock_delivery
select d.endpoint_id, d.event_id, d.lease_until, w.enabled as endpoint_enabled,
    w.deleted_at is not null as endpoint_deleted
from webhook_deliveries d
join webhook_endpoints w on w.distributor_id = d.distributor_id and w.id = d.endpoint_id
where d.distributor_id = (select get_current_distributor_id()) and d.id = $1
for no key update of d;

-- name: redeliver
update webhook_deliveries
set status = 'PENDING', due_at = $3, schedule_position = 0, lease_until = null, lease_token = null, updated_at = $3
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1 and event_id = $2;
