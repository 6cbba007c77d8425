-- The tenant of a transaction, the protection that every tenant table gets, tenants and what they used.

create function get_current_distributor_id() returns uuid
    language sql stable parallel safe
    set search_path = pg_catalog, pg_temp
    -- After a transaction-local set the value is an empty string, hence the NULLIF. Unset: NULL, so no rows.
    as $$ select nullif(current_setting('app.current_distributor_id', true), '')::uuid $$;

comment on function get_current_distributor_id() is
    'The tenant of this transaction, as set by set_config(''app.current_distributor_id'', …, true); NULL when unset.';

-- Row-level security for one tenant table: enabled and forced, everything for the owner (migrations, foreign keys),
-- one policy per command for the application within its tenant. Grants are given per table, beside its definition.
create procedure protect_tenant_table(
    protected regclass, tenant_column name default 'distributor_id', append_only boolean default false
)
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
    if append_only then
        return;  -- nobody but the owner changes or deletes what is there
    end if;
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

revoke execute on procedure protect_tenant_table(regclass, name, boolean), allow_worker(regclass, text[]) from public;

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
comment on table distributors is
    '[1 Tenancy & authentication] A tenant: one wholesaler that sells through the platform, with its settings.';
comment on column distributors.name is 'The wholesaler''s name, as its customers know it.';
comment on column distributors.time_zone is 'IANA name; delivery days are read in it.';
comment on column distributors.locale is 'Language of replies until a customer''s own is known.';
comment on column distributors.currency is 'ISO 4217; new orders take it, and figures count orders in it.';
comment on column distributors.auto_reply is 'Which answers leave by themselves: none, only those that code words, or all.';
comment on column distributors.ai_confidence_threshold is 'A line below it sends its order to review.';
comment on column distributors.catalogue_version is 'Counts changes of products, so that a matcher knows when to build its index anew.';
call protect_tenant_table('distributors', 'id');
grant select on distributors to waystation_app, waystation_worker;
grant insert (id, name, time_zone, locale, currency, created_at, updated_at) on distributors to waystation_app;
grant update (name, time_zone, locale, currency, auto_reply, ai_confidence_threshold, catalogue_version, updated_at)
    on distributors to waystation_app;
call allow_worker('distributors', array['select']);

create table distributor_usage (
    distributor_id uuid not null references distributors (id) on delete cascade,
    period date not null check (extract(day from period) = 1),
    customers bigint not null default 0,
    messages_in bigint not null default 0,
    messages_out bigint not null default 0,
    orders bigint not null default 0,
    ai_requests bigint not null default 0,
    ai_tokens bigint not null default 0,
    ai_cost_micro_usd bigint not null default 0,
    counted_at timestamptz not null,
    primary key (distributor_id, period)
);
comment on table distributor_usage is
    '[1 Tenancy & authentication] What a tenant used in a calendar month (UTC): always a recount of the rows themselves, so it cannot drift.';
comment on column distributor_usage.period is 'First day of the month.';
comment on column distributor_usage.messages_in is 'Inbound messages made in the month.';
comment on column distributor_usage.messages_out is 'Outbound messages made in the month, failed ones included.';
comment on column distributor_usage.orders is 'Orders made in the month, whatever became of them.';
comment on column distributor_usage.ai_requests is 'Turns in which an engine was asked, failures included.';
comment on column distributor_usage.ai_tokens is 'Tokens read and written by models.';
comment on column distributor_usage.ai_cost_micro_usd is 'What models cost, in millionths of a US dollar.';
comment on column distributor_usage.customers is 'Customers at the time of counting; all other counts are of the month.';
call protect_tenant_table('distributor_usage');
grant select, insert on distributor_usage to waystation_app;
grant update (customers, messages_in, messages_out, orders, ai_requests, ai_tokens, ai_cost_micro_usd, counted_at)
    on distributor_usage to waystation_app;
