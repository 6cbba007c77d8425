-- name: list_endpoints
select id, name, url, event_types, filter, headers_sealed, secrets_sealed, ordering, enabled, disabled_reason,
    created_at, updated_at
from webhook_endpoints
where distributor_id = (select get_current_distributor_id()) and deleted_at is null and id < $1
order by id desc
limit $2;

-- name: read_endpoint
select id, name, url, event_types, filter, headers_sealed, secrets_sealed, ordering, enabled, disabled_reason,
    created_at, updated_at
from webhook_endpoints
where distributor_id = (select get_current_distributor_id()) and id = $1 and deleted_at is null;

-- name: lock_endpoint
select id, name, url, event_types, filter, headers_sealed, secrets_sealed, ordering, enabled, disabled_reason,
    created_at, updated_at
from webhook_endpoints
where distributor_id = (select get_current_distributor_id()) and id = $1 and deleted_at is null
for no key update;

-- name: insert_endpoint
insert into webhook_endpoints
    (distributor_id, id, name, url, event_types, filter, filter_path, headers_sealed, secrets_sealed, ordering,
     created_at, updated_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $6::text::jsonpath, $7, $8, $9, $10, $11);

-- name: update_endpoint
update webhook_endpoints
set name = $2, url = $3, event_types = $4, filter = $5, filter_path = $6::text::jsonpath, headers_sealed = $7,
    secrets_sealed = $8, ordering = $9, enabled = $10, disabled_reason = $11, updated_at = $12
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: delete_endpoint
update webhook_endpoints set deleted_at = $2, updated_at = $2
where distributor_id = (select get_current_distributor_id()) and id = $1 and deleted_at is null
returning id;

-- name: cancel_waiting
update webhook_deliveries
set status = 'CANCELLED', due_at = null, lease_until = null, lease_token = null, updated_at = $2
where distributor_id = (select get_current_distributor_id()) and endpoint_id = $1 and due_at is not null;

-- name: record_test_event
-- Not by record_events: a test goes to this endpoint alone, whatever it and others subscribe to. The delivery's id is
-- made as record_events makes it.
with event as (
    insert into webhook_events (distributor_id, id, type, body, occurred_at)
    values (get_current_distributor_id(), $2, $3, $4, $5)
    returning id
)
insert into webhook_deliveries (distributor_id, endpoint_id, event_id, id, due_at, created_at, updated_at)
select get_current_distributor_id(), $1, event.id, md5($1::uuid::text || event.id::text)::uuid, $5, $5, $5 from event
returning id;
