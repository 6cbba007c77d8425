-- Webhook deliveries as work (ADR 14). Which endpoints have work is found without a lock; what each of them gives is decided
-- under its state row's. Locks are taken in one order: state rows by key, then deliveries, then conversations; whoever
-- changes a delivery holds its endpoint's state row.

-- name: find_endpoints
-- Endpoints that have something due, up to $2 with first tries, from those after ($3, $4) on, and up to $2 with retries.
-- $1 now, $5 share of one endpoint, $6 shard, $7 number of shards (by tenant). An endpoint with work is `able` where it may
-- take some now; else `ready_at` says from when, or is NULL where it waits for posts that are under way.
with recursive waiting as (
    -- One step of the index for each endpoint, however much waits for it.
    (
        select d.distributor_id, d.endpoint_id
        from webhook_deliveries d
        where d.status = 'PENDING' and d.due_at < 'infinity' and (d.distributor_id, d.endpoint_id) > ($3::uuid, $4::uuid)
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
first_try as materialized (
    select w.distributor_id, w.endpoint_id
    from waiting w
    where mod(hashtext(w.distributor_id::text)::bigint + 2147483648, $7) = $6
    limit $2
),
retry as materialized (
    select s.distributor_id, s.endpoint_id
    from webhook_endpoint_state s
    where s.next_due_at <= $1 and coalesce(s.ready_at, '-infinity') <= $1
        and mod(hashtext(s.distributor_id::text)::bigint + 2147483648, $7) = $6
    order by s.next_due_at
    limit $2
),
found as (
    select distributor_id, endpoint_id, bool_or(walked) as walked, bool_or(not walked) as has_retries
    from (select *, true as walked from first_try union all select *, false from retry) f
    group by distributor_id, endpoint_id
)
select f.distributor_id, f.endpoint_id, f.walked,
    due.any_is and (not takes.it or coalesce(s.ready_at, '-infinity') <= $1)
        -- What it was to be looked at for has ended meanwhile: the claim says when to look next. Else it would be found
        -- for ever, before those that have something due.
        or f.has_retries and due.retries = 0 as able,
    case when due.any_is and s.ready_at > $1 then s.ready_at end as ready_at,
    s.in_flight > 0 as busy
from found f
join webhook_endpoint_state s on s.distributor_id = f.distributor_id and s.endpoint_id = f.endpoint_id
join webhook_endpoints w on w.distributor_id = f.distributor_id and w.id = f.endpoint_id
cross join lateral (select w.enabled and w.deleted_at is null as it) takes
cross join lateral (
    -- What is under lease is among the oldest, so that one of these is free if any is.
    select coalesce(bool_or(
        d.lease_until <= $1 or d.lease_until is null and s.in_flight < least(s.concurrency, w.max_in_flight, $5)
    ), false) or coalesce(not takes.it and count(*) > 0, false) as any_is,
        count(*) filter (where d.is_retry) as retries
    from (
        (
            select d.lease_until, false as is_retry
            from webhook_deliveries d
            where d.distributor_id = f.distributor_id and d.endpoint_id = f.endpoint_id
                and d.status = 'PENDING' and d.due_at < 'infinity' and d.due_at <= $1
            order by d.due_at
            limit s.in_flight + 1
        )
        union all
        (
            select d.lease_until, true
            from webhook_deliveries d
            where s.next_due_at <= $1 and d.distributor_id = f.distributor_id and d.endpoint_id = f.endpoint_id
                and d.status = 'RETRYING' and d.due_at < 'infinity' and d.due_at <= $1
            order by d.due_at
            limit s.in_flight + 1
        )
    ) d
) due;

-- name: claim_deliveries
select * from claim_deliveries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: settle_deliveries
select * from settle_deliveries($1, $2, $3);

-- name: settle_delivery
-- One of those whose answer disables the endpoint, in the tenant's transaction that does so, or finds that it does not.
with state as materialized (
    select s.distributor_id, s.endpoint_id
    from webhook_endpoint_state s
    where s.distributor_id = (select get_current_distributor_id()) and s.endpoint_id = $1
    for update
),
moved as (
    update webhook_deliveries d
    set status = $4, due_at = $5, schedule_position = $6, lease_until = null, lease_token = null, updated_at = $7
    from state s
    where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id and d.event_id = $2 and d.lease_token = $3
    returning d.distributor_id, d.endpoint_id, d.ordering_key, d.due_at
),
ordered as materialized (
    select release_heads(m.distributor_id, m.endpoint_id, array[m.ordering_key], $7)
    from moved m
    where m.ordering_key is not null and m.due_at is null
)
update webhook_endpoint_state s
set in_flight = greatest(s.in_flight - 1, 0), next_due_at = least(s.next_due_at, moved.due_at), updated_at = $7
from moved
where s.distributor_id = moved.distributor_id and s.endpoint_id = moved.endpoint_id and (select count(*) from ordered) >= 0;

-- name: give_back_attempts
select give_back_attempts($1, $2, $3, $4);

-- name: warn_endpoint
-- Whether this warning is due: each is given once in a row of failures, by whoever comes first.
update webhook_endpoint_state s
set warned_percent = $2, updated_at = $3
where s.distributor_id = (select get_current_distributor_id()) and s.endpoint_id = $1 and s.warned_percent < $2
    and s.failing_since is not null
returning s.failing_since, s.failed_attempts, s.consecutive_failures;
