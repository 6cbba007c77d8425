-- How programs get in: API keys, and the answers that a repeated request gets again.

create table api_keys (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    name text not null,
    prefix text not null,
    key_hash bytea not null unique,
    created_at timestamptz not null,
    revoked_at timestamptz,
    primary key (distributor_id, id)
);
comment on table api_keys is
    '[1 Tenancy & authentication] Keys of the management API, stored as SHA-256 of a 256-bit random value; the prefix names a key to people.';
comment on column api_keys.prefix is 'The first characters of the key, enough to tell keys apart.';
comment on column api_keys.key_hash is 'SHA-256 of the whole key; unique over all tenants, since the key itself names the tenant.';
call protect_tenant_table('api_keys');
grant select, insert on api_keys to waystation_app;
grant update (name, revoked_at) on api_keys to waystation_app;
-- The worker role answers the one lookup by hash that comes before a tenant is known.
grant select (distributor_id, id, key_hash, revoked_at) on api_keys to waystation_worker;
call allow_worker('api_keys', array['select']);

create table idempotency_keys (
    distributor_id uuid not null references distributors (id) on delete cascade,
    route text not null,
    key text not null check (length(key) between 1 and 255),
    request_hash bytea not null,
    response_status int,
    response_sealed bytea,
    created_at timestamptz not null,
    primary key (distributor_id, route, key)
);
comment on table idempotency_keys is
    '[8 Integrations] Answers of POST requests that carried an Idempotency-Key, held for 24 hours per tenant and route; sealed, since an answer may hold a secret.';
comment on column idempotency_keys.route is 'Method and path for which the key was used.';
comment on column idempotency_keys.key is 'What the caller sent as Idempotency-Key.';
comment on column idempotency_keys.request_hash is 'Of the body: another body under the same key is refused.';
comment on column idempotency_keys.response_status is 'NULL while the first request is still being worked on.';
comment on column idempotency_keys.response_sealed is 'The answer to give again, sealed by the service.';
call protect_tenant_table('idempotency_keys');
create index idempotency_keys_age on idempotency_keys (distributor_id, created_at);
grant select, insert, delete on idempotency_keys to waystation_app;
grant update (request_hash, response_status, response_sealed, created_at) on idempotency_keys to waystation_app;
