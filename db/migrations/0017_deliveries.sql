-- Outgoing webhooks as integrators need them: endpoints with a pace and a health of their own, order by sequence, pulling,
-- replays, evidence.

alter table webhook_endpoints
    add column description text not null default '',
    add column transport text not null default 'push' check (transport in ('push', 'pull')),
    add column payload text not null default 'full' check (payload in ('full', 'thin')),
    add column signing text not null default 'hmac' check (signing in ('hmac', 'ed25519', 'both')),
    add column public_keys jsonb not null default '[]',
    add column auth_sealed bytea,
    add column rate_limit_per_second numeric(10, 3) check (rate_limit_per_second > 0),
    add column max_in_flight smallint not null default 10 check (max_in_flight between 1 and 10),
    add column verification text not null default 'none' check (verification in ('none', 'pending', 'verified')),
    add column disabled_at timestamptz,
    alter column url drop not null,
    add constraint webhook_endpoints_url_check check ((url is null) = (transport = 'pull'));
comment on column webhook_endpoints.description is 'What it is for, in the tenant''s words.';
comment on column webhook_endpoints.transport is 'push: we post to url; pull: the integrator fetches and acknowledges.';
comment on column webhook_endpoints.payload is 'thin: ids only, the integrator reads the rest over the API.';
comment on column webhook_endpoints.signing is 'Which signatures a post carries: HMAC (v1), Ed25519 (v1a) or both.';
comment on column webhook_endpoints.public_keys is
    'The public halves of the Ed25519 keys, new first: kid, x (JWK, RFC 8037) and, for one that only overlaps, expires_at. Anybody may read them by the endpoint''s id.';
comment on column webhook_endpoints.auth_sealed is 'How we authenticate at the endpoint (bearer, basic, OAuth 2, client certificate), sealed by the service; NULL: by the signature alone.';
comment on column webhook_endpoints.rate_limit_per_second is 'The most posts a second that the integrator wants; NULL: as many as it takes.';
comment on column webhook_endpoints.max_in_flight is 'The most posts under way at once that the integrator wants; 1: one after the other.';
comment on column webhook_endpoints.verification is 'Whether its owner proved to be it by answering a challenge; pending: nothing is sent yet.';
comment on column webhook_endpoints.disabled_at is 'Since when nothing is made for it; what was missed since then can be sent.';
grant update (description, transport, payload, signing, public_keys, auth_sealed, rate_limit_per_second, max_in_flight, verification, disabled_at)
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
    add column failed_event_ids uuid[] not null default '{}',
    add column give_back_from timestamptz,
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
comment on column webhook_endpoint_state.consecutive_failures is 'How many events failed since the last success, each counted once, up to as many as open the breaker.';
comment on column webhook_endpoint_state.failed_event_ids is 'Those events.';
comment on column webhook_endpoint_state.give_back_from is 'An outage since then is over, and what failed in it is still to be put on its way again; NULL: nothing is.';
comment on column webhook_endpoint_state.last_success_at is 'When it last took a post.';
comment on column webhook_endpoint_state.warned_percent is 'How much of the way to being disabled its tenant was warned of in this row of failures.';
create index webhook_endpoint_state_due on webhook_endpoint_state (next_due_at) where next_due_at is not null;
grant select, insert on webhook_endpoint_state to waystation_app, waystation_worker;
grant update (
        in_flight, concurrency, next_due_at, breaker, breaker_until, failing_since, consecutive_failures, blocked_until,
        paced_until, learned_rate, rate_second, rate_count, rate_previous, throttled_at, probes, failed_event_ids,
        give_back_from, last_success_at, failed_attempts, warned_percent, updated_at
    ) on webhook_endpoint_state to waystation_app, waystation_worker;
call allow_worker('webhook_endpoint_state', array['select', 'insert', 'update']);
-- Who has an endpoint's id may read its public keys without a key of ours: its tenant is not known then.
create index webhook_endpoints_id on webhook_endpoints (id);

-- Whoever makes an endpoint makes its state with it; those that are there already get theirs now.
insert into webhook_endpoint_state (distributor_id, endpoint_id, in_flight, next_due_at, updated_at)
select w.distributor_id, w.id, waiting.leased, waiting.retry_due_at, w.created_at
from webhook_endpoints w
cross join lateral (
    select count(d.lease_token) as leased,
        min(greatest(d.due_at, d.lease_until)) filter (where d.status = 'RETRYING') as retry_due_at
    from webhook_deliveries d
    where d.distributor_id = w.distributor_id and d.endpoint_id = w.id and d.due_at is not null
) waiting
on conflict do nothing;
-- Since when, of those that are disabled, is not known better.
update webhook_endpoints set disabled_at = updated_at where not enabled;

alter table webhook_events
    add column sequence bigint,
    alter column body drop not null;
comment on column webhook_events.sequence is 'Its place among the events of its conversation, without gaps from 1; in the order in which they were committed. After a silence longer than events are kept it begins at 1 again.';
comment on column webhook_events.body is 'What is posted, byte for byte the same for every receiver of full payloads; NULL once its time is over, which is shorter than its attempts''.';
drop index webhook_events_conversation;
create index webhook_events_conversation on webhook_events (distributor_id, conversation_id, sequence) where conversation_id is not null;
create index webhook_events_type on webhook_events (distributor_id, type, id);

alter table webhook_deliveries
    add column sequence bigint,
    add column trigger text not null default 'event' check (trigger in ('event', 'test', 'manual', 'replay')),
    add column replay_id uuid;
comment on column webhook_deliveries.due_at is
    'When to post next; set exactly while work remains. Infinity: not by us (pulled), or not before an older one of its conversation has ended.';
