-- name: list_endpoints
select id, name, description, transport, url, event_types, filter, payload, headers_sealed, secrets_sealed, public_keys,
    auth_sealed, signing, ordering, rate_limit_per_second, max_in_flight, verification, enabled, disabled_reason, disabled_at, created_at, updated_at
from webhook_endpoints
where distributor_id = (select get_current_distributor_id()) and deleted_at is null and id < $1
order by id desc
limit $2;

-- name: read_endpoint
select id, name, description, transport, url, event_types, filter, payload, headers_sealed, secrets_sealed, public_keys,
    auth_sealed, signing, ordering, rate_limit_per_second, max_in_flight, verification, enabled, disabled_reason, disabled_at, created_at, updated_at
from webhook_endpoints
where distributor_id = (select get_current_distributor_id()) and id = $1 and deleted_at is null;

-- name: lock_endpoint
select id, name, description, transport, url, event_types, filter, payload, headers_sealed, secrets_sealed, public_keys,
    auth_sealed, signing, ordering, rate_limit_per_second, max_in_flight, verification, enabled, disabled_reason, disabled_at, created_at, updated_at
from webhook_endpoints
where distributor_id = (select get_current_distributor_id()) and id = $1 and deleted_at is null
for no key update;

-- name: insert_endpoint
-- With its state: every claim of deliveries is decided by it.
with endpoint as (
insert into webhook_endpoints
    (distributor_id, id, name, description, transport, url, event_types, filter, filter_path, payload, headers_sealed, secrets_sealed,
     public_keys, auth_sealed, signing, ordering, rate_limit_per_second, max_in_flight, verification, enabled, disabled_reason, disabled_at,
     created_at, updated_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $6, $7, $8::text::jsonpath, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
    $19, $20, $21, $22, $22)
returning distributor_id, id, created_at
)
insert into webhook_endpoint_state (distributor_id, endpoint_id, updated_at)
select distributor_id, id, created_at from endpoint;

-- name: update_endpoint
update webhook_endpoints
set name = $2, description = $3, transport = $4, url = $5, event_types = $6, filter = $7, filter_path = $8::text::jsonpath,
    payload = $9, headers_sealed = $10, secrets_sealed = $11, public_keys = $12, auth_sealed = $13, signing = $14, ordering = $15,
    rate_limit_per_second = $16, max_in_flight = $17, verification = $18, enabled = $19, disabled_reason = $20, disabled_at = $21,
    updated_at = $22
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: delete_endpoint
update webhook_endpoints set deleted_at = $2, updated_at = $2
where distributor_id = (select get_current_distributor_id()) and id = $1 and deleted_at is null
returning id;

-- name: lock_state
-- Before any delivery of the endpoint is locked, as claims and settlements do.
select from webhook_endpoint_state
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1
for no key update;

-- name: cancel_waiting
with cancelled as (
    update webhook_deliveries
    set status = 'CANCELLED', due_at = null, lease_until = null, lease_token = null, updated_at = $2
    where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1 and due_at is not null
)
update webhook_endpoint_state set in_flight = 0, next_due_at = null, updated_at = $2
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1;

-- name: release_waiting
with released as (
    update webhook_deliveries set due_at = $2, updated_at = $2
    where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1 and due_at = 'infinity'
)
update webhook_endpoint_state set next_due_at = least(next_due_at, $2), updated_at = $2
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1;

-- name: reset_health
-- As of a new endpoint; what the receiver's pace was found to be stays.
update webhook_endpoint_state
set breaker = 'CLOSED', breaker_until = null, probes = 0, consecutive_failures = 0, failed_attempts = 0, failed_event_ids = '{}',
    give_back_from = null, failing_since = null, warned_percent = 0, blocked_until = null, concurrency = 10, updated_at = $2
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1;

-- name: forget_waits
-- Places were taken at the rate of before. With $3 there is another receiver, too, which has asked for no silence and has its own
-- pace; where a breaker is open, the next probe asks it at once.
update webhook_endpoint_state
set paced_until = null, updated_at = $2,
    blocked_until = case when not $3 then blocked_until end,
    learned_rate = case when not $3 then learned_rate end,
    breaker_until = case when $3 and breaker = 'OPEN' then $2 else breaker_until end
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1;

-- name: find_public_keys
-- By the worker's role and for anybody, on the closed list of db/tenant.py.
select public_keys from webhook_endpoints where id = $1 and deleted_at is null;

-- name: record_test_event
-- Not by record_events: a test goes to this endpoint alone, whatever it and others subscribe to. The delivery's id is
-- made as record_events makes it. Where the endpoint is pulled from, it waits to be fetched.
with event as (
    insert into webhook_events (distributor_id, id, type, body, occurred_at)
    values (get_current_distributor_id(), $2, $3, $4, $5)
    returning id
)
insert into webhook_deliveries (distributor_id, endpoint_id, event_id, id, trigger, due_at, created_at, updated_at)
select w.distributor_id, w.id, event.id, md5(w.id::text || event.id::text)::uuid, 'test',
    case when w.transport = 'pull' then 'infinity' else $5 end, $5, $5
from event
join webhook_endpoints w on w.distributor_id = get_current_distributor_id() and w.id = $1
returning id;
