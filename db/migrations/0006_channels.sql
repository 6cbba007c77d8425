-- A tenant's accounts at providers, what providers posted to them, and which of it is known already.

create table channel_accounts (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    channel text not null check (channel in ('WHATSAPP', 'SMS', 'EMAIL')),
    provider text not null,
    address text not null,
    credentials_sealed bytea not null,
    settings jsonb not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    primary key (distributor_id, id)
);
comment on table channel_accounts is
    '[3 Messaging] A tenant''s account at a provider: the address customers write to, with sealed credentials.';
comment on column channel_accounts.address is 'The number or mailbox that customers write to.';
comment on column channel_accounts.settings is 'What is no secret of the account.';
create unique index channel_accounts_address on channel_accounts (distributor_id, provider, channel, address) where deleted_at is null;
create unique index channel_accounts_id on channel_accounts (id);
call protect_tenant_table('channel_accounts');
grant select, insert on channel_accounts to waystation_app;
grant update (address, credentials_sealed, settings, updated_at, deleted_at) on channel_accounts to waystation_app;
-- The lookup by id that comes before a tenant is known.
grant select on channel_accounts to waystation_worker;
call allow_worker('channel_accounts', array['select']);

create table inbound_events (
    distributor_id uuid not null,
    id uuid not null,
    channel_account_id uuid not null,
    kind text not null check (kind in ('message', 'status')),
    provider_key text not null,
    method text not null,
    target text not null,
    headers jsonb not null,
    body bytea not null,
    received_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id, channel_account_id) references channel_accounts (distributor_id, id) on delete cascade
) partition by range (id);
comment on table inbound_events is
    '[3 Messaging] What a provider posted after its signature held: method, path with query, headers and body, so that it can be verified and read again. Coming: `waystation replay` will read it; accept writes it today.';
comment on column inbound_events.kind is 'A customer''s message or a provider''s status.';
comment on column inbound_events.provider_key is 'The provider''s id of what it posted.';
comment on column inbound_events.method is 'Of the request; the signature covers it at some providers.';
comment on column inbound_events.target is 'Path and query as they were requested.';
comment on column inbound_events.headers is 'As they came, without credentials.';
comment on column inbound_events.body is 'Byte for byte: bytea, since a signature is over bytes.';
comment on column inbound_events.received_at is 'When the post was read.';
create index inbound_events_account on inbound_events (distributor_id, channel_account_id, id desc);
call protect_tenant_table('inbound_events');
grant select on inbound_events to waystation_app;
grant select, insert on inbound_events to waystation_worker;
call allow_worker('inbound_events', array['select', 'insert']);

create table external_message_mappings (
    distributor_id uuid not null,
    channel_account_id uuid not null,
    provider_key text not null,
    message_id uuid,
    created_at timestamptz not null,
    primary key (distributor_id, channel_account_id, provider_key),
    foreign key (distributor_id, channel_account_id) references channel_accounts (distributor_id, id) on delete cascade
);
comment on table external_message_mappings is
    '[8 Integrations] The dedupe: a key is taken once per account, and tells the message that it made. Outlives messages, so message_id is no foreign key.';
comment on column external_message_mappings.message_id is 'What the key made: a message, or a status event. NULL: only the key is held.';
comment on column external_message_mappings.provider_key is
    'An inbound message''s id, "status:" with a callback''s key, "sent:" with the id of what we sent, "reply:" with the last message of the burst that was answered.';
call protect_tenant_table('external_message_mappings');
grant select, insert on external_message_mappings to waystation_app;
grant select, insert on external_message_mappings to waystation_worker;
call allow_worker('external_message_mappings', array['select', 'insert']);

create table external_integrations (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    name text not null check (name <> ''),
    kind text not null check (kind in ('ERP', 'ECOMMERCE', 'CRM', 'ANALYTICS', 'PAYMENT')),
    provider text not null,
    settings jsonb not null default '{}',
    credentials_sealed bytea,
    status text not null default 'SETUP_REQUIRED' check (status in ('SETUP_REQUIRED', 'ACTIVE', 'INACTIVE', 'ERROR')),
    last_synced_at timestamptz,
    error_class text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id)
);
comment on table external_integrations is
    '[8 Integrations] A connection to another system of the tenant that is no messaging channel, with sealed credentials. Coming: connectors to order systems will write and read it.';
comment on column external_integrations.kind is 'What sort of system it is.';
comment on column external_integrations.settings is 'What is no secret of the connection.';
comment on column external_integrations.status is 'How the connection stands.';
comment on column external_integrations.last_synced_at is 'When it last exchanged anything.';
create unique index external_integrations_name on external_integrations (distributor_id, lower(name));
call protect_tenant_table('external_integrations');