comment on column webhook_deliveries.sequence is 'The event''s place in its conversation: the order that the endpoint asked for. NULL, and before all others, for events of before they were numbered.';
comment on column webhook_deliveries.trigger is 'Why it is, or last was, on its way: the event itself, a test, a person, a replay.';
comment on column webhook_deliveries.replay_id is 'The replay that last sent it again: none does so twice.';
-- What waits behind an older one of its conversation is out of all that is looked for. Events of before have no sequence: they
-- come first, by their ids.
update webhook_deliveries d
set status = 'PENDING', due_at = 'infinity'
where d.ordering_key is not null and d.due_at is not null and d.lease_token is null and exists (
    select from webhook_deliveries older
    where older.distributor_id = d.distributor_id and older.endpoint_id = d.endpoint_id and older.ordering_key = d.ordering_key
        and older.due_at is not null and older.event_id < d.event_id
);
drop index webhook_deliveries_due, webhook_deliveries_leased, webhook_deliveries_ordering;
-- No index holds a lease: claiming a row leaves all of them alone (a heap-only update).
create index webhook_deliveries_new on webhook_deliveries (distributor_id, endpoint_id, due_at)
    where status = 'PENDING' and due_at < 'infinity';
create index webhook_deliveries_retry on webhook_deliveries (distributor_id, endpoint_id, due_at)
    where status = 'RETRYING' and due_at < 'infinity';
create index webhook_deliveries_waiting on webhook_deliveries (distributor_id, endpoint_id, event_id)
    where due_at = 'infinity';
create index webhook_deliveries_order on webhook_deliveries
    (distributor_id, endpoint_id, ordering_key, sequence nulls first, event_id)
    where due_at is not null and ordering_key is not null;
grant update (trigger, replay_id, ordering_key) on webhook_deliveries to waystation_app, waystation_worker;

-- Pulling is asked for by the tenant itself: whoever is given a delivery, or acknowledges it, writes its attempt.
grant insert on webhook_delivery_attempts to waystation_app;
grant update (outcome, duration_ms) on webhook_delivery_attempts to waystation_app;
alter table webhook_delivery_attempts
    add column trigger text not null default 'event' check (trigger in ('event', 'test', 'manual', 'replay', 'pull')),
    add column probe boolean not null default false,
    add column next_attempt_at timestamptz,
    add column evidence jsonb;
comment on column webhook_delivery_attempts.trigger is 'Why it was made.';
comment on column webhook_delivery_attempts.probe is 'Whether it tried an endpoint that had been failing; its own failure then costs the delivery nothing.';
comment on column webhook_delivery_attempts.next_attempt_at is 'When the delivery was to be tried again, as decided then.';
comment on column webhook_delivery_attempts.evidence is 'Headers both ways with secrets left out, the address that was dialled, times of each phase in ms, ids of the keys that signed; NULL once its time is over, as is response_excerpt.';
grant update (next_attempt_at, evidence) on webhook_delivery_attempts to waystation_worker;

alter table webhook_replays
    add column selection text not null default 'all' check (selection in ('missing', 'failed', 'all')),
    add column rate_per_second numeric(10, 3) not null default 50 check (rate_per_second > 0),
    add column counted_all boolean not null default true,
    add column skipped bigint not null default 0,
    add column due_at timestamptz,
    add column horizon xid8,
    add column end_reason text check (end_reason in ('asked', 'endpoint_disabled', 'endpoint_deleted')),
    add constraint webhook_replays_due_check check ((status in ('PENDING', 'RUNNING')) = (due_at is not null)),
    add constraint webhook_replays_end_check check ((status = 'CANCELLED') = (end_reason is not null));
comment on table webhook_replays is '[8 Integrations] A wish to send past events again, and how far it got.';
comment on column webhook_replays.selection is 'Which: those never tried, those tried without success, or all.';
comment on column webhook_replays.rate_per_second is 'How many are put on their way in a second, so that new events do not wait behind old ones.';
comment on column webhook_replays.counted_all is 'False: there were too many to count, matched is the least that it covers.';
comment on column webhook_replays.skipped is 'Those whose payload is gone, as its time was over.';
comment on column webhook_replays.due_at is 'When its next batch is due; set exactly while work remains.';
comment on column webhook_replays.horizon is 'The first transaction after the one that asked for it. Those before are waited for: they may be storing events that it covers.';
comment on column webhook_replays.end_reason is 'Why it was cancelled.';
create index webhook_replays_due on webhook_replays (due_at) where due_at is not null;
grant select, insert on webhook_replays to waystation_app;
grant update (status, matched, replayed, skipped, last_event_id, due_at, horizon, end_reason, updated_at)
    on webhook_replays to waystation_app;
grant select (distributor_id, id, endpoint_id, due_at) on webhook_replays to waystation_worker;
call allow_worker('webhook_replays', array['select']);
grant update (sequence) on webhook_deliveries to waystation_app;

-- Stores events and, with them, one delivery for each endpoint whose subscription matches: the only way events are made.
-- Input: a JSON array of {id, distributor_id, type, conversation_id, occurred_at, due_at, body}. Gives back the number of
-- deliveries. Events of a conversation are numbered under a lock that is held until they are committed: whoever sees
-- number n sees all before it, and whether an older one is unfinished is decided for good (release_heads takes the same lock).
-- Locks are taken in the order contact, conversation, order, message, delivery, and then these. So whoever has called this (or
-- release_heads) takes, for the rest of the transaction, no row that somebody else may hold who is to tell of the same
-- conversation; and who calls it twice for different conversations locks them all beforehand (lock_conversations), for two
-- such calls have no common order.
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
-- To be called in the transaction that ends deliveries, after that. Whoever calls it for several endpoints locks the
-- conversations of all of them first.
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
            order by d.sequence nulls first, d.event_id
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

