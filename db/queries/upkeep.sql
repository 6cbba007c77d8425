-- What a clock starts: partitions, retention, recounts. The work on rows is in functions of the schema.

-- name: read_time
select clock_timestamp();

-- name: make_partition
select make_partition();

-- name: list_partitioned
select parent from partition_plan() order by place;

-- name: retire_partition
select retire_partition($1);

-- name: delete_orphans
select delete_orphans($1);

-- name: list_tenants
select id from distributors where id > $1 order by id limit $2;

-- name: list_endpoints
-- Also those that were deleted: their log is still there.
select id from webhook_endpoints where distributor_id = $1 order by id;

-- name: expire_payloads
select looked, held, expired, last_id from expire_payloads($1, $2, $3);

-- name: expire_evidence
select looked, held, expired, last_id, last_number from expire_evidence($1, $2, $3, $4, $5);

-- name: list_lapsed_customers
-- Whose status says more than the time since their last order still does (the edges are those of customer_figures()), and
-- whose spending was counted in another currency than the tenant's present one.
select id
from customers
where distributor_id = get_current_distributor_id()
    and (
        (status = 'ORDERING' and last_ordered_at < $1::timestamptz - interval '30 days')
        or (status = 'AT_RISK' and last_ordered_at < $1::timestamptz - interval '90 days')
        or currency <> (select d.currency from distributors d where d.id = (select get_current_distributor_id()))
    )
order by id
limit $2;

-- name: refresh_customers
select refresh_customers($1, $2);

-- name: refresh_usage
select refresh_usage($1, $2);

-- name: refresh_ai_usage
select refresh_ai_usage($1);

-- name: make_missing_states
-- For endpoints that a process of the release before made beside the new schema: without a state nothing is delivered.
with made as (
    insert into webhook_endpoint_state (distributor_id, endpoint_id, updated_at)
    select w.distributor_id, w.id, $1
    from webhook_endpoints w
    where not exists (
        select from webhook_endpoint_state s where s.distributor_id = w.distributor_id and s.endpoint_id = w.id
    )
    on conflict do nothing
    returning 1
)
select count(*) from made;

-- name: list_endpoint_states
-- The next $3 endpoints after ($1, $2).
select distributor_id, endpoint_id
from webhook_endpoint_state
where (distributor_id, endpoint_id) > ($1::uuid, $2::uuid)
order by distributor_id, endpoint_id
limit $3;

-- name: mend_endpoint_states
-- Of the endpoints ($1, $2): counts leases again, and looks when the earliest retry is due. One snapshot sees both sides, since
-- whoever changes a lease changes the state in the same statement; a row that is changed meanwhile is left for the next
-- time. What is pulled (due at infinity) is no part of it.
with told as materialized (
    select s.xmin as version, s.distributor_id, s.endpoint_id, leased.deliveries,
        case
            when retry.due_at is null or s.next_due_at <= retry.due_at then s.next_due_at
            else retry.due_at
        end as next_due_at
    from unnest($1::uuid[], $2::uuid[]) as wanted(distributor_id, endpoint_id)
    join webhook_endpoint_state s on s.distributor_id = wanted.distributor_id and s.endpoint_id = wanted.endpoint_id
    cross join lateral (
        select count(*)::int as deliveries
        from webhook_deliveries d
        where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
            and d.status in ('PENDING', 'RETRYING') and d.due_at < 'infinity' and d.lease_token is not null
    ) leased
    left join lateral (
        select greatest(d.due_at, d.lease_until) as due_at
        from webhook_deliveries d
        where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
            and d.status = 'RETRYING' and d.due_at < 'infinity'
        order by d.due_at
        limit 1
    ) retry on true
),
mended as (
    update webhook_endpoint_state s
    set in_flight = t.deliveries, next_due_at = t.next_due_at, updated_at = $3
    from told t
    where s.distributor_id = t.distributor_id and s.endpoint_id = t.endpoint_id and s.xmin = t.version
        and (s.in_flight <> t.deliveries or s.next_due_at is distinct from t.next_due_at)
    returning 1
)
select count(*) from mended;

-- name: release_stuck_heads
-- Of the endpoints ($1, $2): conversations of which something waits for an older one that is not on its way.
with stuck as materialized (
    select d.distributor_id, d.endpoint_id, array_agg(distinct d.ordering_key) as keys
    from unnest($1::uuid[], $2::uuid[]) as wanted(distributor_id, endpoint_id)
    join webhook_endpoints w on w.distributor_id = wanted.distributor_id and w.id = wanted.endpoint_id
        and w.transport = 'push' and w.enabled and w.deleted_at is null
    join webhook_deliveries d on d.distributor_id = w.distributor_id and d.endpoint_id = w.id
        and d.ordering_key is not null and d.due_at = 'infinity'
    where not exists (
        select from webhook_deliveries head
        where head.distributor_id = d.distributor_id and head.endpoint_id = d.endpoint_id
            and head.ordering_key = d.ordering_key and head.due_at is not null and head.due_at < 'infinity'
    )
    group by d.distributor_id, d.endpoint_id
),
kept as materialized (
    select lock_conversations(array(select unnest(keys) from stuck))
)
select coalesce(sum(release_heads(s.distributor_id, s.endpoint_id, s.keys, $3)), 0)::bigint
from stuck s
cross join kept;

-- name: cancel_forgotten
-- Of those of the endpoints ($1, $2) that were deleted: what was being stored meanwhile, and is due at infinity, where no claim
-- meets it. It would keep its payload for ever.
with state as materialized (
    select s.distributor_id, s.endpoint_id
    from unnest($1::uuid[], $2::uuid[]) as wanted(distributor_id, endpoint_id)
    join webhook_endpoints w on w.distributor_id = wanted.distributor_id and w.id = wanted.endpoint_id and w.deleted_at is not null
    join webhook_endpoint_state s on s.distributor_id = w.distributor_id and s.endpoint_id = w.id
    order by s.distributor_id, s.endpoint_id
    for update of s
),
cancelled as (
    update webhook_deliveries d
    set status = 'CANCELLED', due_at = null, lease_until = null, lease_token = null, updated_at = $3
    from state s
    where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id and d.due_at = 'infinity'
    returning 1
)
select count(*) from cancelled;
