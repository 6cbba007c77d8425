-- Outgoing webhooks as integrators need them: endpoints with a pace and a health of their own, order by sequence, pulling,
-- replays, evidence.

alter table webhook_endpoints
    add column description text not null default '',
    add column transport text not null default 'push' check (transport in ('push', 'pull')),
    add column payload text not null default 'full' check (payload in ('full', 'thin')),
    add column signing text not null default 'hmac' check (signing in ('hmac', 'ed25519', 'both')),
    add column auth_sealed bytea,
    add column rate_limit_per_second numeric(10, 3) check (rate_limit_per_second > 0),
    add column max_in_flight smallint not null default 10 check (max_in_flight between 1 and 100),
    add column verification text not null default 'none' check (verification in ('none', 'pending', 'verified')),
    add column disabled_at timestamptz,
    alter column url drop not null,
    add constraint webhook_endpoints_url_check check ((url is null) = (transport = 'pull'));
comment on column webhook_endpoints.description is 'What it is for, in the tenant''s words.';
comment on column webhook_endpoints.transport is 'push: we post to url; pull: the integrator fetches and acknowledges.';
comment on column webhook_endpoints.payload is 'thin: ids only, the integrator reads the rest over the API.';
comment on column webhook_endpoints.signing is 'Which signatures a post carries: HMAC (v1), Ed25519 (v1a) or both.';
comment on column webhook_endpoints.auth_sealed is 'How we authenticate at the endpoint (bearer, basic, OAuth 2, client certificate), sealed by the service; NULL: by the signature alone.';
comment on column webhook_endpoints.rate_limit_per_second is 'The most posts a second that the integrator wants; NULL: as many as it takes.';
comment on column webhook_endpoints.max_in_flight is 'The most posts under way at once that the integrator wants; 1: one after the other.';
comment on column webhook_endpoints.verification is 'Whether its owner proved to be it by answering a challenge; pending: nothing is sent yet.';
comment on column webhook_endpoints.disabled_at is 'Since when nothing is made for it; what was missed since then can be sent.';
grant update (description, transport, payload, signing, auth_sealed, rate_limit_per_second, max_in_flight, verification, disabled_at)
    on webhook_endpoints to waystation_app;

alter table webhook_endpoint_state
    add column blocked_until timestamptz,
    add column paced_until timestamptz,
    add column learned_rate numeric(10, 3) check (learned_rate > 0),
    add column rate_second timestamptz,
    add column rate_count int not null default 0,
    add column rate_previous int not null default 0,
    add column throttled_at timestamptz,
    add column probes int not null default 0,
    add column last_failed_event_id uuid,
    add column last_success_at timestamptz,
    add column failed_attempts int not null default 0,
    add column warned_percent smallint not null default 0 check (warned_percent between 0 and 100),
    add column ready_at timestamptz generated always as (
        greatest(blocked_until, paced_until, case when breaker <> 'CLOSED' then breaker_until end)
    ) stored;
comment on table webhook_endpoint_state is
    '[8 Integrations] How an endpoint is doing: what is under way, its breaker, its pace, since when it fails. Every claim of deliveries is decided by it.';
comment on column webhook_endpoint_state.in_flight is 'Deliveries under lease.';
comment on column webhook_endpoint_state.next_due_at is 'When to look for retries next: never later than its earliest. First tries are found without it.';
comment on column webhook_endpoint_state.blocked_until is 'Until then nothing is sent: the receiver said so (Retry-After).';
comment on column webhook_endpoint_state.paced_until is 'When its rate allows the next post; all workers take their place by it.';
comment on column webhook_endpoint_state.ready_at is 'When all of these let the next post go; NULL: now.';
comment on column webhook_endpoint_state.failed_attempts is 'How many attempts failed since the last success.';
comment on column webhook_endpoint_state.learned_rate is 'Posts a second that the receiver was seen to take when it last answered 429; grows again with time. NULL: no limit is known.';
comment on column webhook_endpoint_state.rate_second is 'The second in which rate_count posts were taken, rate_previous in the one before.';
comment on column webhook_endpoint_state.rate_count is 'Posts that the receiver took in rate_second.';
comment on column webhook_endpoint_state.rate_previous is 'Posts that it took in the second before.';
comment on column webhook_endpoint_state.throttled_at is 'When its concurrency or rate was last cut.';
comment on column webhook_endpoint_state.probes is 'Failed probes in a row while the breaker is open; each waits longer than the one before.';
comment on column webhook_endpoint_state.consecutive_failures is 'How many events failed in a row, a repeated failure of one event counted once.';
comment on column webhook_endpoint_state.last_failed_event_id is 'Whose failure was counted last.';
comment on column webhook_endpoint_state.last_success_at is 'When it last took a post.';
comment on column webhook_endpoint_state.warned_percent is 'How much of the way to being disabled its tenant was warned of in this row of failures.';
create index webhook_endpoint_state_due on webhook_endpoint_state (next_due_at) where next_due_at is not null;
grant select, insert on webhook_endpoint_state to waystation_app;
grant select on webhook_endpoint_state to waystation_worker;
grant update (
        in_flight, concurrency, next_due_at, breaker, breaker_until, failing_since, consecutive_failures, blocked_until,
        paced_until, learned_rate, rate_second, rate_count, rate_previous, throttled_at, probes, last_failed_event_id,
        last_success_at, failed_attempts, warned_percent, updated_at
    ) on webhook_endpoint_state to waystation_app, waystation_worker;
