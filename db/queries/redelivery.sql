-- Another try of one delivery. Locks are taken in this order, as by whoever disables an endpoint or claims for it: the
-- endpoint, its state, the delivery, the conversation.

-- name: find_endpoint
select endpoint_id from webhook_deliveries where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: lock_endpoint
-- Also a deleted one.
select w.enabled and w.deleted_at is null as takes, w.transport
from webhook_endpoints w
where w.distributor_id = (select get_current_distributor_id()) and w.id = $1
for no key update;

-- name: lock_state
select from webhook_endpoint_state
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1
for no key update;

-- name: lock_delivery
select d.endpoint_id, d.event_id, d.ordering_key, d.lease_until, e.body is not null as has_payload
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
where d.distributor_id = (select get_current_distributor_id()) and d.id = $1
for no key update of d;

-- name: drop_lease
-- Of a claim that was lost with its worker: it is under way no more.
update webhook_endpoint_state
set in_flight = greatest(in_flight - 1, 0), updated_at = $2
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1;

-- name: redeliver
update webhook_deliveries
set status = 'PENDING', due_at = case when $3::boolean then 'infinity' else $4::timestamptz end, schedule_position = 0, trigger = 'manual', lease_until = null, lease_token = null,
    updated_at = $4
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1 and event_id = $2;

-- name: release_heads
select release_heads(get_current_distributor_id(), $1, array[$2::uuid], $3);
