-- Deliveries that an integrator fetches and acknowledges: nobody posts them, so they are due at infinity. $1 is
-- always the endpoint. Whoever changes a delivery holds its endpoint's state row: so what is read here under that lock is not
-- changed behind it.

-- name: is_any_waiting
-- Whether it is worth the lock: some delivery is held by nobody at $2.
select exists (
    select from webhook_deliveries d
    where d.distributor_id = (select get_current_distributor_id()) and d.endpoint_id = $1 and d.due_at = 'infinity'
        and (d.lease_until is null or d.lease_until <= $2)
        and (select e.body is not null from webhook_events e where e.distributor_id = d.distributor_id and e.id = d.event_id)
);

-- name: lock_state
select from webhook_endpoint_state s
where s.distributor_id = (select get_current_distributor_id()) and s.endpoint_id = $1
for update of s;

-- name: lease_waiting
-- The oldest that nobody holds at $2, under a lease until $3 with the token $4, at most $5; $6 gives ids for the attempts. Each
-- hand-out is an attempt.
-- Of a conversation that is to come in order, nothing is given out while somebody holds what is before it, and what is
-- given out begins at the head: an id is made before its event's place in the conversation is known, so it may be smaller
-- than that of an event further ahead.
with candidate as (
    select d.event_id, d.ordering_key, d.sequence
    from webhook_deliveries d
    where d.distributor_id = (select get_current_distributor_id()) and d.endpoint_id = $1 and d.due_at = 'infinity'
        and (d.lease_until is null or d.lease_until <= $2)
        and (d.ordering_key is null or not exists (
            select from webhook_deliveries older
            where older.distributor_id = d.distributor_id and older.endpoint_id = d.endpoint_id
                and older.ordering_key = d.ordering_key and older.due_at is not null and older.sequence < d.sequence
                and (older.lease_until > $2 or older.event_id > d.event_id)
        ))
        -- Nothing is left to give where the payload's time is over. A scalar, so that it is looked up for each: a join would
        -- be planned over all events from the tenant's first.
        and (select e.body is not null from webhook_events e where e.distributor_id = d.distributor_id and e.id = d.event_id)
    order by d.event_id
    limit $5
),
chosen as (
    select c.event_id, row_number() over (order by c.event_id) as line
    from candidate c
    where c.ordering_key is null or not exists (
        select from webhook_deliveries older
        where older.distributor_id = (select get_current_distributor_id()) and older.endpoint_id = $1
            and older.ordering_key = c.ordering_key and older.due_at is not null and older.sequence < c.sequence
            and not exists (select from candidate other where other.event_id = older.event_id)
    )
),
leased as (
    update webhook_deliveries d
    set lease_until = $3, lease_token = $4, attempt_count = d.attempt_count + 1, updated_at = $2
    from chosen
    where d.distributor_id = (select get_current_distributor_id()) and d.endpoint_id = $1 and d.event_id = chosen.event_id
    returning d.distributor_id, d.endpoint_id, d.event_id, d.id, d.attempt_count, ($6::uuid[])[chosen.line] as attempt_id
),
attempt as (
    insert into webhook_delivery_attempts (distributor_id, id, endpoint_id, event_id, number, started_at, trigger)
    select distributor_id, attempt_id, endpoint_id, event_id, attempt_count, $2, 'pull' from leased
)
select leased.id, leased.event_id, leased.attempt_count, e.type as event_type, e.sequence, e.body::text as body
from leased
join webhook_events e on e.distributor_id = leased.distributor_id and e.id = leased.event_id
order by leased.event_id;

-- name: find_batch
-- The events of what is held under the token $4, between $2 and $3: so what else waits is not looked through. A lease
-- that ran out counts as long as nobody else was given the delivery.
select d.event_id
from webhook_deliveries d
where d.distributor_id = (select get_current_distributor_id()) and d.endpoint_id = $1 and d.due_at = 'infinity'
    and d.event_id between $2 and $3 and d.lease_token = $4;

-- name: find_deliveries
-- The events of those of $2 that were given out at least once, whoever holds them now: whoever was given one first may be
-- the one that has done the work.
select d.event_id
from webhook_deliveries d
where d.distributor_id = (select get_current_distributor_id()) and d.id = any ($2::uuid[]) and d.endpoint_id = $1
    and d.due_at = 'infinity' and d.attempt_count > 0;

-- name: acknowledge
-- Ends the deliveries of the events $3, and their latest attempts, at $2.
with done as (
    update webhook_deliveries d
    set status = 'SUCCESS', due_at = null, lease_until = null, lease_token = null, updated_at = $2
    where d.distributor_id = (select get_current_distributor_id()) and d.endpoint_id = $1 and d.event_id = any ($3::uuid[])
    returning d.distributor_id, d.endpoint_id, d.event_id, d.attempt_count
)
update webhook_delivery_attempts a
set outcome = 'success', duration_ms = least(greatest(extract(epoch from $2 - a.started_at) * 1000, 0), 2147483647)::int
from done
where a.distributor_id = done.distributor_id and a.endpoint_id = done.endpoint_id and a.event_id = done.event_id
    and a.number = done.attempt_count;
