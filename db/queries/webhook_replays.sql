-- Replays of past events to an endpoint. Whoever changes a replay's deliveries holds its endpoint's row.

-- name: count_candidates
select count(*) filter (where covered and not expired) as matched, count(*) filter (where covered and expired) as skipped,
    count(*) < $11 as counted_all
from replay_candidates($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: insert_replay
insert into webhook_replays
    (distributor_id, id, endpoint_id, selection, request, matched, counted_all, due_at, created_at, updated_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $6, $7, $7, $7);

-- name: read_replay
select id, endpoint_id, selection, request, status, end_reason, matched, counted_all, replayed, skipped, rate_per_second,
    last_event_id, created_at, updated_at
from webhook_replays
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: list_replays
select id, endpoint_id, selection, request, status, end_reason, matched, counted_all, replayed, skipped, rate_per_second,
    last_event_id, created_at, updated_at
from webhook_replays
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1 and id < $2
order by id desc
limit $3;

-- name: list_due
select distributor_id, endpoint_id, id
from webhook_replays
where due_at <= $1
order by due_at
limit $2;

-- name: lock_due
select id, endpoint_id, selection, request, status, end_reason, matched, counted_all, replayed, skipped, rate_per_second,
    last_event_id, created_at, updated_at
from webhook_replays
where distributor_id = (select get_current_distributor_id()) and id = $1 and due_at <= $2
for no key update;

-- name: mark_horizon
-- In a transaction after the one that asked for it: whoever was storing events then has a lower number. (Not the end of a
-- snapshot, which is the lowest number that may be running, with others above it.)
update webhook_replays set horizon = pg_current_xact_id()
where distributor_id = (select get_current_distributor_id()) and id = $1 and horizon is null;

-- name: is_past_horizon
-- Whether all that was being stored when it was asked for is to be seen by now. A statement of its own, before the one
-- that looks. ($2: after so long nothing is waited for, whatever the numbers of transactions say: a restored database
-- counts them anew.)
select pg_snapshot_xmin(pg_current_snapshot()) >= horizon or created_at <= $2
from webhook_replays
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: read_room
-- What waits to be sent to an endpoint for the first time, counted up to $2, and the pace that it was seen to keep.
select (
        select count(*) from (
            (
                select from webhook_deliveries d
                where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
                    and d.status = 'PENDING' and d.due_at < 'infinity'
                limit $2
            )
            union all
            (
                select from webhook_deliveries d
                where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id and d.due_at = 'infinity'
                limit $2
            )
        ) waiting
    ) as waiting, s.learned_rate
from webhook_endpoint_state s
where s.distributor_id = (select get_current_distributor_id()) and s.endpoint_id = $1;

-- name: read_page
-- Of what it covers, the oldest $12, and how far was looked at.
with looked_at as materialized (
    select * from replay_candidates($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
),
taken as (
    select event_id, expired from looked_at where covered order by event_id limit $12
),
counted as (
    select count(*) as looked_at, count(*) filter (where covered) as covered from looked_at
)
select array(select event_id from taken where not expired order by event_id) as event_ids,
    (select count(*) from taken where expired) as skipped,
    case when c.covered > $12 then (select event_id from taken order by event_id desc limit 1)
        else (select event_id from looked_at order by event_id desc limit 1)
    end as last_event_id,
    c.looked_at < $11 and c.covered <= $12 as ended
from counted c;

-- name: send_again
-- Puts events on their way to an endpoint, by a new delivery or the one that ended. One that waits meanwhile is left
-- alone. The oldest is due first; nothing is due later than now. Where order is asked for, release_heads lets them go.
with wanted as (
    select e.id, e.occurred_at, e.sequence, case when w.ordering = 'conversation' then e.conversation_id end as ordering_key,
        w.transport, row_number() over (order by e.id desc) - 1 as younger
    from webhook_events e
    join webhook_endpoints w on w.distributor_id = e.distributor_id and w.id = $1
    where e.distributor_id = (select get_current_distributor_id()) and e.id = any($2::uuid[]) and e.body is not null
),
sent as (
    insert into webhook_deliveries as d
        (distributor_id, endpoint_id, event_id, id, ordering_key, sequence, due_at, trigger, replay_id, created_at, updated_at)
    select get_current_distributor_id(), $1, w.id, md5($1::uuid::text || w.id::text)::uuid, w.ordering_key, w.sequence,
        case when w.transport = 'pull' or w.ordering_key is not null then 'infinity'
            else $4::timestamptz - w.younger * interval '1 microsecond'
        end,
        'replay', $3, w.occurred_at, $4
    from wanted w
    order by w.id
    on conflict (distributor_id, endpoint_id, event_id) do update
    set status = 'PENDING', due_at = excluded.due_at, schedule_position = 0, ordering_key = excluded.ordering_key,
        sequence = excluded.sequence, trigger = 'replay', replay_id = excluded.replay_id, updated_at = excluded.updated_at
    where d.due_at is null and d.replay_id is distinct from excluded.replay_id
    returning ordering_key
)
select count(*) as sent, coalesce(array_agg(distinct ordering_key) filter (where ordering_key is not null), '{}') as keys
from sent;

-- name: release_heads
select release_heads(get_current_distributor_id(), $1, $2, $3);

-- name: record_progress
update webhook_replays
set status = $2, replayed = replayed + $3, skipped = skipped + $4, matched = greatest(matched, replayed + $3),
    last_event_id = $5, due_at = $6, updated_at = $7
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: cancel_replay
update webhook_replays
set status = 'CANCELLED', end_reason = $2, due_at = null, updated_at = $3
where distributor_id = (select get_current_distributor_id()) and id = $1 and due_at is not null
returning id;

-- name: cancel_replays_to
update webhook_replays
set status = 'CANCELLED', end_reason = $2, due_at = null, updated_at = $3
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1 and due_at is not null;

-- name: find_first_cancelled
-- The oldest event that waited untried for an endpoint when it was disabled.
select e.occurred_at
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
where d.distributor_id = (select get_current_distributor_id()) and d.endpoint_id = $1
    and d.status = 'CANCELLED' and d.attempt_count = 0 and d.updated_at >= $2
order by e.occurred_at
limit 1;
