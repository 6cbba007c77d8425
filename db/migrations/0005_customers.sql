-- Who buys, the addresses they write from, and the labels a tenant sorts them by.

create table customers (
    -- PRIMARY KEY (id) alone, so that `select c.* … group by c.id` works in hand-written SQL.
    id uuid primary key,
    distributor_id uuid not null references distributors (id) on delete cascade,
    business_name text not null,
    customer_code text not null,
    status text not null default 'NO_ORDERS_YET'
        check (status in ('ORDERING', 'AT_RISK', 'STOPPED_ORDERING', 'NO_ORDERS_YET')),
    total_orders bigint not null default 0,
    total_spent numeric(28, 4) not null default 0,
    -- NULL until something is counted.
    currency text check (currency ~ '^[A-Z]{3}$'),
    last_ordered_at timestamptz,
    expected_order_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (distributor_id, id),
    unique (distributor_id, customer_code)
);
comment on table customers is
    '[2 Customers] A business that buys from the tenant; made by its first message.';
comment on column customers.business_name is 'From the profile of the first message, until somebody writes a better one.';
comment on column customers.customer_code is 'The tenant''s own code; made up for a customer who came by a message.';
comment on column customers.status is 'By the last order that counts: within 30 days, within 90, longer ago, none.';
comment on column customers.last_ordered_at is 'When the newest order that counts was made.';
comment on column customers.total_orders is 'Orders that the customer stands by: CONFIRMED or DELIVERED. Recounted with every change of one.';
comment on column customers.total_spent is 'Sum of those orders in `currency`.';
comment on column customers.currency is 'The tenant''s currency at the last recount; after a change of it the daily job recounts.';
comment on column customers.expected_order_at is 'The last order plus the median wait between the last ten; NULL with fewer than three.';
create index customers_last_order on customers (distributor_id, last_ordered_at, id) where last_ordered_at is not null;
create index customers_status on customers (distributor_id, status, last_ordered_at);
call protect_tenant_table('customers');
grant select, insert on customers to waystation_app, waystation_worker;
grant update (business_name, customer_code, status, total_orders, total_spent, currency, last_ordered_at, expected_order_at, updated_at)
    on customers to waystation_app;
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
comment on table customer_contacts is
    '[2 Customers] An address of a customer on a channel, with its consent: opted_out_at set means nothing may be sent.';
comment on column customer_contacts.address is 'E.164 or a lower-case e-mail address, without a prefix of a provider.';
comment on column customer_contacts.display_name is 'What the channel says the person is called.';
comment on column customer_contacts.opted_out_at is 'Set: nothing may be sent to this address.';
comment on column customer_contacts.consent_changed_at is 'When the customer last said yes or no; the newest word counts, whenever it arrives.';
comment on column customer_contacts.last_inbound_at is 'When the customer last wrote from this address, to any of the tenant''s accounts.';
create index customer_contacts_customer on customer_contacts (distributor_id, customer_id);
create index customer_contacts_address on customer_contacts (distributor_id, address);
call protect_tenant_table('customer_contacts');
grant select, insert on customer_contacts to waystation_app, waystation_worker;
grant update (customer_id, display_name, opted_out_at, consent_changed_at) on customer_contacts to waystation_app;
grant update (customer_id, display_name, opted_out_at, consent_changed_at, last_inbound_at) on customer_contacts to waystation_worker;
call allow_worker('customer_contacts', array['select', 'insert', 'update']);

create table customer_labels (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    name text not null check (name <> ''),
    color text not null check (color ~ '^#[0-9a-f]{6}$'),
    description text not null default '',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id)
);
comment on table customer_labels is '[2 Customers] A word by which the tenant sorts customers, such as Restaurant or Bar.';
comment on column customer_labels.name is 'Unique per tenant, whatever the case.';
comment on column customer_labels.color is 'Six hexadecimal digits in lower case.';
comment on column customer_labels.description is 'What the label is for.';
create unique index customer_labels_name on customer_labels (distributor_id, lower(name));
call protect_tenant_table('customer_labels');
grant select, insert, delete on customer_labels to waystation_app;
grant update (name, color, description, updated_at) on customer_labels to waystation_app;

create table customer_label_assignments (
    distributor_id uuid not null,
    customer_id uuid not null,
    label_id uuid not null,
    created_at timestamptz not null,
    primary key (distributor_id, customer_id, label_id),
    foreign key (distributor_id, customer_id) references customers (distributor_id, id) on delete cascade,
    foreign key (distributor_id, label_id) references customer_labels (distributor_id, id) on delete cascade
);
comment on table customer_label_assignments is '[2 Customers] Which customer bears which label, both of one tenant.';
create index customer_label_assignments_label on customer_label_assignments (distributor_id, label_id);
call protect_tenant_table('customer_label_assignments');
grant select, insert, delete on customer_label_assignments to waystation_app;
