-- What happened, told to everyone who asked.

-- name: record_events
select record_events($1::jsonb);

-- name: disable_endpoint
update webhook_endpoints
set enabled = false, disabled_reason = $2, updated_at = $3
where distributor_id = get_current_distributor_id() and id = $1 and enabled and deleted_at is null
returning id, name, url;

-- name: cancel_waiting_deliveries
update webhook_deliveries
set status = 'CANCELLED', due_at = null, lease_until = null, lease_token = null, updated_at = $2
where distributor_id = get_current_distributor_id() and endpoint_id = $1 and due_at is not null;
