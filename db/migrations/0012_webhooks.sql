-- Outgoing webhooks: endpoints, events, deliveries (the outbox) and every attempt.

create table webhook_endpoints (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    name text not null,
    url text not null,
    event_types text[] not null check (cardinality(event_types) > 0),
    filter jsonb,
    filter_path jsonpath,
    headers_sealed bytea,
    secrets_sealed bytea not null,
    ordering text not null default 'none' check (ordering in ('none', 'conversation')),
    enabled boolean not null default true,
    disabled_reason text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    primary key (distributor_id, id),
    check (enabled = (disabled_reason is null))
);
comment on table webhook_endpoints is
    '[8 Integrations] Where an integrator wants events posted. Secrets (new first, old ones while they overlap) and custom headers are sealed.';
comment on column webhook_endpoints.url is 'Where events are posted; checked when saved and at every post.';
comment on column webhook_endpoints.event_types is 'Types, families (order.*) or * that are wanted.';
comment on column webhook_endpoints.filter is 'The condition on the body, as the integrator wrote it; NULL: none.';
comment on column webhook_endpoints.headers_sealed is 'Custom headers, sealed by the service: they often hold a key.';
comment on column webhook_endpoints.secrets_sealed is 'The signing secrets, sealed by the service.';
comment on column webhook_endpoints.ordering is 'conversation: one event after the other within a conversation.';
comment on column webhook_endpoints.enabled is 'While false no delivery is made.';
comment on column webhook_endpoints.disabled_reason is 'Why not; set exactly while disabled.';
comment on column webhook_endpoints.filter_path is 'The filter compiled to a JSON path predicate over the event body, so that matching happens where events are stored.';
call protect_tenant_table('webhook_endpoints');
grant select, insert on webhook_endpoints to waystation_app;
grant update (name, url, event_types, filter, filter_path, headers_sealed, secrets_sealed, ordering, enabled, disabled_reason, updated_at, deleted_at)
    on webhook_endpoints to waystation_app;
grant select on webhook_endpoints to waystation_worker;
call allow_worker('webhook_endpoints', array['select']);

create table webhook_endpoint_state (
    distributor_id uuid not null,
    endpoint_id uuid not null,
    in_flight int not null default 0 check (in_flight >= 0),
    concurrency int not null default 10 check (concurrency > 0),
    next_due_at timestamptz,
    breaker text not null default 'CLOSED' check (breaker in ('CLOSED', 'OPEN', 'HALF_OPEN')),
    breaker_until timestamptz,
    failing_since timestamptz,
    consecutive_failures int not null default 0,
    updated_at timestamptz not null,
    primary key (distributor_id, endpoint_id),
    foreign key (distributor_id, endpoint_id) references webhook_endpoints (distributor_id, id) on delete cascade
) with (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
comment on table webhook_endpoint_state is
    '[8 Integrations] How an endpoint is doing: what is under way, its breaker, since when it fails. Coming: the claim of deliveries will be driven by it.';
comment on column webhook_endpoint_state.in_flight is 'Posts under way.';
comment on column webhook_endpoint_state.concurrency is 'How many may be under way at once.';
comment on column webhook_endpoint_state.next_due_at is 'When its next delivery is due.';
comment on column webhook_endpoint_state.breaker is 'OPEN: nothing is sent for a while; HALF_OPEN: one is tried.';
comment on column webhook_endpoint_state.breaker_until is 'When an open breaker lets one through.';
comment on column webhook_endpoint_state.failing_since is 'When the present row of failures began.';
comment on column webhook_endpoint_state.consecutive_failures is 'How long that row is.';
call protect_tenant_table('webhook_endpoint_state');

create table webhook_events (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    type text not null,
    body jsonb not null,
    conversation_id uuid,
    occurred_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id, conversation_id) references conversations (distributor_id, id) on delete set null (conversation_id)
) partition by range (id);
create index webhook_events_conversation on webhook_events (distributor_id, conversation_id) where conversation_id is not null;
comment on table webhook_events is
    '[8 Integrations] What happened, stored in the transaction in which it happened; body is what receivers get.';
