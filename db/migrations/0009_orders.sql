-- Orders, their lines, and what the matcher chose against what a person chose.

create table orders (
    distributor_id uuid not null,
    id uuid not null,
    conversation_id uuid,
    customer_id uuid,
    channel text not null check (channel in ('WHATSAPP', 'SMS', 'EMAIL')),
    status text not null check (status in ('PENDING', 'REVIEW', 'CONFIRMED', 'CANCELLED', 'REJECTED', 'DELIVERED')),
    requires_review boolean not null default false,
    review_reasons text[] not null default '{}',
    unmatched text[] not null default '{}',
    delivery_date date,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    total_amount numeric(28, 4) not null default 0,
    confidence numeric(4, 3),
    source_message_id uuid,
    confirmed_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id) references distributors (id) on delete cascade,
    foreign key (distributor_id, conversation_id) references conversations (distributor_id, id) on delete set null (conversation_id),
    foreign key (distributor_id, customer_id) references customers (distributor_id, id) on delete set null (customer_id)
);
comment on table orders is
    '[4 Orders] An order. A conversation has at most one open draft (PENDING or REVIEW). Outlives messages, so source_message_id is no foreign key.';
comment on column orders.status is 'PENDING and REVIEW are open drafts; CONFIRMED and DELIVERED count in a customer''s figures.';
comment on column orders.requires_review is 'A person should look at it.';
comment on column orders.review_reasons is 'Why, as codes.';
comment on column orders.unmatched is 'The customer''s words that fit no product, as they were written.';
comment on column orders.delivery_date is 'A day in the tenant''s time zone.';
comment on column orders.total_amount is 'Sum of the lines, written in the same transaction.';
comment on column orders.source_message_id is 'The message that began it; no foreign key, since the order outlives it.';
comment on column orders.confirmed_at is 'When the customer or a person agreed.';
create unique index orders_open_draft on orders (distributor_id, conversation_id) where status in ('PENDING', 'REVIEW');
create index orders_time on orders (distributor_id, created_at desc);
create index orders_conversation on orders (distributor_id, conversation_id);
create index orders_customer on orders (distributor_id, customer_id, created_at desc);
create index orders_review on orders (distributor_id, id desc) where requires_review;
call protect_tenant_table('orders');
grant select, insert on orders to waystation_app;
grant update (status, requires_review, review_reasons, unmatched, delivery_date, total_amount, confidence, confirmed_at, updated_at) on orders to waystation_app;

create table order_products (
    distributor_id uuid not null,
    id uuid not null,
    order_id uuid not null,
    product_id uuid,
    sku text not null,
    product_name text not null,
    unit text not null,
    quantity numeric(12, 3) not null check (quantity > 0),
    unit_price numeric(14, 4),
    line_total numeric(24, 4) generated always as (round(quantity * coalesce(unit_price, 0), 4)) stored,
    confidence numeric(4, 3) not null check (confidence between 0 and 1),
    band text not null check (band in ('auto', 'confirm')),
    original_text text not null default '',
    position int not null,
    primary key (distributor_id, id),
    unique (distributor_id, order_id, sku),
    foreign key (distributor_id, order_id) references orders (distributor_id, id) on delete cascade,
    foreign key (distributor_id, product_id) references products (distributor_id, id) on delete set null (product_id)
);
comment on table order_products is
    '[4 Orders] A line of an order; name, unit and price are the catalogue''s at the time, never a model''s.';
comment on column order_products.unit_price is 'The catalogue''s when the line was made; NULL: it had none.';
comment on column order_products.line_total is 'Generated: quantity × unit price, rounded to four decimals.';
comment on column order_products.band is 'auto: sure enough to stand; confirm: ask first.';
comment on column order_products.original_text is 'The words that the line was read from.';
create index order_products_product on order_products (distributor_id, product_id);
call protect_tenant_table('order_products');
grant select, insert, delete on order_products to waystation_app;
grant update (quantity, unit_price, confidence, band, original_text, position) on order_products to waystation_app;

create table product_matching_history (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    order_product_id uuid,
    original_text text not null,
    suggested_product_id uuid,
    suggested_confidence numeric(4, 3) check (suggested_confidence between 0 and 1),
    method text not null check (method in ('EXACT', 'ALIAS', 'MISSPELLING', 'FUZZY', 'MODEL', 'MANUAL')),
    final_product_id uuid,
    decided_by text not null check (decided_by in ('ENGINE', 'CUSTOMER', 'STAFF')),
    decided_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id, order_product_id) references order_products (distributor_id, id) on delete set null (order_product_id),
    foreign key (distributor_id, suggested_product_id) references products (distributor_id, id) on delete set null (suggested_product_id),
    foreign key (distributor_id, final_product_id) references products (distributor_id, id) on delete set null (final_product_id)
);
comment on table product_matching_history is
    '[5 Catalogue] First suggestion and last decision for words of a customer, so that accuracy can be counted. Coming: corrections of order lines will write it, learning aliases read it.';
comment on column product_matching_history.original_text is 'The customer''s words.';
comment on column product_matching_history.suggested_confidence is 'How sure the first suggestion was.';
comment on column product_matching_history.method is 'How it was found.';
comment on column product_matching_history.decided_by is 'Whose the last word was.';
comment on column product_matching_history.decided_at is 'When the last word was said.';
create index product_matching_history_line on product_matching_history (distributor_id, order_product_id);
create index product_matching_history_suggested on product_matching_history (distributor_id, suggested_product_id);
create index product_matching_history_final on product_matching_history (distributor_id, final_product_id);
call protect_tenant_table('product_matching_history');