call allow_worker('webhook_endpoint_state', array['select', 'update']);

-- Whoever makes an endpoint makes its state with it; those that are there already get theirs now.
insert into webhook_endpoint_state (distributor_id, endpoint_id, updated_at)
select w.distributor_id, w.id, w.created_at from webhook_endpoints w
on conflict do nothing;

alter table webhook_events
    add column sequence bigint,
    alter column body drop not null;
comment on column webhook_events.sequence is 'Its place among the events of its conversation, without gaps from 1; in the order in which they were committed.';
comment on column webhook_events.body is 'What is posted, byte for byte the same for every receiver of full payloads; NULL once its time is over, which is shorter than its attempts''.';
drop index webhook_events_conversation;
create index webhook_events_conversation on webhook_events (distributor_id, conversation_id, sequence) where conversation_id is not null;
create index webhook_events_type on webhook_events (distributor_id, type, id);
grant update (body) on webhook_events to waystation_worker;
call allow_worker('webhook_events', array['update']);

alter table webhook_deliveries
    add column sequence bigint,
    add column trigger text not null default 'event' check (trigger in ('event', 'test', 'manual', 'replay')),
    add column replay_id uuid;
comment on column webhook_deliveries.due_at is
    'When to post next; set exactly while work remains. Infinity: not by us (pulled), or not before an older one of its conversation has ended.';
comment on column webhook_deliveries.sequence is 'The event''s place in its conversation: the order that the endpoint asked for.';
comment on column webhook_deliveries.trigger is 'Why it is, or last was, on its way: the event itself, a test, a person, a replay.';
comment on column webhook_deliveries.replay_id is 'The replay that last sent it again: none does so twice.';
drop index webhook_deliveries_due, webhook_deliveries_leased, webhook_deliveries_ordering;
-- No index holds a lease: claiming a row leaves all of them alone (a heap-only update).
create index webhook_deliveries_new on webhook_deliveries (distributor_id, endpoint_id, due_at)
    where status = 'PENDING' and due_at < 'infinity';
create index webhook_deliveries_retry on webhook_deliveries (distributor_id, endpoint_id, due_at)
    where status = 'RETRYING' and due_at < 'infinity';
create index webhook_deliveries_waiting on webhook_deliveries (distributor_id, endpoint_id, event_id)
    where due_at = 'infinity';
create index webhook_deliveries_order on webhook_deliveries (distributor_id, endpoint_id, ordering_key, sequence)
    where due_at is not null and ordering_key is not null;
grant update (trigger, replay_id, ordering_key) on webhook_deliveries to waystation_app, waystation_worker;

alter table webhook_delivery_attempts
    add column trigger text not null default 'event' check (trigger in ('event', 'test', 'manual', 'replay', 'pull')),
    add column probe boolean not null default false,
    add column next_attempt_at timestamptz,
    add column evidence jsonb;
comment on column webhook_delivery_attempts.trigger is 'Why it was made.';
comment on column webhook_delivery_attempts.probe is 'Whether it tried an endpoint that had been failing; its own failure then costs the delivery nothing.';
comment on column webhook_delivery_attempts.next_attempt_at is 'When the delivery was to be tried again, as decided then.';
comment on column webhook_delivery_attempts.evidence is 'Headers both ways with secrets left out, the address that was dialled, times of each phase in ms, ids of the keys that signed.';
grant update (next_attempt_at, evidence) on webhook_delivery_attempts to waystation_worker;

alter table webhook_replays
    add column selection text not null default 'all' check (selection in ('missing', 'failed', 'all')),
    add column rate_per_second numeric(10, 3) not null default 50 check (rate_per_second > 0);
comment on table webhook_replays is '[8 Integrations] A wish to send past events again, and how far it got.';
comment on column webhook_replays.selection is 'Which: those never tried, those tried without success, or all.';
comment on column webhook_replays.rate_per_second is 'How many are put on their way in a second, so that new events do not wait behind old ones.';
grant select, insert on webhook_replays to waystation_app;
grant update (status, matched, replayed, last_event_id, updated_at) on webhook_replays to waystation_app;