comment on column webhook_events.type is 'Such as order.created; the catalogue of types is in /openapi.json.';
comment on column webhook_events.body is 'What is posted, byte for byte the same for every receiver.';
call protect_tenant_table('webhook_events');
grant select, insert on webhook_events to waystation_app, waystation_worker;
call allow_worker('webhook_events', array['select', 'insert']);

create table webhook_deliveries (
    distributor_id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    id uuid not null,
    status text not null default 'PENDING' check (status in ('PENDING', 'SUCCESS', 'RETRYING', 'EXHAUSTED', 'CANCELLED')),
    ordering_key uuid,
    attempt_count int not null default 0,
    schedule_position int not null default 0,
    due_at timestamptz,
    lease_until timestamptz,
    lease_token uuid,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, endpoint_id, event_id),
    check ((status in ('PENDING', 'RETRYING')) = (due_at is not null)),
    foreign key (distributor_id, endpoint_id) references webhook_endpoints (distributor_id, id) on delete cascade,
    foreign key (distributor_id, event_id) references webhook_events (distributor_id, id) on delete cascade
) partition by range (event_id);
comment on table webhook_deliveries is
    '[8 Integrations] The outbox: one row per event and matching endpoint, born with the event. due_at is set while work remains.';
comment on column webhook_deliveries.id is 'Made from endpoint and event, so that a repetition makes none twice.';
comment on column webhook_deliveries.status is 'PENDING and RETRYING are work, the others ends.';
comment on column webhook_deliveries.ordering_key is 'The conversation, where the endpoint asks for order.';
comment on column webhook_deliveries.attempt_count is 'Posts begun.';
comment on column webhook_deliveries.due_at is 'When to post next; set exactly while work remains.';
comment on column webhook_deliveries.schedule_position is 'How many waits of the retry schedule are used up; a redelivery starts again at 0.';
create index webhook_deliveries_id on webhook_deliveries (distributor_id, id);
create index webhook_deliveries_event on webhook_deliveries (distributor_id, event_id);
create index webhook_deliveries_leased on webhook_deliveries (distributor_id, endpoint_id, lease_until) where lease_until is not null;
create index webhook_deliveries_unhappy on webhook_deliveries (distributor_id, status, event_id desc, id desc) where status <> 'SUCCESS';
create index webhook_deliveries_due on webhook_deliveries (distributor_id, endpoint_id, due_at) where due_at is not null;
create index webhook_deliveries_ordering on webhook_deliveries (distributor_id, endpoint_id, ordering_key, event_id) where due_at is not null and ordering_key is not null;
call protect_tenant_table('webhook_deliveries');
grant select, insert on webhook_deliveries to waystation_app, waystation_worker;
grant update (status, attempt_count, schedule_position, due_at, lease_until, lease_token, updated_at) on webhook_deliveries to waystation_app, waystation_worker;
call allow_worker('webhook_deliveries', array['select', 'insert', 'update']);

create table webhook_delivery_attempts (
    distributor_id uuid not null,
    id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    number int not null check (number > 0),
    started_at timestamptz not null,
    outcome text not null default 'unknown' check (outcome in ('unknown', 'success', 'failure')),
    duration_ms int,
    status_code int,
    error_class text,
    response_excerpt text,
    -- Cut along the event's id: whatever an event caused is retired with it, however late it was tried again.
    primary key (distributor_id, endpoint_id, event_id, number),
    foreign key (distributor_id, endpoint_id, event_id) references webhook_deliveries (distributor_id, endpoint_id, event_id) on delete cascade
) partition by range (event_id);
comment on table webhook_delivery_attempts is
    '[8 Integrations] Every post, written before it leaves and finished after; one that was interrupted stays unknown.';