-- Leases up to `batch` deliveries of these endpoints, at most `share` of one, and writes their attempts, with `attempt_ids`, in
-- the same transaction, before the posts. `tenant_rooms` says beside each endpoint how many its tenant may be given, `ahead` how
-- many seconds a paced endpoint may be ahead of its rate. Tenants take turns, and so do the endpoints of one tenant; what is
-- under lease counts; first tries go before retries. An endpoint that somebody else decides on at the moment is passed over. What
-- is due for one that takes nothing any more (an event may have been stored while it was being disabled) is cancelled instead.
--
-- A function, so that there are two statements in one round trip. Whoever changes a delivery holds its endpoint's state row, so
-- the second, whose snapshot is taken under the locks, never meets a row that was changed behind it. (Such a row is looked at
-- again by PostgreSQL in a way that crashes version 18 where a plan also chooses among partitions while it runs.)
create function claim_deliveries(
        moment timestamptz, lease_end timestamptz, token uuid, batch int, share int, attempt_ids uuid[], tenants uuid[],
        endpoint_ids uuid[], tenant_rooms int[], ahead double precision
    ) returns table (
        distributor_id uuid, endpoint_id uuid, event_id uuid, attempt_id uuid, number int, trigger text, schedule_position int,
        lease_token uuid, ordering_key uuid, probes int, occurred_at timestamptz, body text, payload text, url text,
        secrets_sealed bytea, headers_sealed bytea, auth_sealed bytea, interruptions bigint
    )
    language plpgsql volatile
    set search_path = pg_catalog, public, pg_temp
    as $$
#variable_conflict use_column
declare
    locked record;
