-- How an endpoint does.

-- name: read_stats
-- Of the attempts begun since $2. Looks at the newest $3 (by event), those of retries among them: the schedule is over after
-- four days.
with looked as materialized (
    select a.started_at, a.outcome, a.error_class, a.status_code, a.duration_ms,
        (a.evidence -> 'timings' ->> 'first_byte_ms')::double precision as first_byte_ms
    from webhook_delivery_attempts a
    where a.distributor_id = (select get_current_distributor_id()) and a.endpoint_id = $1
        and a.event_id >= uuid7_floor($2::timestamptz - interval '4 days')
    order by a.event_id desc, a.number desc
    limit $3
),
counted as materialized (
    select * from looked where started_at >= $2
)
select count(*) filter (where c.outcome <> 'unknown') as attempts,
    count(*) filter (where c.outcome = 'success') as successes,
    count(*) filter (where c.outcome = 'unknown') as unfinished,
    percentile_disc(array[0.5, 0.95, 0.99]) within group (order by c.duration_ms)
        filter (where c.status_code is not null) as total_ms,
    percentile_disc(array[0.5, 0.95, 0.99]) within group (order by c.first_byte_ms) as first_byte_ms,
    (
        select coalesce(jsonb_object_agg(f.error_class, f.failures), '{}')
        from (select error_class, count(*) as failures from counted where error_class is not null group by error_class) f
    ) as failures,
    (select count(*) from looked) = $3 as is_sample
from counted c;

-- name: read_condition
-- Its state, and how much waits for it, each counted up to $3: due at $2, later (retries, and what its pace holds back), behind
-- an older one of its conversation or until it is pulled.
select s.breaker, s.breaker_until, s.consecutive_failures, s.failed_attempts, s.failing_since, s.concurrency,
    s.learned_rate, s.blocked_until, s.paced_until, s.in_flight, s.last_success_at,
    (
        select count(*) from (
            select from webhook_deliveries d
            where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
                and d.status = 'PENDING' and d.due_at < 'infinity' and d.due_at <= $2
            limit $3
        ) first_tries
    ) + (
        select count(*) from (
            select from webhook_deliveries d
            where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
                and d.status = 'RETRYING' and d.due_at < 'infinity' and d.due_at <= $2
            limit $3
        ) retries
    ) as due,
    (
        select count(*) from (
            select from webhook_deliveries d
            where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
                and d.status = 'PENDING' and d.due_at < 'infinity' and d.due_at > $2
            limit $3
        ) first_tries
    ) + (
        select count(*) from (
            select from webhook_deliveries d
            where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
                and d.status = 'RETRYING' and d.due_at < 'infinity' and d.due_at > $2
            limit $3
        ) retries
    ) as later,
    (
        select count(*) from (
            select from webhook_deliveries d
            where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id and d.due_at = 'infinity'
            limit $3
        ) waiting
    ) as waiting,
    w.transport
from webhook_endpoint_state s
join webhook_endpoints w on w.distributor_id = s.distributor_id and w.id = s.endpoint_id
where s.distributor_id = (select get_current_distributor_id()) and s.endpoint_id = $1 and w.deleted_at is null;
