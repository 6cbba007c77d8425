-- A cart that is collected over several messages, step by step.

create table conversation_order_sessions (
    distributor_id uuid not null,
    id uuid not null,
    conversation_id uuid not null,
    status text not null default 'ACTIVE' check (status in ('ACTIVE', 'COLLECTING', 'REVIEWING', 'CLOSED')),
    outcome text check (outcome in ('CONFIRMED', 'CANCELLED', 'TIMEOUT', 'ABANDONED')),
    order_id uuid,
    started_at timestamptz not null,
    last_activity_at timestamptz not null,
    expires_at timestamptz not null,
    reminded_at timestamptz,
    closed_at timestamptz,
    primary key (distributor_id, id),
    check ((status = 'CLOSED') = (outcome is not null)),
    check ((status = 'CLOSED') = (closed_at is not null)),
    check (expires_at >= last_activity_at),
    foreign key (distributor_id, conversation_id) references conversations (distributor_id, id) on delete cascade,
    foreign key (distributor_id, order_id) references orders (distributor_id, id) on delete set null (order_id)
);
comment on table conversation_order_sessions is
    '[4 Orders] One collection of an order in a conversation, at most one open; how it ended is its outcome. Coming: the session machine will write it, reminders and reports read it.';
comment on column conversation_order_sessions.status is 'How far the collection is.';
comment on column conversation_order_sessions.outcome is 'How it ended; set exactly while CLOSED.';
comment on column conversation_order_sessions.started_at is 'When the first wish for an order came.';
comment on column conversation_order_sessions.last_activity_at is 'When the customer last wrote to it.';
comment on column conversation_order_sessions.expires_at is 'When it ends by itself.';
comment on column conversation_order_sessions.reminded_at is 'When the customer was reminded; once at most.';
create unique index conversation_order_sessions_open on conversation_order_sessions (distributor_id, conversation_id) where status <> 'CLOSED';
create index conversation_order_sessions_conversation on conversation_order_sessions (distributor_id, conversation_id);
create index conversation_order_sessions_order on conversation_order_sessions (distributor_id, order_id);
create index conversation_order_sessions_expiry on conversation_order_sessions (distributor_id, expires_at) where status <> 'CLOSED';
call protect_tenant_table('conversation_order_sessions');

create table order_session_items (
    distributor_id uuid not null,
    id uuid not null,
    session_id uuid not null,
    product_id uuid,
    product_name text not null,
    unit text not null,
    quantity numeric(12, 3) not null check (quantity > 0),
    unit_price numeric(14, 4) check (unit_price >= 0),
    status text not null default 'PENDING' check (status in ('PENDING', 'CONFIRMED', 'REMOVED')),
    replaces_item_id uuid,
    source_message_id uuid,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id, session_id) references conversation_order_sessions (distributor_id, id) on delete cascade,
    foreign key (distributor_id, product_id) references products (distributor_id, id) on delete set null (product_id),
    foreign key (distributor_id, replaces_item_id) references order_session_items (distributor_id, id) on delete set null (replaces_item_id)
);
comment on table order_session_items is
    '[4 Orders] A line of a session''s cart; a correction replaces an item and keeps it. Messages are partitioned, so source_message_id is no foreign key. Coming: the session machine will write and read it.';
comment on column order_session_items.status is 'REMOVED keeps what the customer took back.';
comment on column order_session_items.source_message_id is 'The message that named it; no foreign key.';
create index order_session_items_session on order_session_items (distributor_id, session_id);
create index order_session_items_product on order_session_items (distributor_id, product_id);
create index order_session_items_replaced on order_session_items (distributor_id, replaces_item_id);
call protect_tenant_table('order_session_items');

create table order_session_events (
    distributor_id uuid not null,
    id uuid not null,
    session_id uuid not null,
    type text not null check (type in ('STARTED', 'STATUS_CHANGED', 'ITEM_ADDED', 'ITEM_CHANGED', 'ITEM_REMOVED', 'REMINDED', 'CLOSED')),
    actor text not null check (actor in ('CUSTOMER', 'ENGINE', 'STAFF', 'CLOCK')),
    data jsonb not null default '{}',
    message_id uuid,
    occurred_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id, session_id) references conversation_order_sessions (distributor_id, id) on delete cascade
);
comment on table order_session_events is
    '[4 Orders] Every step of a session, only ever added to. Messages are partitioned, so message_id is no foreign key. Coming: the session machine will write it, a session''s timeline read it.';
comment on column order_session_events.type is 'What happened.';
comment on column order_session_events.actor is 'Who did it.';
comment on column order_session_events.data is 'What belongs to the step.';
comment on column order_session_events.message_id is 'The message that caused it; no foreign key.';
create index order_session_events_session on order_session_events (distributor_id, session_id, id);
call protect_tenant_table('order_session_events', append_only => true);