begin
    select array_agg(s.distributor_id) as tenants, array_agg(s.endpoint_id) as endpoints, array_agg(s.tenant_room) as rooms,
        count(distinct s.distributor_id) as tenant_count
    into locked
    from (
        -- Key by key, in the order of locks: joined, all states would be walked in order.
        select s.distributor_id, s.endpoint_id, wanted.tenant_room
        from (
            select w.distributor_id, w.endpoint_id, w.tenant_room
            from unnest(tenants, endpoint_ids, tenant_rooms) as w(distributor_id, endpoint_id, tenant_room)
            order by w.distributor_id, w.endpoint_id
        ) wanted
        cross join lateral (
            select s.distributor_id, s.endpoint_id
            from webhook_endpoint_state s
            where s.distributor_id = wanted.distributor_id and s.endpoint_id = wanted.endpoint_id
            for update skip locked
        ) s
    ) s;
    return query
    with state as materialized (
        select s.distributor_id, s.endpoint_id, s.in_flight, s.breaker, s.probes,
            s.next_due_at <= moment and coalesce(s.ready_at, '-infinity') <= moment as has_retries,
            coalesce(s.ready_at, '-infinity') <= moment as is_ready, w.enabled and w.deleted_at is null as takes,
            least(s.concurrency, w.max_in_flight, share) - s.in_flight as room,
            -- What it can be asked for at most if all tenants and all their endpoints take turns, and what is in the way.
            least(
                s.in_flight + 2 + 2 * batch / (locked.tenant_count * count(*) over (partition by s.distributor_id)), 3 * share
            ) as looked_at,
            greatest(s.paced_until, moment - ahead * interval '1 second') as paced_from,
            1 / least(w.rate_limit_per_second, s.learned_rate) * interval '1 second' as gap,
            wanted.tenant_room, w.payload, w.url, w.secrets_sealed, w.headers_sealed, w.auth_sealed
        from unnest(locked.tenants, locked.endpoints, locked.rooms) as wanted(distributor_id, endpoint_id, tenant_room)
        join webhook_endpoint_state s on s.distributor_id = wanted.distributor_id and s.endpoint_id = wanted.endpoint_id
        join webhook_endpoints w on w.distributor_id = wanted.distributor_id and w.id = wanted.endpoint_id
    ),
    late as (
        select d.distributor_id, d.endpoint_id, d.event_id
        from state s
        cross join lateral (
            select d.distributor_id, d.endpoint_id, d.event_id
            from webhook_deliveries d
            where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
                and d.status in ('PENDING', 'RETRYING') and d.due_at is not null
            for update skip locked
        ) d
        where not s.takes
    ),
    cancelled as (
        update webhook_deliveries d
        set status = 'CANCELLED', due_at = null, lease_until = null, lease_token = null, updated_at = moment
        from late
        where d.distributor_id = late.distributor_id and d.endpoint_id = late.endpoint_id and d.event_id = late.event_id
    ),
    -- The earliest of each endpoint, whether under lease or not. What is under lease is among them, so that some are free if
    -- any are.
    retry as materialized (
        select s.*, d.*, true as is_retry
        from state s
        cross join lateral (
            select d.event_id, d.due_at, d.lease_until
            from webhook_deliveries d
            where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
                and d.status = 'RETRYING' and d.due_at < 'infinity'
            order by d.due_at
            limit s.looked_at
        ) d
        where s.takes and s.has_retries
    ),
    earliest as (
        select s.*, d.*, false as is_retry
        from state s
        cross join lateral (
            select d.event_id, d.due_at, d.lease_until
            from webhook_deliveries d
            where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
                and d.status = 'PENDING' and d.due_at < 'infinity' and d.due_at <= moment
            order by d.due_at
            limit s.looked_at
        ) d
        where s.takes and s.is_ready
        union all
        select * from retry
    ),
    free as (
        select e.*, e.lease_until is not null as was_interrupted,
            row_number() over (partition by e.distributor_id, e.endpoint_id order by e.is_retry, e.due_at, e.event_id) as rank,
            -- Each of these has its place under way already.
            count(e.lease_until) over (partition by e.distributor_id, e.endpoint_id) as interrupted
        from earliest e
        where e.due_at <= moment and (e.lease_until is null or e.lease_until <= moment)
    ),
    candidate as (
        select f.*, f.in_flight - f.interrupted + f.rank as place
        from free f
        where f.rank <= case when f.breaker = 'CLOSED' then f.room + f.interrupted else 1 end
            and (f.gap is null or f.paced_from + (f.rank - 1) * f.gap <= moment)
    ),
    held as (
        select s.distributor_id, sum(s.in_flight) as deliveries, min(s.tenant_room) as room from state s group by s.distributor_id
    ),
    in_line as (
        select c.*, held.deliveries + c.nth as turn
        from (
            select c.*, row_number() over (partition by c.distributor_id order by c.place, c.is_retry, c.due_at) as nth
            from candidate c
        ) c
        join held using (distributor_id)
        where c.nth <= held.room
        order by turn, c.is_retry, c.due_at
        limit 2 * batch
    ),
    chosen as (
        select in_line.*
        from in_line
        -- One by one in that order, until there are enough; the coalesce keeps the planner off the indexes of what is due,
        -- which old statistics make look small: the key finds one row.
        cross join lateral (
            select from webhook_deliveries d
            where d.distributor_id = in_line.distributor_id and d.endpoint_id = in_line.endpoint_id
                and d.event_id = in_line.event_id
                and coalesce(d.due_at, 'infinity') <= moment and (d.lease_until is null or d.lease_until <= moment)
            for update skip locked
        ) d
        limit batch
    ),
    due as materialized (
        select chosen.*, row_number() over () as line from chosen
    ),
    claimed as (
        update webhook_deliveries d
        set lease_until = lease_end, lease_token = token, attempt_count = d.attempt_count + 1, updated_at = moment
        from due
        where d.distributor_id = due.distributor_id and d.endpoint_id = due.endpoint_id and d.event_id = due.event_id
        returning d.distributor_id, d.endpoint_id, d.event_id, d.attempt_count, d.schedule_position, d.lease_token, d.trigger,
            d.ordering_key, attempt_ids[due.line] as attempt_id, due.was_interrupted,
            case when due.breaker <> 'CLOSED' then due.probes end as probes, due.payload, due.url, due.secrets_sealed,
            due.headers_sealed, due.auth_sealed
    ),
    attempt as (
        insert into webhook_delivery_attempts (distributor_id, id, endpoint_id, event_id, number, started_at, trigger, probe)
        select c.distributor_id, c.attempt_id, c.endpoint_id, c.event_id, c.attempt_count, moment, c.trigger, c.probes is not null
        from claimed c
    ),
    -- What an endpoint's state has to know of this: what it gave, and when to look for retries again.
    told as (
        select due.distributor_id, due.endpoint_id, true as takes, 1 as given, (not due.was_interrupted)::int as fresh, due.paced_from,
            due.gap, due.is_retry::int as retries, 0 as retries_due, false as has_retries, false as has_more,
            null::timestamptz as earliest, null::timestamptz as later
        from due
        union all
        select r.distributor_id, r.endpoint_id, true, 0, 0, null, null, 0,
            (r.due_at <= moment and (r.lease_until is null or r.lease_until <= moment))::int, true,
            -- Behind those that it looked at there may be more that are due.
            count(*) over endpoint = r.looked_at and max(r.due_at) over endpoint <= moment, r.due_at,
            case when r.lease_until > moment then r.lease_until when r.due_at > moment then r.due_at end
        from retry r
        window endpoint as (partition by r.distributor_id, r.endpoint_id)
        union all
        select s.distributor_id, s.endpoint_id, s.takes, 0, 0, null, null, 0, 0, true, false, null, null
        from state s
        where s.has_retries or not s.takes
    ),
    change as (
        select t.distributor_id, t.endpoint_id, bool_and(t.takes) as takes, sum(t.given) as given, sum(t.fresh) as fresh,
            max(t.paced_from) + sum(t.given) * max(t.gap) as paced_until, bool_or(t.has_retries) as has_retries,
            case
                when bool_or(t.has_more) or sum(t.retries_due) > sum(t.retries) then min(t.earliest)
                else least(min(t.later), case when sum(t.retries) > 0 then lease_end end)
            end as next_due_at
        from told t
        group by t.distributor_id, t.endpoint_id
    ),
    decided as (
        update webhook_endpoint_state s
        set in_flight = case when c.takes then s.in_flight + c.fresh else 0 end,
            next_due_at = case
                when not c.takes then null
                when c.has_retries then c.next_due_at
                else s.next_due_at
            end,
            paced_until = coalesce(c.paced_until, s.paced_until),
            breaker = case when s.breaker <> 'CLOSED' and c.given > 0 then 'HALF_OPEN' else s.breaker end,
            -- Should the probe's worker end with it, another may be made then.
            breaker_until = case when s.breaker <> 'CLOSED' and c.given > 0 then lease_end else s.breaker_until end,
            updated_at = moment
        from change c
        where s.distributor_id = c.distributor_id and s.endpoint_id = c.endpoint_id
    )
    select c.distributor_id, c.endpoint_id, c.event_id, c.attempt_id, c.attempt_count, c.trigger, c.schedule_position,
        c.lease_token, c.ordering_key, c.probes, e.occurred_at, e.body::text, c.payload, c.url, c.secrets_sealed, c.headers_sealed,
        c.auth_sealed,
        -- How many attempts in a row, up to this one, ended with their workers.
        case when c.was_interrupted then (
            select count(*)
            from webhook_delivery_attempts a
            where a.distributor_id = c.distributor_id and a.endpoint_id = c.endpoint_id and a.event_id = c.event_id
                and a.number > coalesce((
                    select max(ended.number)
                    from webhook_delivery_attempts ended
                    where ended.distributor_id = c.distributor_id and ended.endpoint_id = c.endpoint_id
                        and ended.event_id = c.event_id and ended.outcome <> 'unknown'
                ), 0)
        ) else 0 end
    from claimed c
    join webhook_events e on e.distributor_id = c.distributor_id and e.id = c.event_id;
