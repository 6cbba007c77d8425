-- name: read_answer
select request_hash, response_status, response_sealed from idempotency_keys
where distributor_id = (select get_current_distributor_id()) and route = $1 and key = $2 and created_at >= $3;

-- name: claim_key
-- Gives nothing back where a living answer stands under the key, or while another transaction is at it: the lock is tried
-- for first, so that nobody waits for the other's row with a connection in hand.
insert into idempotency_keys (distributor_id, route, key, request_hash, created_at)
select get_current_distributor_id(), $1, $2, $3, $4
where pg_try_advisory_xact_lock(hashtextextended(get_current_distributor_id()::text || ' ' || $1 || ' ' || $2, 0))
on conflict (distributor_id, route, key) do update
set request_hash = excluded.request_hash, response_status = null, response_sealed = null, created_at = excluded.created_at
where idempotency_keys.created_at < $5
returning key;

-- name: store_answer
update idempotency_keys set response_status = $3, response_sealed = $4
where distributor_id = (select get_current_distributor_id()) and route = $1 and key = $2;

-- name: forget_expired
delete from idempotency_keys
where distributor_id = (select get_current_distributor_id()) and (route, key) in (
    select old.route, old.key from idempotency_keys old
    where old.distributor_id = (select get_current_distributor_id()) and old.created_at < $1
    order by old.created_at limit $2
    for update skip locked
);
