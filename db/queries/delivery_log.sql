-- Three lists instead of one with every filter: a plan is made once for all values, so what may be absent helps no index.
-- Parameters of all: $1 and $2 event and delivery to begin after, $3 since, $4 until, $5 type or null, $6 limit. The time
-- is the event's. Its id was made when it was stored, which may be later than what it tells of, but not by a day.

-- name: list_deliveries
select d.id, d.event_id, d.endpoint_id, e.type as event_type, d.status, d.trigger, d.replay_id, d.sequence, d.attempt_count,
    nullif(d.due_at, 'infinity') as next_attempt_at, d.due_at = 'infinity' as is_waiting, w.transport, d.created_at, d.updated_at
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
join webhook_endpoints w on w.distributor_id = d.distributor_id and w.id = d.endpoint_id
where d.distributor_id = (select get_current_distributor_id())
    and (d.event_id, d.id) < ($1, $2)
    and d.event_id >= uuid7_floor($3::timestamptz - interval '1 day') and d.event_id < uuid7_floor($4::timestamptz + interval '1 day')
    and d.created_at >= $3 and d.created_at < $4
    and ($5::text is null or e.type = $5)
    and ($7::text is null or d.status = $7)
order by d.event_id desc, d.id desc
limit $6;

-- name: list_deliveries_of_endpoint
select d.id, d.event_id, d.endpoint_id, e.type as event_type, d.status, d.trigger, d.replay_id, d.sequence, d.attempt_count,
    nullif(d.due_at, 'infinity') as next_attempt_at, d.due_at = 'infinity' as is_waiting, w.transport, d.created_at, d.updated_at
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
join webhook_endpoints w on w.distributor_id = d.distributor_id and w.id = d.endpoint_id
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
select d.id, d.event_id, d.endpoint_id, e.type as event_type, d.status, d.trigger, d.replay_id, d.sequence, d.attempt_count,
    nullif(d.due_at, 'infinity') as next_attempt_at, d.due_at = 'infinity' as is_waiting, w.transport, d.created_at, d.updated_at
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
join webhook_endpoints w on w.distributor_id = d.distributor_id and w.id = d.endpoint_id
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
select d.id, d.event_id, d.endpoint_id, e.type as event_type, d.status, d.trigger, d.replay_id, d.sequence, d.attempt_count,
    nullif(d.due_at, 'infinity') as next_attempt_at, d.due_at = 'infinity' as is_waiting, w.transport, d.created_at, d.updated_at
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
join webhook_endpoints w on w.distributor_id = d.distributor_id and w.id = d.endpoint_id
where d.distributor_id = (select get_current_distributor_id()) and d.id = $1;

-- name: list_attempts
-- The newest $4 of each delivery, excerpts cut to $3 characters, evidence if $5.
select a.*
from unnest($1::uuid[], $2::uuid[]) as wanted(endpoint_id, event_id)
cross join lateral (
    select a.endpoint_id, a.event_id, a.number, a.trigger, a.probe, a.started_at, a.duration_ms, a.status_code, a.error_class,
        a.outcome, a.next_attempt_at, left(a.response_excerpt, $3) as response_excerpt,
        coalesce((a.evidence ->> 'response_excerpt_truncated')::boolean, false)
            or coalesce(length(a.response_excerpt) > $3, false) as response_excerpt_truncated,
        case when $5 then a.evidence end as evidence
    from webhook_delivery_attempts a
    where a.distributor_id = (select get_current_distributor_id()) and a.endpoint_id = wanted.endpoint_id
        and a.event_id = wanted.event_id
    order by a.number desc
    limit $4
) a
order by a.number;

-- name: list_attempts_of_endpoint
-- Those of events stored since $4 and before $13, after ($2, $3), the newest event first. Looks at $5 at most, and gives of them the first $6 that
-- have what is asked for: outcome $7, class of error $8, status from $9 to below $10, event type $11. The primary key serves
-- it; an index of failures would be changed by every settlement. Then one row more, without a delivery, where it looked at
-- all that it may: where to go on.
with looked as materialized (
    select a.event_id, a.number, a.outcome, a.error_class, a.status_code
    from webhook_delivery_attempts a
    where a.distributor_id = (select get_current_distributor_id()) and a.endpoint_id = $1
        and (a.event_id, a.number) < ($2::uuid, $3::int)
        and a.event_id >= uuid7_floor($4::timestamptz) and a.event_id < uuid7_floor($13::timestamptz)
    order by a.event_id desc, a.number desc
    limit $5
),
found as materialized (
    select l.event_id, l.number
    from looked l
    where ($7::text is null or l.outcome = $7) and ($8::text is null or l.error_class = $8)
        and ($9::int is null or l.status_code >= $9) and ($10::int is null or l.status_code < $10)
        -- A scalar, so that it is looked up and never gathered for all.
        and ($11::text is null or $11 = (
            select e.type
            from webhook_events e
            where e.distributor_id = (select get_current_distributor_id()) and e.id = l.event_id
        ))
    order by l.event_id desc, l.number desc
    limit $6
)
select d.id as delivery_id, e.type as event_type, a.event_id, a.number, a.trigger, a.probe, a.started_at, a.duration_ms,
    a.status_code, a.error_class, a.outcome, a.next_attempt_at, left(a.response_excerpt, $12) as response_excerpt,
    coalesce((a.evidence ->> 'response_excerpt_truncated')::boolean, false)
        or coalesce(length(a.response_excerpt) > $12, false) as response_excerpt_truncated
from found f
join webhook_delivery_attempts a on a.distributor_id = (select get_current_distributor_id()) and a.endpoint_id = $1
    and a.event_id = f.event_id and a.number = f.number
join webhook_deliveries d on d.distributor_id = a.distributor_id and d.endpoint_id = $1 and d.event_id = a.event_id
join webhook_events e on e.distributor_id = a.distributor_id and e.id = a.event_id
union all
(
    select null, null, l.event_id, l.number, null, null, null, null, null, null, null, null, null, null
    from looked l
    where (select count(*) from looked) = $5
    order by l.event_id, l.number
    limit 1
)
order by event_id desc, number desc, delivery_id nulls last;

