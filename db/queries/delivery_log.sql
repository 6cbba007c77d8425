-- name: list_deliveries
select d.id, d.event_id, d.endpoint_id, e.type as event_type, d.status, d.attempt_count,
    d.due_at as next_attempt_at, d.created_at, d.updated_at
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
where d.distributor_id = (select get_current_distributor_id())
    and (d.event_id, d.id) < ($1, $2)
    and e.id <= $1  -- says nothing new, but lets a merge join begin where the page does
    and ($3::uuid is null or d.endpoint_id = $3)
    and ($4::text is null or d.status = $4)
    and ($5::text is null or e.type = $5)
    and ($6::timestamptz is null or d.created_at >= $6)
    and ($7::timestamptz is null or d.created_at < $7)
order by d.event_id desc, d.id desc
limit $8;

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

-- name: settle_delivery
-- As lanes.settle_deliveries, in the tenant's own transaction.
update webhook_deliveries
set status = $4, due_at = $5, schedule_position = $6, lease_until = null, lease_token = null, updated_at = $7
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1 and event_id = $2
    and lease_token = $3;

-- name: redeliver
update webhook_deliveries
set status = 'PENDING', due_at = $3, schedule_position = 0, lease_until = null, lease_token = null, updated_at = $3
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1 and event_id = $2;
