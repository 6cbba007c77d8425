-- Who buys, and the addresses they write from.

create table customers (
    -- PRIMARY KEY (id) alone, so that `select c.* … group by c.id` works in hand-written SQL.
    id uuid primary key,
    distributor_id uuid not null references distributors (id) on delete cascade,
    business_name text not null,
    customer_code text not null,
    status text not null default 'NO_ORDERS_YET'
        check (status in ('ORDERING', 'AT_RISK', 'STOPPED_ORDERING', 'NO_ORDERS_YET')),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (distributor_id, id),
    unique (distributor_id, customer_code)
);
comment on table customers is 'A business that buys from the tenant; made by its first message.';
call protect_tenant_table('customers');
grant select, insert on customers to waystation_app, waystation_worker;
grant update (business_name, customer_code, status, updated_at) on customers to waystation_app;
call allow_worker('customers', array['select', 'insert']);

create table customer_contacts (
    distributor_id uuid not null,
    id uuid not null,
    customer_id uuid,
    channel text not null check (channel in ('WHATSAPP', 'SMS', 'EMAIL')),
    address text not null,
    display_name text,
    opted_out_at timestamptz,
    consent_changed_at timestamptz,
    last_inbound_at timestamptz,
    created_at timestamptz not null,
    primary key (distributor_id, id),
    unique (distributor_id, channel, address),
    foreign key (distributor_id) references distributors (id) on delete cascade,
    foreign key (distributor_id, customer_id) references customers (distributor_id, id) on delete set null (customer_id)
);
comment on table customer_contacts is 'An address of a customer on a channel, with its consent: opted_out_at set means nothing may be sent.';
comment on column customer_contacts.last_inbound_at is 'When the customer last wrote from this address, to any of the tenant''s accounts.';
create index customer_contacts_customer on customer_contacts (distributor_id, customer_id);
create index customer_contacts_address on customer_contacts (distributor_id, address);
call protect_tenant_table('customer_contacts');
grant select, insert on customer_contacts to waystation_app, waystation_worker;
grant update (display_name, opted_out_at, consent_changed_at) on customer_contacts to waystation_app;
grant update (customer_id, display_name, opted_out_at, consent_changed_at, last_inbound_at) on customer_contacts to waystation_worker;
call allow_worker('customer_contacts', array['select', 'insert', 'update']);