-- Stores events and, with them, one delivery for each endpoint whose subscription matches: the only way events are made.
-- Input: a JSON array of {id, distributor_id, type, conversation_id, occurred_at, due_at, body}. Gives back the number of
-- deliveries. Events of a conversation are numbered under a lock that is held until they are committed: whoever sees
-- number n sees all before it, and whether an older one is unfinished is decided for good (release_heads takes the same lock).
create or replace function record_events(events jsonb) returns bigint
    language plpgsql volatile
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    made bigint;
begin
    perform lock_conversations(array(
        select e.conversation_id from jsonb_to_recordset(events) as e(conversation_id uuid) where e.conversation_id is not null
    ));
    with told as (
        select e.*
        from rows from (
            jsonb_to_recordset(events) as (
                distributor_id uuid, id uuid, type text, conversation_id uuid, occurred_at timestamptz, due_at timestamptz, body jsonb
            )
        ) with ordinality as e(distributor_id, id, type, conversation_id, occurred_at, due_at, body, position)
    ),
    numbered as (
        select t.*,
            case when t.conversation_id is not null then
                coalesce(last.sequence, 0) + row_number() over (partition by t.distributor_id, t.conversation_id order by t.position)
            end as sequence
        from told t
        left join lateral (
            select e.sequence
            from webhook_events e
            where e.distributor_id = t.distributor_id and e.conversation_id = t.conversation_id and e.sequence is not null
            order by e.sequence desc
            limit 1
        ) last on true
    ),
    event as (
        insert into webhook_events (distributor_id, id, type, body, conversation_id, occurred_at, sequence)
        select n.distributor_id, n.id, n.type,
            case when n.sequence is null then n.body else n.body || jsonb_build_object('sequence', n.sequence) end,
            n.conversation_id, n.occurred_at, n.sequence
        from numbered n
        order by n.position
        returning distributor_id, id, type, body, conversation_id, occurred_at, sequence
    ),
    wanted as (
        select event.*, w.id as endpoint_id, w.transport,
            case when w.ordering = 'conversation' then event.conversation_id end as ordering_key
        from event
        join webhook_endpoints w on w.distributor_id = event.distributor_id
        where w.enabled and w.deleted_at is null
            and w.event_types && array['*', split_part(event.type, '.', 1) || '.*', event.type]
            and (w.filter_path is null or coalesce(jsonb_path_match(event.body, w.filter_path, '{}', true), false))
    ),
    delivery as (
        insert into webhook_deliveries
            (distributor_id, endpoint_id, event_id, id, ordering_key, sequence, due_at, created_at, updated_at)
        select w.distributor_id, w.endpoint_id, w.id, md5(w.endpoint_id::text || w.id::text)::uuid, w.ordering_key, w.sequence,
            case
                when w.transport = 'pull' then 'infinity'
                when w.ordering_key is null then told.due_at
                when row_number() over (partition by w.endpoint_id, w.ordering_key order by w.sequence) > 1 then 'infinity'
                when exists (
                    select from webhook_deliveries older
                    where older.distributor_id = w.distributor_id and older.endpoint_id = w.endpoint_id
                        and older.ordering_key = w.ordering_key and older.due_at is not null
                ) then 'infinity'
                else told.due_at
            end,
            w.occurred_at, w.occurred_at
        from wanted w
        join told on told.id = w.id
        returning 1
    )
    select count(*) into made from delivery;
    return made;
end
$$;

create function lock_conversations(ids uuid[]) returns void
    language sql volatile
    set search_path = pg_catalog, pg_temp
    as $$
    select pg_advisory_xact_lock(hashtextextended('waystation conversation ' || c.id, 0))
    from (select distinct unnest(ids) as id order by 1) c
    $$;
comment on function lock_conversations(uuid[]) is
    'Waits for whoever tells of these conversations, or delivers in their order, and keeps them until the transaction ends.';
revoke execute on function lock_conversations(uuid[]) from public;
grant execute on function lock_conversations(uuid[]) to waystation_app, waystation_worker;

-- Of each conversation in which nothing is on its way to this endpoint, lets the oldest that waits go.
create function release_heads(tenant uuid, endpoint uuid, keys uuid[], moment timestamptz) returns bigint
    language plpgsql volatile
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    released bigint;
begin
    perform lock_conversations(keys);
    with head as (
        select first.event_id
        from (select distinct unnest(keys) as ordering_key) k
        cross join lateral (
            select d.event_id, d.due_at
            from webhook_deliveries d
            where d.distributor_id = tenant and d.endpoint_id = endpoint and d.ordering_key = k.ordering_key
                and d.due_at is not null
            order by d.sequence
            limit 1
        ) first
        where first.due_at = 'infinity' and not exists (
            select from webhook_deliveries other
            where other.distributor_id = tenant and other.endpoint_id = endpoint and other.ordering_key = k.ordering_key
                and other.due_at is not null and other.due_at < 'infinity'
        )
    ),
    gone as (
        update webhook_deliveries d set due_at = moment, updated_at = moment
        from head
        where d.distributor_id = tenant and d.endpoint_id = endpoint and d.event_id = head.event_id and d.due_at = 'infinity'
        returning 1
    )
    select count(*) into released from gone;
    return released;
end
$$;
comment on function release_heads(uuid, uuid, uuid[], timestamptz) is
    'Lets the oldest waiting delivery of each conversation go, where none of it is on its way to the endpoint. Gives back how many.';
revoke execute on function release_heads(uuid, uuid, uuid[], timestamptz) from public;
grant execute on function release_heads(uuid, uuid, uuid[], timestamptz) to waystation_app, waystation_worker;