end
$$;
comment on function claim_deliveries(timestamptz, timestamptz, uuid, int, int, uuid[], uuid[], uuid[], int[], double precision) is
    'Leases due deliveries of these endpoints, as many as each may take, and writes their attempts.';
revoke execute on function claim_deliveries(timestamptz, timestamptz, uuid, int, int, uuid[], uuid[], uuid[], int[], double precision) from public;
grant execute on function claim_deliveries(timestamptz, timestamptz, uuid, int, int, uuid[], uuid[], uuid[], int[], double precision) to waystation_worker;

-- Finishes attempts (`results`), moves their deliveries on, and folds what the endpoints did into their states (`facts`, one row
-- per endpoint; `policy`): all of it or nothing. A lease that another worker took over settles its attempt only. Where an answer
-- disables the endpoint, the delivery moves on with it, or not yet. Gives back how each endpoint does. A function for the reason
-- that claim_deliveries() is one.
create function settle_deliveries(results jsonb, facts jsonb, policy jsonb) returns table (
        distributor_id uuid, endpoint_id uuid, breaker text, give_back_from timestamptz, failing_since timestamptz,
        failed_attempts int, warned_percent smallint
    )
    language plpgsql volatile
    set search_path = pg_catalog, public, pg_temp
    as $$
#variable_conflict use_column
declare
    rule record;
