-- What operators watch of the queues, over all tenants.

-- name: list_lanes
-- Since when the oldest work of each lane is due at $1; NULL where nothing is. Of deliveries, those of endpoints that may get
-- some now: what waits for a receiver is the receiver's.
with recursive waiting as (
    (
        select d.distributor_id, d.endpoint_id
        from webhook_deliveries d
        where d.status = 'PENDING' and d.due_at < 'infinity'
        order by d.distributor_id, d.endpoint_id
        limit 1
    )
    union all
    select following.distributor_id, following.endpoint_id
    from waiting e
    cross join lateral (
        select d.distributor_id, d.endpoint_id
        from webhook_deliveries d
        where d.status = 'PENDING' and d.due_at < 'infinity' and (d.distributor_id, d.endpoint_id) > (e.distributor_id, e.endpoint_id)
        order by d.distributor_id, d.endpoint_id
        limit 1
    ) following
),
due as (
    select first_try.due_at
    from waiting w
    join webhook_endpoint_state s on s.distributor_id = w.distributor_id and s.endpoint_id = w.endpoint_id
    cross join lateral (
        select d.due_at
        from webhook_deliveries d
        where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id and d.status = 'PENDING' and d.due_at < 'infinity'
        order by d.due_at
        limit 1
    ) first_try
    where coalesce(s.ready_at, '-infinity') <= $1
    union all
    select retry.due_at
    from webhook_endpoint_state s
    cross join lateral (
        select d.due_at
        from webhook_deliveries d
        where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id and d.status = 'RETRYING' and d.due_at < 'infinity'
        order by d.due_at
        limit 1
    ) retry
    where s.next_due_at <= $1 and coalesce(s.ready_at, '-infinity') <= $1
)
select 'turn' as lane, min(c.turn_due_at) as oldest_due_at from conversations c where c.turn_due_at <= $1
union all
select 'send', min(m.send_due_at) from messages m where m.send_due_at <= $1
union all
select 'media', min(f.fetch_due_at) from attachments f where f.fetch_due_at <= $1
union all
select 'fetch', min(e.fetch_due_at) from inbound_events e where e.fetch_due_at <= $1
union all
select 'delivery', min(due.due_at) from due where due.due_at <= $1;

-- name: count_breakers
-- Endpoints that are on, by the state of their breakers.
select s.breaker, count(*) as endpoints
from webhook_endpoint_state s
join webhook_endpoints w on w.distributor_id = s.distributor_id and w.id = s.endpoint_id
where w.enabled and w.deleted_at is null
group by s.breaker;
