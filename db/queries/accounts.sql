-- The lookup that comes before a tenant is known, on the closed list of db/tenant.py.

-- name: find_account
select id, distributor_id, channel, provider, address, credentials_sealed, settings, updated_at
from channel_accounts
where id = $1 and deleted_at is null;

-- name: list_accounts_at
-- For an operator's command only: several tenants may have the same address.
select id, distributor_id, channel, provider, address, credentials_sealed, settings, updated_at
from channel_accounts
where channel = $1 and address = $2 and deleted_at is null
order by id;

-- name: list_accounts_by_route
-- Whose a part of a provider's post may be: each must prove it by its own secret. The bound keeps somebody who names
-- another's route in many accounts of its own from making every post slow, and the order keeps it from hiding the other's.
select id, distributor_id, channel, provider, address, credentials_sealed, settings, updated_at
from channel_accounts
where provider = $1 and route = $2 and deleted_at is null
order by row_number() over (partition by distributor_id order by id), id
limit 100;

-- name: find_any_sealed
-- Something that was sealed, the newest: with the right keys it can be opened.
select id, distributor_id, credentials_sealed
from channel_accounts
order by updated_at desc
limit 1;
