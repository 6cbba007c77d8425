-- Asking providers for what they received: which accounts are due, who asks for one, and what of it is known already.

-- name: list_due_accounts
-- Across tenants: accounts of these providers that were not asked for since $2 and that nobody is asking for. Whoever waits
-- the longest comes first.
select distributor_id, id
from channel_accounts
where provider = any($1::text[]) and deleted_at is null
    and (reconciled_until is null or reconciled_until < $2)
    and (reconcile_lease_until is null or reconcile_lease_until <= $3)
order by reconciled_until nulls first, id;

-- name: take_account
-- No row where somebody else was quicker, or the account is gone.
update channel_accounts
set reconcile_lease_until = $3
where distributor_id = get_current_distributor_id() and id = $1 and deleted_at is null
    and (reconcile_lease_until is null or reconcile_lease_until <= $2)
returning id;

-- name: find_account
select id as channel_account_id, channel, provider, address as account_address, credentials_sealed, settings as account_settings,
    reconciled_until, created_at
from channel_accounts
where distributor_id = get_current_distributor_id() and id = $1 and deleted_at is null;

-- name: list_known_keys
-- Which messages of the provider are here, whichever of the tenant's accounts they came to: numbers may share one hook.
select m.provider_key
from channel_accounts a
cross join unnest($2::text[]) as named(key)
join external_message_mappings m
    on m.distributor_id = a.distributor_id and m.channel_account_id = a.id and m.provider_key = named.key
where a.distributor_id = get_current_distributor_id() and a.provider = $1;

-- name: settle_account
-- $2 is null where the asking failed, or did not begin where the last one ended; $3: the lease was ours.
update channel_accounts
set reconciled_until = greatest(reconciled_until, $2),
    reconcile_lease_until = case when $3 then null else reconcile_lease_until end
where distributor_id = get_current_distributor_id() and id = $1;
