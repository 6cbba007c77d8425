-- Whether a tenant's work is done in time.

-- name: list_endpoint_health
-- Of the events since $1. Tried and not taken yet counts as a failure.
select w.id, w.name, w.enabled, w.disabled_reason, f.succeeded, f.failed, f.waiting,
    s.breaker, s.failing_since, s.consecutive_failures, s.last_success_at
from webhook_endpoints w
join webhook_endpoint_state s on s.distributor_id = w.distributor_id and s.endpoint_id = w.id
cross join lateral (
    select count(*) filter (where d.status = 'SUCCESS') as succeeded,
        count(*) filter (where d.status in ('RETRYING', 'EXHAUSTED')) as failed,
        count(*) filter (where d.status = 'PENDING') as waiting
    from webhook_deliveries d
    where d.distributor_id = w.distributor_id and d.endpoint_id = w.id and d.event_id >= uuid7_floor($1)
) f
where w.distributor_id = (select get_current_distributor_id()) and w.deleted_at is null
order by w.id desc
limit $2;

-- name: list_queues
-- What is to be done, and since when the oldest of it is due.
select 'turns' as queue, count(*) as waiting, count(*) filter (where c.turn_due_at <= $1) as due, min(c.turn_due_at) as oldest_due_at
from conversations c
where c.distributor_id = (select get_current_distributor_id()) and c.turn_due_at is not null
union all
select 'sends', count(*), count(*) filter (where m.send_due_at <= $1), min(m.send_due_at)
from messages m
where m.distributor_id = (select get_current_distributor_id()) and m.send_due_at is not null
union all
select 'deliveries', sum(d.waiting)::bigint, sum(d.due)::bigint, min(d.oldest)
from (
    select count(*) as waiting, count(*) filter (where due_at <= $1) as due, min(due_at) as oldest
    from webhook_deliveries
    where distributor_id = (select get_current_distributor_id()) and status = 'PENDING' and due_at < 'infinity'
    union all
    select count(*), count(*) filter (where due_at <= $1), min(due_at)
    from webhook_deliveries
    where distributor_id = (select get_current_distributor_id()) and status = 'RETRYING' and due_at < 'infinity'
    union all
    -- Behind an older one of their conversation, or to be pulled.
    select count(*), 0, null
    from webhook_deliveries
    where distributor_id = (select get_current_distributor_id()) and due_at = 'infinity'
) d;
