-- What the benchmarks alone ask of the database, as its superuser. The product's own statements are in db/queries.

-- name: conditions
select current_setting('server_version') as postgresql, current_setting('fsync') as fsync,
    current_setting('synchronous_commit') as synchronous_commit, current_setting('full_page_writes') as full_page_writes,
    current_setting('shared_buffers') as shared_buffers;

-- name: forget_events
truncate webhook_events, webhook_deliveries, webhook_delivery_attempts, webhook_endpoint_state;

-- name: fresh_states
insert into webhook_endpoint_state (distributor_id, endpoint_id, updated_at)
select w.distributor_id, w.id, w.created_at from webhook_endpoints w;

-- name: settle_down
-- Every part of a round begins alike: statistics of what was stored, nothing left to be written.
analyze webhook_events, webhook_deliveries, webhook_delivery_attempts, webhook_endpoint_state, webhook_endpoints;
checkpoint;

-- name: count_outcomes
select
    (select count(*) from webhook_deliveries) as deliveries,
    (select count(*) from webhook_deliveries d where d.status = 'SUCCESS') as succeeded,
    (select count(*) from webhook_delivery_attempts) as attempts,
    (select count(*) from webhook_delivery_attempts a where a.outcome = 'success' and a.status_code = 200) as finished,
    (select coalesce(sum(s.in_flight), 0)::int from webhook_endpoint_state s) as under_way;

-- name: count_unfinished
select count(*) from webhook_deliveries d where d.due_at is not null;

-- name: function_definition
select pg_get_functiondef(p.oid)
from pg_proc p
where p.proname = $1::text and p.pronamespace = 'public'::regnamespace;

-- name: commit_times
-- When each event's transaction wrote its commit record, which is before it was on disk.
select e.id, extract(epoch from pg_xact_commit_timestamp(e.xmin))::double precision as committed_at
from webhook_events e
where e.type = 'message.received';

-- name: clone_endpoints
-- About $1 endpoints that subscribe to nothing that happens, of the tenants that are there.
with model as (
    select distinct on (w.distributor_id) w.id from webhook_endpoints w order by w.distributor_id, w.id
),
endpoint as (
    insert into webhook_endpoints
    select made.*
    from webhook_endpoints w
    join model on model.id = w.id
    cross join generate_series(1, $1::int / (select count(*) from model)) as n
    cross join lateral jsonb_populate_record(w, jsonb_build_object(
        'id', gen_random_uuid(), 'event_types', '{endpoint.test}'::text[], 'name', 'parked ' || n
    )) made
    returning distributor_id, id, created_at
)
insert into webhook_endpoint_state (distributor_id, endpoint_id, updated_at)
select distributor_id, id, created_at from endpoint;

-- name: park_retries
-- $1 deliveries that failed once and are due between one and two hours from now, over all endpoints evenly. Those of a tenant
-- share their events, whose ids are $2: a claim does not look at what is parked.
with target as (
    select w.distributor_id, w.id, count(*) over () as endpoints from webhook_endpoints w
),
told as (
    select t.distributor_id, ($2::uuid[])[row_number() over ()] as id
    from (select distinct distributor_id, endpoints from target) t
    cross join lateral generate_series(0, $1::int / t.endpoints::int)
),
event as (
    insert into webhook_events (distributor_id, id, type, body, occurred_at)
    select distributor_id, id, 'order.created', '{}'::jsonb, now() from told
)
insert into webhook_deliveries
    (distributor_id, endpoint_id, event_id, id, status, due_at, attempt_count, schedule_position, created_at, updated_at)
select t.distributor_id, t.id, told.id, gen_random_uuid(), 'RETRYING', now() + (3600 + random() * 3600) * interval '1 second',
    1, 1, now(), now()
from target t
join told on told.distributor_id = t.distributor_id
limit $1;

-- name: block_backlog
-- All deliveries of tenant $1 in the order of $2 conversations, whose first ones have failed and wait.
with numbered as (
    select d.distributor_id, d.endpoint_id, d.event_id, md5((d.number % $2::int)::text)::uuid as conversation,
        d.number / $2::int + 1 as sequence
    from (
        select d.*, row_number() over (partition by d.endpoint_id order by d.event_id) - 1 as number
        from webhook_deliveries d
        where d.distributor_id = $1
    ) d
)
update webhook_deliveries d
set ordering_key = n.conversation, sequence = n.sequence,
    status = case when n.sequence = 1 then 'RETRYING' else 'PENDING' end,
    due_at = case when n.sequence = 1 then now() + interval '1 hour' else 'infinity' end
from numbered n
where d.distributor_id = n.distributor_id and d.endpoint_id = n.endpoint_id and d.event_id = n.event_id;

-- name: look_at_parked
update webhook_endpoint_state s
set next_due_at = (
    select min(d.due_at)
    from webhook_deliveries d
    where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id and d.status = 'RETRYING'
);
