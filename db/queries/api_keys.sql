-- name: find_key_owner
select distributor_id, id, revoked_at is not null as revoked from api_keys where key_hash = $1;

-- name: insert_key
insert into api_keys (distributor_id, id, name, prefix, key_hash, created_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $5)
returning id, name, prefix, created_at, revoked_at;

-- name: list_keys
select id, name, prefix, created_at, revoked_at from api_keys
where distributor_id = (select get_current_distributor_id()) and id < $1
order by id desc
limit $2;

-- name: revoke_key
update api_keys set revoked_at = coalesce(revoked_at, $2)
where distributor_id = (select get_current_distributor_id()) and id = $1
returning id;
