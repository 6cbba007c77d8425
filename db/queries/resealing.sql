-- What is sealed with which master key: a sealed value names its key in bytes 2 to 9, after its version (db/sealing.py).
-- Run in a tenant's transaction, and across tenants by the owner while it migrates. Deleted accounts and endpoints
-- count: their rows stay. Of idempotency answers only those count that may still be given.

-- name: count_by_key
select key_id, count(*) as number, bool_or(needed) as needed
from (
    select substr(credentials_sealed, 1, 1) as version, substr(credentials_sealed, 2, 8) as key_id, deleted_at is null as needed
    from channel_accounts
    union all
    select substr(secrets_sealed, 1, 1), substr(secrets_sealed, 2, 8), deleted_at is null from webhook_endpoints
    union all
    select substr(headers_sealed, 1, 1), substr(headers_sealed, 2, 8), deleted_at is null from webhook_endpoints
    union all
    -- By its name: the schema that is to be migrated may be older than the column.
    select substr(auth.sealed, 1, 1), substr(auth.sealed, 2, 8), e.deleted_at is null
    from webhook_endpoints e
    cross join lateral (select (to_jsonb(e) ->> 'auth_sealed')::bytea as sealed) auth
    union all
    select substr(response_sealed, 1, 1), substr(response_sealed, 2, 8), true from idempotency_keys
    where created_at > now() - $1::interval
) sealed
where version = '\x01'
group by key_id;

-- name: take_accounts
select id, credentials_sealed from channel_accounts
where substr(credentials_sealed, 2, 8) = any($1::bytea[])
order by id limit $2
for update;

-- name: put_accounts
update channel_accounts set credentials_sealed = new.sealed
from unnest($1::uuid[], $2::bytea[]) as new (id, sealed)
where channel_accounts.id = new.id;

-- name: take_endpoints
select id, secrets_sealed, headers_sealed, auth_sealed from webhook_endpoints
where substr(secrets_sealed, 2, 8) = any($1::bytea[]) or substr(headers_sealed, 2, 8) = any($1::bytea[])
    or substr(auth_sealed, 2, 8) = any($1::bytea[])
order by id limit $2
for update;

-- name: put_endpoints
update webhook_endpoints set secrets_sealed = new.secrets, headers_sealed = new.headers, auth_sealed = new.auth
from unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bytea[]) as new (id, secrets, headers, auth)
where webhook_endpoints.id = new.id;

-- name: take_answers
select route, key, response_sealed from idempotency_keys
where created_at > now() - $3::interval and substr(response_sealed, 2, 8) = any($1::bytea[])
order by route, key limit $2
for update;

-- name: put_answers
update idempotency_keys set response_sealed = new.sealed
from unnest($1::text[], $2::text[], $3::bytea[]) as new (route, key, sealed)
where idempotency_keys.route = new.route and idempotency_keys.key = new.key;