comment on column webhook_delivery_attempts.number is 'From 1.';
comment on column webhook_delivery_attempts.started_at is 'When it left.';
comment on column webhook_delivery_attempts.outcome is 'unknown until finished; one that was interrupted stays so.';
comment on column webhook_delivery_attempts.duration_ms is 'Until the answer or the failure.';
comment on column webhook_delivery_attempts.status_code is 'The receiver''s answer, if one came.';
comment on column webhook_delivery_attempts.response_excerpt is 'The beginning of the answer, at most 4 KiB.';
call protect_tenant_table('webhook_delivery_attempts');
grant select on webhook_delivery_attempts to waystation_app;
grant select, insert on webhook_delivery_attempts to waystation_worker;
grant update (outcome, duration_ms, status_code, error_class, response_excerpt) on webhook_delivery_attempts to waystation_worker;
call allow_worker('webhook_delivery_attempts', array['select', 'insert', 'update']);

create table webhook_replays (
    distributor_id uuid not null,
    id uuid not null,
    endpoint_id uuid not null,
    request jsonb not null,
    status text not null default 'PENDING' check (status in ('PENDING', 'RUNNING', 'DONE', 'CANCELLED')),
    matched bigint not null default 0,
    replayed bigint not null default 0,
    last_event_id uuid,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id, endpoint_id) references webhook_endpoints (distributor_id, id) on delete cascade
);
comment on table webhook_replays is
    '[8 Integrations] A wish to send past events again, and how far it got. Coming: replay of many events will write and read it; today one request replays at once.';
comment on column webhook_replays.request is 'What was asked for, as it was posted.';
comment on column webhook_replays.status is 'How far it is.';
comment on column webhook_replays.matched is 'Events that the wish covers.';
comment on column webhook_replays.replayed is 'Those that were sent again.';
comment on column webhook_replays.last_event_id is 'Where to go on.';
create index webhook_replays_endpoint on webhook_replays (distributor_id, endpoint_id);
call protect_tenant_table('webhook_replays');

-- Stores events and, with them, one delivery for each endpoint whose subscription matches: the only way events are made.
-- Input: a JSON array of {id, distributor_id, type, conversation_id, occurred_at, due_at, body}. Gives back the number of deliveries.
create function record_events(events jsonb) returns bigint
    language sql volatile
    set search_path = pg_catalog, public, pg_temp
    as $$
    with event as (
        insert into webhook_events (distributor_id, id, type, body, conversation_id, occurred_at)
        select e.distributor_id, e.id, e.type, e.body, e.conversation_id, e.occurred_at
        from jsonb_to_recordset(events)
            as e(distributor_id uuid, id uuid, type text, body jsonb, conversation_id uuid, occurred_at timestamptz)
        returning distributor_id, id, type, body, conversation_id, occurred_at
    ),
    due as (
        select d.id, d.due_at from jsonb_to_recordset(events) as d(id uuid, due_at timestamptz)
    ),
    delivery as (
        insert into webhook_deliveries
            (distributor_id, endpoint_id, event_id, id, ordering_key, due_at, created_at, updated_at)
        select event.distributor_id, w.id, event.id, md5(w.id::text || event.id::text)::uuid,
            case when w.ordering = 'conversation' then event.conversation_id end,
            due.due_at, event.occurred_at, event.occurred_at
        from event
        join due on due.id = event.id
        join webhook_endpoints w on w.distributor_id = event.distributor_id
        where w.enabled and w.deleted_at is null
            and w.event_types && array['*', split_part(event.type, '.', 1) || '.*', event.type]
            and (w.filter_path is null or coalesce(jsonb_path_match(event.body, w.filter_path, '{}', true), false))
        returning 1
    )
    select count(*) from delivery
    $$;
comment on function record_events(jsonb) is 'Stores events and one delivery for each endpoint that wants them: the only way events are made. Gives back the number of deliveries.';
revoke execute on function record_events(jsonb) from public;
grant execute on function record_events(jsonb) to waystation_app, waystation_worker;
