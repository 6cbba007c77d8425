-- Why an endpoint got an event, or did not.

-- name: read_event
select id, type, occurred_at, body is not null as has_payload
from webhook_events
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: list_endpoints
-- With $2 that one, though it be deleted; else those that are there, and what was sent to others.
select w.id as endpoint_id, w.name, w.transport, w.event_types, w.filter, w.enabled, w.disabled_reason, w.disabled_at,
    w.verification, w.max_in_flight, w.created_at, w.updated_at, w.deleted_at,
    case when w.filter_path is null then true
        when e.body is not null then coalesce(jsonb_path_match(e.body, w.filter_path, '{}', true), false)
    end as filter_matched,
    d.id as delivery_id, d.status, d.attempt_count, nullif(d.due_at, 'infinity') as due_at, d.lease_until,
    behind.event_id as behind_event_id,
    s.in_flight, s.concurrency, s.breaker, s.breaker_until, s.blocked_until, s.paced_until,
    last.outcome, last.error_class, last.status_code
from webhook_events e
join webhook_endpoints w on w.distributor_id = e.distributor_id
join webhook_endpoint_state s on s.distributor_id = w.distributor_id and s.endpoint_id = w.id
left join webhook_deliveries d on d.distributor_id = w.distributor_id and d.endpoint_id = w.id and d.event_id = e.id
left join lateral (
    select other.event_id
    from webhook_deliveries other
    where other.distributor_id = d.distributor_id and other.endpoint_id = d.endpoint_id
        and other.ordering_key = d.ordering_key and other.due_at is not null and other.event_id <> d.event_id
        and d.due_at = 'infinity' and (other.sequence < d.sequence or other.due_at < 'infinity')
    order by other.due_at, other.sequence
    limit 1
) behind on true
left join lateral (
    select a.outcome, a.error_class, a.status_code
    from webhook_delivery_attempts a
    where a.distributor_id = d.distributor_id and a.endpoint_id = d.endpoint_id and a.event_id = d.event_id
    order by a.number desc
    limit 1
) last on true
where e.distributor_id = (select get_current_distributor_id()) and e.id = $1
    and case when $2::uuid is null then w.deleted_at is null or d.id is not null else w.id = $2 end
order by w.id desc
limit $3;

-- name: match_conditions
-- Which of these predicates an event's body meets, one after the other.
select coalesce(jsonb_path_match(e.body, condition.path::jsonpath, '{}', true), false) as met
from webhook_events e
cross join unnest($2::text[]) with ordinality as condition(path, place)
where e.distributor_id = (select get_current_distributor_id()) and e.id = $1
order by condition.place;
