-- Tenants, the tenant of a transaction, the protection that every tenant table gets, API keys.

create function get_current_distributor_id() returns uuid
    language sql stable parallel safe
    set search_path = pg_catalog
    -- After a transaction-local set the value is an empty string, hence the NULLIF. Unset: NULL, so no rows.
    as $$ select nullif(current_setting('app.current_distributor_id', true), '')::uuid $$;

comment on function get_current_distributor_id() is
    'The tenant of this transaction, as set by set_config(''app.current_distributor_id'', …, true); NULL when unset.';

-- Row-level security for one tenant table: enabled and forced, everything for the owner (migrations, foreign keys),
-- one policy per command for the application within its tenant. Grants are given per table, beside its definition.
create procedure protect_tenant_table(protected regclass, tenant_column name default 'distributor_id')
    language plpgsql
    as $$
declare
    mine text := format('%I = (select get_current_distributor_id())', tenant_column);
begin
    execute format('alter table %s enable row level security', protected);
    execute format('alter table %s force row level security', protected);
    execute format('create policy owner_all on %s for all to waystation_owner using (true) with check (true)', protected);
    execute format('create policy app_select on %s for select to waystation_app using (%s)', protected, mine);
    execute format('create policy app_insert on %s for insert to waystation_app with check (%s)', protected, mine);
    execute format('create policy app_update on %s for update to waystation_app using (%s) with check (%s)', protected, mine, mine);
    execute format('create policy app_delete on %s for delete to waystation_app using (%s)', protected, mine);
end
$$;

-- The worker reads and writes across tenants, on the tables and commands named here and nowhere else.
create procedure allow_worker(allowed regclass, commands text[])
    language plpgsql
    as $$
declare
    command text;
begin
    foreach command in array commands loop
        execute format(
            'create policy worker_%s on %s for %s to waystation_worker %s',
            command, allowed, command,
            case command
                when 'select' then 'using (true)'
                when 'insert' then 'with check (true)'
                else 'using (true) with check (true)'
            end
        );
    end loop;
end
$$;

revoke execute on procedure protect_tenant_table(regclass, name), allow_worker(regclass, text[]) from public;

create table distributors (
    id uuid primary key,
    name text not null check (name <> ''),
    time_zone text not null default 'UTC',
    locale text not null default 'es' check (locale in ('es', 'en', 'pt')),
    currency text not null default 'USD' check (currency ~ '^[A-Z]{3}$'),
    auto_reply text not null default 'safe' check (auto_reply in ('off', 'safe', 'all')),
    ai_confidence_threshold numeric(3, 2) not null default 0.80 check (ai_confidence_threshold between 0 and 1),
    catalogue_version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
comment on table distributors is 'A tenant: one wholesaler that sells through the platform, with its settings.';
comment on column distributors.catalogue_version is 'Counts changes of products, so that a matcher knows when to build its index anew.';
call protect_tenant_table('distributors', 'id');
grant select on distributors to waystation_app, waystation_worker;
grant insert (id, name, time_zone, locale, currency, created_at, updated_at) on distributors to waystation_app;
grant update (name, time_zone, locale, currency, auto_reply, ai_confidence_threshold, catalogue_version, updated_at)
    on distributors to waystation_app;
call allow_worker('distributors', array['select']);

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
comment on table api_keys is 'Keys of the management API, stored as SHA-256 of a 256-bit random value; the prefix names a key to people.';
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
comment on table idempotency_keys is 'Answers of POST requests that carried an Idempotency-Key, held for 24 hours per tenant and route; sealed, since an answer may hold a secret.';
call protect_tenant_table('idempotency_keys');
create index idempotency_keys_age on idempotency_keys (distributor_id, created_at);
grant select, insert, delete on idempotency_keys to waystation_app;
grant update (request_hash, response_status, response_sealed, created_at) on idempotency_keys to waystation_app;
