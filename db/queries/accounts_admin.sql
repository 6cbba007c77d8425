-- name: list_accounts
select id, channel, provider, address, credentials_sealed, settings, created_at, updated_at, route
from channel_accounts
where distributor_id = (select get_current_distributor_id()) and deleted_at is null and id < $1
    and ($2::text is null or channel = $2)
    and ($3::text is null or provider = $3)
order by id desc
limit $4;

-- name: read_account
select id, channel, provider, address, credentials_sealed, settings, created_at, updated_at, route
from channel_accounts
where distributor_id = (select get_current_distributor_id()) and id = $1 and deleted_at is null;

-- name: lock_account
select id, channel, provider, address, credentials_sealed, settings, created_at, updated_at, route
from channel_accounts
where distributor_id = (select get_current_distributor_id()) and id = $1 and deleted_at is null
for no key update;

-- name: insert_account
insert into channel_accounts
    (distributor_id, id, channel, provider, address, credentials_sealed, settings, created_at, updated_at, route)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: update_account
update channel_accounts set address = $2, credentials_sealed = $3, settings = $4, updated_at = $5, route = $6
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: delete_account
update channel_accounts set deleted_at = $2, updated_at = $2
where distributor_id = (select get_current_distributor_id()) and id = $1 and deleted_at is null
returning id;