begin
    perform
    from (
        select f.distributor_id, f.endpoint_id
        from jsonb_to_recordset(facts) as f(distributor_id uuid, endpoint_id uuid)
        order by f.distributor_id, f.endpoint_id
    ) told
    cross join lateral (
        select from webhook_endpoint_state s
        where s.distributor_id = told.distributor_id and s.endpoint_id = told.endpoint_id
        for update
    ) s;
    select * into rule
    from jsonb_to_record(policy) as p(
        breaker_failures int, breaker_pause double precision, longest_pause double precision, concurrency int,
        throttle_pause double precision, rate_cut numeric, lowest_rate numeric, highest_rate numeric, rate_recovery double precision
    );
    return query
    with result as materialized (
        select *
        from jsonb_to_recordset(results) as r(
            distributor_id uuid, endpoint_id uuid, event_id uuid, attempt_id uuid, lease_token uuid, finished_at timestamptz,
            outcome text, status_code int, error_class text, duration_ms int, response_excerpt text, evidence jsonb,
            status text, due_at timestamptz, schedule_position int, disables boolean
        )
    ),
    attempt as (
        update webhook_delivery_attempts a
        set outcome = r.outcome, status_code = r.status_code, error_class = r.error_class, duration_ms = r.duration_ms,
            response_excerpt = r.response_excerpt, evidence = r.evidence, next_attempt_at = r.due_at
        from result r
        where a.distributor_id = r.distributor_id and a.endpoint_id = r.endpoint_id and a.event_id = r.event_id
            and a.id = r.attempt_id
    ),
    moved as (
        update webhook_deliveries d
        set status = r.status, due_at = r.due_at, schedule_position = r.schedule_position, lease_until = null, lease_token = null,
            updated_at = r.finished_at
        from result r
        where d.distributor_id = r.distributor_id and d.endpoint_id = r.endpoint_id and d.event_id = r.event_id
            -- Whatever was decided while the post was under way (cancelled, asked for again) took this token away, and stands.
            and d.lease_token = r.lease_token and not r.disables
        returning d.distributor_id, d.endpoint_id
    ),
    released as (
        select distributor_id, endpoint_id, count(*) as deliveries
        from moved
        group by distributor_id, endpoint_id
    ),
    -- A row per endpoint: what it did, how it was before, and what that makes of it.
    turned as materialized (
        select f.*, seen.*,
            f.succeeded_at is not null as succeeds,
            case
                when s.breaker <> 'CLOSED' and f.succeeded_at is not null then 'closes'
                when s.breaker = 'CLOSED' and cardinality(seen.newly_failed) > 0
                    and cardinality(seen.failed_event_ids) >= rule.breaker_failures then 'opens'
                when s.breaker <> 'CLOSED' and f.probe_failed then 'stays open'
                else ''
            end as turn
        from jsonb_to_recordset(facts) as f(
            distributor_id uuid, endpoint_id uuid, successes int, succeeded_at timestamptz, failures int, failed_ids uuid[],
            limited_ids uuid[], failing_from timestamptz, probe_failed boolean, throttled_from timestamptz, rate_limited boolean,
            blocked_until timestamptz, next_due_at timestamptz, finished_at timestamptz
        )
        join webhook_endpoint_state s on s.distributor_id = f.distributor_id and s.endpoint_id = f.endpoint_id
        cross join lateral (select date_trunc('second', f.finished_at, 'UTC') as second) at
        -- Too many posts are cured by fewer, so that they open no breaker unless it is cut to the fewest and they began after that.
        cross join lateral (
            select f.failed_ids || case
                when s.learned_rate <= rule.lowest_rate and f.throttled_from >= s.throttled_at + rule.throttle_pause * interval '1 second'
                    then f.limited_ids
            end as newly_failed
        ) new
        cross join lateral (
            select at.second, new.newly_failed,
                array(
                    select distinct e.id
                    from unnest(case when f.succeeded_at is null then s.failed_event_ids end || new.newly_failed) as e(id)
                    limit rule.breaker_failures
                ) as failed_event_ids,
                f.throttled_from is not null and (
                    s.throttled_at is null or f.throttled_from >= s.throttled_at + rule.throttle_pause * interval '1 second'
                ) as slows_down,
                f.successes + case when s.rate_second = at.second then s.rate_count else 0 end as taken,
                case when s.rate_second = at.second then s.rate_previous
                    when s.rate_second = at.second - interval '1 second' then s.rate_count else 0 end as taken_before
        ) seen
    )
    update webhook_endpoint_state s
    set in_flight = greatest(s.in_flight - coalesce(r.deliveries, 0), 0),
        next_due_at = least(s.next_due_at, t.next_due_at),
        blocked_until = greatest(s.blocked_until, t.blocked_until),
        consecutive_failures = cardinality(t.failed_event_ids),
        failed_event_ids = t.failed_event_ids,
        give_back_from = case t.turn when 'closes' then least(s.give_back_from, s.failing_since) else s.give_back_from end,
        failed_attempts = case when t.succeeds then 0 else s.failed_attempts end + t.failures,
        failing_since = case when t.succeeds then t.failing_from else coalesce(s.failing_since, t.failing_from) end,
        last_success_at = greatest(s.last_success_at, t.succeeded_at),
        warned_percent = case when t.succeeds then 0 else s.warned_percent end,
        breaker = case t.turn when 'closes' then 'CLOSED' when 'opens' then 'OPEN' when 'stays open' then 'OPEN' else s.breaker end,
        breaker_until = case t.turn
            when 'closes' then null
            when 'opens' then t.finished_at + rule.breaker_pause * interval '1 second'
            when 'stays open' then t.finished_at
                + least(rule.breaker_pause * 2 ^ least(s.probes + 1, 30), rule.longest_pause) * interval '1 second'
            else s.breaker_until
        end,
        probes = case t.turn when 'closes' then 0 when 'opens' then 0 when 'stays open' then s.probes + 1 else s.probes end,
        concurrency = case
            when t.turn = 'closes' then 1
            when t.slows_down then greatest(s.concurrency / 2, 1)
            when t.successes > 0 then least(s.concurrency + 1, rule.concurrency)
            else s.concurrency
        end,
        throttled_at = case when t.slows_down then t.finished_at else s.throttled_at end,
        rate_second = t.second, rate_count = t.taken, rate_previous = t.taken_before,
        learned_rate = case
            when t.slows_down and t.rate_limited then greatest(
                rule.rate_cut * least(coalesce(s.learned_rate, rule.highest_rate), greatest(t.taken_before, t.taken)), rule.lowest_rate
            )
            when s.learned_rate is null or t.successes = 0 then s.learned_rate
            when s.learned_rate >= rule.highest_rate then null
            -- Once for each second that passed, by the cube of the time since the cut.
            else least(rule.highest_rate, s.learned_rate * exp(least(20, greatest(0,
                (extract(epoch from t.second - s.throttled_at)::double precision / rule.rate_recovery) ^ 3
                - (extract(epoch from greatest(s.rate_second, s.throttled_at) - s.throttled_at)::double precision / rule.rate_recovery) ^ 3
            )))::numeric)
        end,
        updated_at = t.finished_at
    from turned t
    left join released r on r.distributor_id = t.distributor_id and r.endpoint_id = t.endpoint_id
    where s.distributor_id = t.distributor_id and s.endpoint_id = t.endpoint_id
    returning s.distributor_id, s.endpoint_id, t.turn, s.give_back_from, s.failing_since, s.failed_attempts, s.warned_percent;
    -- What waited behind a delivery that is at its end goes next. The conversations of all endpoints are locked at once: two
    -- settlements of different endpoints would take them in different orders, endpoint by endpoint.
    perform lock_conversations(array(
        select r.ordering_key
        from jsonb_to_recordset(results) as r(ordering_key uuid, due_at timestamptz, disables boolean)
        where r.ordering_key is not null and r.due_at is null and not r.disables
    ));
    perform release_heads(r.distributor_id, r.endpoint_id, array_agg(distinct r.ordering_key), max(r.finished_at))
    from jsonb_to_recordset(results)
        as r(
            distributor_id uuid, endpoint_id uuid, ordering_key uuid, finished_at timestamptz, due_at timestamptz, disables boolean
        )
    where r.ordering_key is not null and r.due_at is null and not r.disables
    group by r.distributor_id, r.endpoint_id
    order by r.distributor_id, r.endpoint_id;
end
$$;
comment on function settle_deliveries(jsonb, jsonb, jsonb) is
    'Finishes attempts, moves their deliveries on and folds what the endpoints did into their states.';
revoke execute on function settle_deliveries(jsonb, jsonb, jsonb) from public;
grant execute on function settle_deliveries(jsonb, jsonb, jsonb) to waystation_worker;

-- What a replay covers: of the events that it looks at, the oldest first and at most so many, those that it would send.
-- The ids bound what is looked at: first_id and last_id are exclusive. named, where given, is all that is looked at.
-- An event whose payload is gone is told of by its type alone: a filter can no longer be asked.
create function replay_candidates(
    endpoint uuid, selected text, replay uuid, asked_at timestamptz, first_id uuid, last_id uuid, since timestamptz, until timestamptz,
    types text[], named uuid[], most int
) returns table (event_id uuid, covered boolean, expired boolean)
    language sql stable
    set search_path = pg_catalog, public, pg_temp
    as $$
    with looked_at as (
        (
            select e.id, e.type, e.body
            from webhook_events e
            where named is null and e.distributor_id = (select get_current_distributor_id())
                and e.id > first_id and (last_id is null or e.id < last_id)
                and (since is null or e.occurred_at >= since) and e.occurred_at < until
            order by e.id
            limit most
        )
        union all
        (
            select e.id, e.type, e.body
            from (select distinct unnest(named) as id) n
            join webhook_events e on e.distributor_id = (select get_current_distributor_id()) and e.id = n.id
            where e.id > first_id and (since is null or e.occurred_at >= since) and e.occurred_at < until
            order by e.id
            limit most
        )
    )
    select e.id,
        d.replay_id is distinct from replay
            -- What waited when it was asked for, or was sent again since, is none of its business, whatever came of it.
            and (d.event_id is null or d.updated_at <= asked_at)
            -- A test is for whom it was made, and who is disabled was not to be told of it.
            and e.type <> 'endpoint.test'
            and not (e.type = 'endpoint.disabled' and coalesce(e.body #>> '{data,endpoint_id}' = endpoint::text, false))
            and (types is null or types && array['*', split_part(e.type, '.', 1) || '.*', e.type])
            and case selected
                when 'failed' then d.attempt_count > 0 and d.status in ('EXHAUSTED', 'CANCELLED')
                else w.event_types && array['*', split_part(e.type, '.', 1) || '.*', e.type]
                    and (w.filter_path is null or e.body is null or coalesce(jsonb_path_match(e.body, w.filter_path, '{}', true), false))
                    and (d.event_id is null or d.due_at is null and (selected = 'all' or d.attempt_count = 0 and d.status <> 'SUCCESS'))
            end,
        e.body is null
    from looked_at e
    join webhook_endpoints w on w.distributor_id = (select get_current_distributor_id()) and w.id = endpoint
    -- By its key, one by one: statistics from before a replay would have all of the endpoint's deliveries read for each event.
    left join lateral (
        select d.event_id, d.status, d.attempt_count, d.due_at, d.replay_id, d.updated_at
        from webhook_deliveries d
        where d.distributor_id = (select get_current_distributor_id()) and d.endpoint_id = endpoint and d.event_id = e.id
        limit 1
    ) d on true
    $$;
comment on function replay_candidates(uuid, text, uuid, timestamptz, uuid, uuid, timestamptz, timestamptz, text[], uuid[], int) is
    'The events that a replay looks at, and which of them it covers.';
revoke execute on function replay_candidates(uuid, text, uuid, timestamptz, uuid, uuid, timestamptz, timestamptz, text[], uuid[], int) from public;
grant execute on function replay_candidates(uuid, text, uuid, timestamptz, uuid, uuid, timestamptz, timestamptz, text[], uuid[], int) to waystation_app;

-- What failed in an outage that began at `since` and is over now goes again at once, as first tries in their old order, and its
-- attempts since then have cost it nothing. Whoever comes first does it; after a crash, the next settlement.
create function give_back_attempts(tenant uuid, endpoint uuid, since timestamptz, moment timestamptz) returns void
    language plpgsql volatile
    set search_path = pg_catalog, public, pg_temp
    as $$
begin
    update webhook_endpoint_state s
    set give_back_from = null, updated_at = moment
    where s.distributor_id = tenant and s.endpoint_id = endpoint and s.give_back_from = since;
    if not found then
        return;
    end if;
    update webhook_deliveries d
    set status = 'PENDING', due_at = d.created_at, updated_at = moment,
        schedule_position = greatest(d.schedule_position - failed.since_then, 0)
    from (
        select w.event_id, failed.since_then
        from webhook_deliveries w
        cross join lateral (
            select count(*) as ever,
                -- An outage begins with the end of its first attempt, whose duration is rounded.
                count(*) filter (where a.started_at + (a.duration_ms + 1) * interval '1 millisecond' >= since) as since_then
            from webhook_delivery_attempts a
            where a.distributor_id = w.distributor_id and a.endpoint_id = w.endpoint_id and a.event_id = w.event_id
                and a.outcome = 'failure' and not a.probe and a.error_class is distinct from 'deferred'
        ) failed
        where w.distributor_id = tenant and w.endpoint_id = endpoint and w.status = 'RETRYING' and w.due_at < 'infinity'
            and w.updated_at >= since and w.lease_token is null
            -- What fails whenever all is well again is no victim of outages: if it always came first, for nothing, it would be
            -- the outage, and never end.
            and failed.ever - w.schedule_position < 1
    ) failed
    where d.distributor_id = tenant and d.endpoint_id = endpoint and d.event_id = failed.event_id;
end
$$;
comment on function give_back_attempts(uuid, uuid, timestamptz, timestamptz) is
    'Puts what failed in an outage that is over on its way again, at no cost to its schedule.';
revoke execute on function give_back_attempts(uuid, uuid, timestamptz, timestamptz) from public;
grant execute on function give_back_attempts(uuid, uuid, timestamptz, timestamptz) to waystation_worker;

-- What was said is kept for a shorter time than that it was: an event's payload, and of an attempt the headers and the
-- beginning of the answer. As with partitions, it stands here and not in the program, whose roles could ask for less.
create function payload_keep() returns interval
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$ select interval '30 days' $$;
comment on function payload_keep() is 'How long payloads of events and evidence of attempts are kept; the rows themselves by partition_plan().';

-- A batch of a tenant's events that are past it, below an id, the newest first: so whoever calls it again and again meets what
-- is to be done first, and may stop where all was done before. An event that is still on its way keeps its payload. One batch
-- of a tenant at a time, its snapshot taken after the lock: no row is changed behind it (see claim_deliveries()).
create function expire_payloads_at(tenant uuid, below uuid, batch int, moment timestamptz)
    returns table (looked int, held int, expired int, last_id uuid)
    language sql volatile
    set search_path = pg_catalog, public, pg_temp
    as $$
    select pg_advisory_xact_lock(hashtextextended('waystation payloads ' || tenant, 0));
    with page as materialized (
        select e.id, e.body is not null as is_held
        from webhook_events e
        where e.distributor_id = tenant and e.id < least(below, uuid7_floor(moment - payload_keep()))
        order by e.id desc
        limit batch
    ),
    gone as (
        update webhook_events e set body = null
        from page p
        where p.is_held and e.distributor_id = tenant and e.id = p.id and not exists (
            select from webhook_deliveries d
            where d.distributor_id = tenant and d.event_id = p.id and d.due_at is not null
        )
        returning 1
    )
    select count(*)::int, (count(*) filter (where p.is_held))::int, (select count(*) from gone)::int,
        (array_agg(p.id order by p.id))[1]
    from page p
    $$;
comment on function expire_payloads_at(uuid, uuid, int, timestamptz) is 'expire_payloads() at a given moment; for tests of other days.';

create function expire_payloads(tenant uuid, below uuid, batch int)
    returns table (looked int, held int, expired int, last_id uuid)
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$ select * from expire_payloads_at(tenant, below, batch, clock_timestamp()) $$;
comment on function expire_payloads(uuid, uuid, int) is
    'Empties payloads that are past payload_keep(), by this server''s clock, in a batch of events below an id. Gives back how many events it looked at, how many had a payload, how many lost it, and the last.';

-- The same for attempts at an endpoint, below an event and number. One that was made late stays until its own time is over.
create function expire_evidence_at(tenant uuid, endpoint uuid, below uuid, below_number int, batch int, moment timestamptz)
    returns table (looked int, held int, expired int, last_id uuid, last_number int)
    language sql volatile
    set search_path = pg_catalog, public, pg_temp
    as $$
    select pg_advisory_xact_lock(hashtextextended('waystation payloads ' || tenant, 0));
    with page as materialized (
        select a.event_id, a.number, a.started_at, a.evidence is not null or a.response_excerpt is not null as is_held
        from webhook_delivery_attempts a
        where a.distributor_id = tenant and a.endpoint_id = endpoint and (a.event_id, a.number) < (below, below_number)
            and a.event_id < uuid7_floor(moment - payload_keep())
        order by a.event_id desc, a.number desc
        limit batch
    ),
    gone as (
        update webhook_delivery_attempts a set evidence = null, response_excerpt = null
        from page p
        where p.is_held and p.started_at < moment - payload_keep()
            and a.distributor_id = tenant and a.endpoint_id = endpoint and a.event_id = p.event_id and a.number = p.number
        returning 1
    )
    select count(*)::int, (count(*) filter (where p.is_held))::int, (select count(*) from gone)::int,
        (array_agg(p.event_id order by p.event_id, p.number))[1], (array_agg(p.number order by p.event_id, p.number))[1]
    from page p
    $$;
comment on function expire_evidence_at(uuid, uuid, uuid, int, int, timestamptz) is 'expire_evidence() at a given moment; for tests of other days.';

create function expire_evidence(tenant uuid, endpoint uuid, below uuid, below_number int, batch int)
    returns table (looked int, held int, expired int, last_id uuid, last_number int)
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$ select * from expire_evidence_at(tenant, endpoint, below, below_number, batch, clock_timestamp()) $$;
comment on function expire_evidence(uuid, uuid, uuid, int, int) is
    'Empties headers and answers of attempts that are past payload_keep(), by this server''s clock, in a batch of an endpoint''s attempts. Gives back the same as expire_payloads().';

revoke execute on function expire_payloads(uuid, uuid, int), expire_payloads_at(uuid, uuid, int, timestamptz),
    expire_evidence(uuid, uuid, uuid, int, int), expire_evidence_at(uuid, uuid, uuid, int, int, timestamptz) from public;
grant execute on function expire_payloads(uuid, uuid, int), expire_evidence(uuid, uuid, uuid, int, int) to waystation_worker;

-- Messages that accounts sent, locked one after the other in the order given, each as it is once it is locked. A statement for
-- each, so that none that was changed meanwhile is looked at again in a plan that chooses among partitions while it runs (see
-- claim_deliveries()).
create function lock_messages(tenants uuid[], accounts uuid[], ids uuid[]) returns setof messages
    language plpgsql volatile rows 100
    set search_path = pg_catalog, public, pg_temp
    set plan_cache_mode = force_generic_plan  -- else each would be planned anew, for a plan of one partition looks cheaper
    as $$
begin
    for place in 1 .. coalesce(cardinality(ids), 0) loop
        return query
        select m.*
        from messages m
        where m.distributor_id = tenants[place] and m.id = ids[place] and m.channel_account_id = accounts[place]
            and m.direction = 'OUTBOUND'
        for update;
    end loop;
end
$$;
comment on function lock_messages(uuid[], uuid[], uuid[]) is
    'Locks messages that these accounts sent, in the order given, and gives back each as it is then.';
revoke execute on function lock_messages(uuid[], uuid[], uuid[]) from public;
grant execute on function lock_messages(uuid[], uuid[], uuid[]) to waystation_worker;
