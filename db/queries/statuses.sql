-- What providers say became of our messages: dedupe, one row per message moved upwards, events, in one statement.

-- name: lock_parked_keys
-- Until the end of the transaction nobody else parks a status under one of these ids, or takes what is parked there. A
-- statement of its own, as in accept.
select pg_advisory_xact_lock(k.key)
from (
    select distinct hashtextextended(i.channel_account_id || ' ' || i.provider_message_id, 1) as key
    from jsonb_to_recordset($1::jsonb) as i(channel_account_id text, provider_message_id text)
    order by key
) k;

-- name: lock_messages
-- What is told of a message's parts is read once nobody else can add to it: the next statement's snapshot is taken then.
select m.id
from (
    select array_agg(k.distributor_id) as tenants, array_agg(k.channel_account_id) as accounts, array_agg(k.id) as ids
    from (
        select distinct i.distributor_id, i.channel_account_id, coalesce(i.message_id, sent.id) as id
        from jsonb_to_recordset($1::jsonb) as i(
            distributor_id uuid, channel_account_id uuid, message_id uuid, provider_message_id text
        )
        left join lateral (
            (
                select m.id
                from messages m
                where m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id
                    and m.provider_message_id = i.provider_message_id and m.direction = 'OUTBOUND'
                order by m.id desc
                limit 1
            )
            union all
            (
                select x.message_id
                from external_message_mappings x
                where x.distributor_id = i.distributor_id and x.channel_account_id = i.channel_account_id
                    and x.provider_key = 'sent:' || i.provider_message_id
            )
            limit 1
        ) sent on i.message_id is null
        order by i.distributor_id, id
    ) k
) meant
cross join lateral lock_messages(meant.tenants, meant.accounts, meant.ids) m;

-- name: accept_statuses
-- $1: the statuses; $2: the posts that they came in, each once; $3: the posts' bodies, as bytes; $4: by channel, the rank of
-- each status. Only if $5, which needs both locks: statuses of texts that left in parts are stored, and those of no known
-- message parked; else they are left, and the answer says so. $6: events that go before those of the statuses, so that the
-- conversations of all are locked at once.
with input as (
    select *
    from jsonb_to_recordset($1::jsonb) as i(
        ordinal int, distributor_id uuid, channel_account_id uuid, provider_key text, inbound_event_id uuid,
        received_at timestamptz, status_event_id uuid, message_id uuid, provider_message_id text, part int, told_at timestamptz,
        status text, status_rank int, provider_status text, error_code text, named_mail jsonb,
        sent_event jsonb, changed_event jsonb, failed_event jsonb
    )
),
-- The message that is meant. Our own id, which the callback's address carries, wins; then the provider's id of a message, then
-- that of a part. Each id has an index of its own; one condition that chose between them would read every message there is.
meant as (
    select i.ordinal, i.distributor_id, i.channel_account_id,
        coalesce(
            i.message_id,
            (
                select m.id
                from messages m
                where m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id
                    and m.provider_message_id = i.provider_message_id and m.direction = 'OUTBOUND'
                order by m.id desc  -- the newest, should a provider ever use an id twice
                limit 1
            ),
            (
                select x.message_id
                from external_message_mappings x
                where x.distributor_id = i.distributor_id and x.channel_account_id = i.channel_account_id
                    and x.provider_key = 'sent:' || i.provider_message_id
            )
        ) as id
    from input i
),
-- It must be one that this account sent. Locked before its state is read, and in one order: two gateways may hear of the
-- same messages at once.
locked as materialized (
    select m.*
    from (
        select array_agg(k.distributor_id) as tenants, array_agg(k.channel_account_id) as accounts, array_agg(k.id) as ids
        from (
            select distinct distributor_id, channel_account_id, id from meant where id is not null order by distributor_id, id
        ) k
    ) known
    cross join lateral lock_messages(known.tenants, known.accounts, known.ids) m
),
found as (
    select i.*, m.id as known_message_id, m.status_rank as known_rank, m.conversation_id, m.customer_id, m.channel, m.type,
        m.text, m.parts, m.status as known_status
    from input i
    join meant using (ordinal)
    join locked m
        on m.distributor_id = meant.distributor_id and m.channel_account_id = meant.channel_account_id and m.id = meant.id
    -- Whoever once got a mail of ours can write that another one failed: it must be of the thread that the word is marked
    -- with, and have gone to whom the word names.
    where i.named_mail is null
        or exists (
            select from conversations v
            join customer_contacts k on k.distributor_id = v.distributor_id and k.id = v.contact_id
            where v.distributor_id = m.distributor_id and v.id = m.conversation_id
                and v.thread_key = i.named_mail ->> 'thread_key'
                and k.address = coalesce(i.named_mail ->> 'recipient', k.address)
        )
),
taken as (
    select * from found where $5::boolean or parts = 1
),
-- A status that carries our own id is of that message or of none.
lost as (
    select i.*
    from input i
    where i.message_id is null and not exists (select from found f where f.ordinal = i.ordinal)
),
-- The key is taken only where a message is known: what is parked takes it once its message is.
mapped as (
    insert into external_message_mappings (distributor_id, channel_account_id, provider_key, message_id, created_at)
    select distributor_id, channel_account_id, provider_key, status_event_id, received_at
    from taken
    order by distributor_id, channel_account_id, provider_key, ordinal
    on conflict do nothing
    returning distributor_id, message_id as status_event_id
),
told as (
    select t.*, coalesce(t.told_at, t.received_at) as happened_at
    from taken t
    join mapped m on m.distributor_id = t.distributor_id and m.status_event_id = t.status_event_id
),
parked as (
    insert into inbound_events
        (distributor_id, id, channel_account_id, kind, provider_key, method, target, headers, body, received_at, parked_key,
         parked_item)
    select l.distributor_id, l.status_event_id, l.channel_account_id, 'status', l.provider_key, '', '', '{}', '', l.received_at,
        l.provider_message_id, e.item
    from lost l
    join jsonb_array_elements($1::jsonb) with ordinality as e(item, place) on e.place = l.ordinal + 1
    where $5::boolean
    -- What was parked before waits no more: whoever took it did so for a message that is gone by now.
    on conflict do nothing
    returning 1
),
stored_event as (
    insert into inbound_events
        (distributor_id, id, channel_account_id, kind, provider_key, method, target, headers, body, received_at)
    select distributor_id, id, channel_account_id, 'status', provider_key, method, target, headers, ($3::bytea[])[ordinal + 1],
        received_at
    from jsonb_to_recordset($2::jsonb) as p(
        ordinal int, distributor_id uuid, id uuid, channel_account_id uuid, provider_key text, method text, target text,
        headers jsonb, received_at timestamptz
    )
    where exists (select from told t where t.inbound_event_id = p.id)
        or ($5::boolean and exists (select from lost l where l.inbound_event_id = p.id))
    -- What came in one post has one row; an earlier flush may have stored it.
    on conflict do nothing
),
-- Of texts that left in parts: all that was ever told, with the name by which its part is known.
word as (
    select w.*,
        coalesce(
            w.part,
            case when w.provider_message_id is not null
                then max(w.part) over (partition by w.distributor_id, w.id, w.provider_message_id)
            end
        )::text as part_number,
        ($4::jsonb #>> array[w.channel, w.status])::int as status_rank
    from (
        select s.distributor_id, s.known_message_id as id, s.parts, s.channel, e.*
        from (select distinct distributor_id, known_message_id, parts, channel from told where parts > 1) s
        cross join lateral (
            select e.status, e.error_code, e.part, e.provider_message_id, coalesce(e.told_at, e.occurred_at) as happened_at
            from message_status_events e
            where e.distributor_id = s.distributor_id and e.message_id = s.known_message_id
            union all
            select t.status, t.error_code, t.part, t.provider_message_id, t.happened_at
            from told t
            where t.distributor_id = s.distributor_id and t.known_message_id = s.known_message_id
        ) e
    ) w
),
part as (
    select distributor_id, id, coalesce(part_number, provider_message_id) as name, max(status_rank) as status_rank,
        min(happened_at) filter (where status = 'DELIVERED') as delivered_at,
        min(happened_at) filter (where status = 'READ') as read_at
    from word
    where coalesce(part_number, provider_message_id) is not null
    group by 1, 2, 3
),
arrived as (
    select p.distributor_id, p.id, count(*) as known,
        count(*) filter (where p.status_rank >= ($4::jsonb #>> array[w.channel, 'DELIVERED'])::int) as delivered,
        count(*) filter (where p.status_rank >= ($4::jsonb #>> array[w.channel, 'READ'])::int) as read,
        case when count(p.delivered_at) >= w.parts then max(p.delivered_at) end as delivered_at,
        case when count(p.read_at) >= w.parts then max(p.read_at) end as read_at
    from part p
    join (select distinct distributor_id, id, parts, channel from word) w using (distributor_id, id)
    group by p.distributor_id, p.id, w.parts
),
-- All parts must have come for the whole to have; one that failed is enough for the whole to have failed. Each of these can
-- only become true, so that no order of the words ends differently.
whole as (
    select w.distributor_id, w.id, w.parts, w.channel, a.known >= w.parts as all_known, a.delivered_at, a.read_at,
        a.delivered >= w.parts as delivered, a.read >= w.parts as read,
        bool_or(w.status = 'FAILED') as failed, bool_or(w.status in ('SENT', 'DELIVERED', 'READ')) as sent,
        min(w.happened_at) filter (where w.status in ('SENT', 'DELIVERED', 'READ')) as sent_at,
        min(w.happened_at) filter (where w.status = 'FAILED') as failed_at,
        (
            array_agg(w.error_code order by w.part_number, w.provider_message_id, w.error_code)
                filter (where w.status = 'FAILED')
        )[1] as error_code
    from word w
    join arrived a using (distributor_id, id)
    group by w.distributor_id, w.id, w.parts, w.channel, a.known, a.delivered, a.read, a.delivered_at, a.read_at
),
-- Where each message ought to stand.
standing as (
    (
        select distinct on (distributor_id, known_message_id)
            distributor_id, known_message_id as id, status, status_rank, error_code, received_at, provider_message_id, ordinal,
            true as all_known,
            min(happened_at) filter (where status in ('SENT', 'DELIVERED', 'READ')) over words as sent_at,
            min(happened_at) filter (where status = 'DELIVERED') over words as delivered_at,
            min(happened_at) filter (where status = 'READ') over words as read_at,
            min(happened_at) filter (where status = 'FAILED') over words as failed_at
        from told
        where parts = 1
        window words as (partition by distributor_id, known_message_id)
        order by distributor_id, known_message_id, status_rank desc, ordinal
    )
    union all
    select w.distributor_id, w.id, s.status, s.rank, case when s.status = 'FAILED' then w.error_code end, t.received_at,
        null, t.ordinal, w.all_known, w.sent_at, w.delivered_at, w.read_at, w.failed_at
    from whole w
    cross join lateral (
        select v.status, ($4::jsonb #>> array[w.channel, v.status])::int as rank
        from (
            values ('SENDING', true), ('SENT', w.sent), ('FAILED', w.failed), ('DELIVERED', w.delivered), ('READ', w.read)
        ) as v(status, holds)
        where v.holds
        order by 2 desc
        limit 1
    ) s
    -- The word that made it so, whose event tells of it.
    cross join lateral (
        select t.ordinal, t.received_at
        from told t
        where t.distributor_id = w.distributor_id and t.known_message_id = w.id
        order by t.status = s.status desc, t.status_rank desc, t.ordinal
        limit 1
    ) t
),
updated as (
    update messages m set
        status = case when m.status_rank < h.status_rank then h.status else m.status end,
        status_rank = greatest(m.status_rank, h.status_rank),
        error_code = case
            when m.status_rank < h.status_rank or (m.status_rank = h.status_rank and m.parts > 1) then h.error_code
            else m.error_code
        end,
        updated_at = h.received_at,
        provider_message_id = coalesce(m.provider_message_id, nullif(h.provider_message_id, '')),
        -- A callback proves that the provider took the message: there is nothing left to send. Where a part has failed, the
        -- message has, and whoever sends it anew must not double its other parts.
        send_due_at = case
            when (h.all_known or h.status = 'FAILED') and m.status_rank < h.status_rank then null
            else m.send_due_at
        end,
        send_started_at = case
            when (h.all_known or h.status = 'FAILED') and m.status_rank < h.status_rank then null
            else m.send_started_at
        end,
        -- The first time that each was told, also by a word that comes too late for the status.
        sent_at = least(m.sent_at, h.sent_at), delivered_at = least(m.delivered_at, h.delivered_at),
        read_at = least(m.read_at, h.read_at), failed_at = least(m.failed_at, h.failed_at)
    from standing h
    where m.distributor_id = h.distributor_id and m.id = h.id
        and (
            m.status_rank < h.status_rank
            or (m.status_rank = h.status_rank and m.parts > 1)
            or (m.sent_at, m.delivered_at, m.read_at, m.failed_at) is distinct from (
                least(m.sent_at, h.sent_at), least(m.delivered_at, h.delivered_at), least(m.read_at, h.read_at),
                least(m.failed_at, h.failed_at)
            )
        )
    returning m.id
),
risen as (
    select h.ordinal, h.status
    from standing h
    join told t using (ordinal)
    where t.known_rank < h.status_rank
),
status_event as (
    insert into message_status_events
        (distributor_id, id, message_id, status, provider_status, error_code, applied, occurred_at, told_at, part,
         provider_message_id)
    select t.distributor_id, t.status_event_id, t.known_message_id, t.status, t.provider_status, t.error_code,
        exists (select from risen r where r.ordinal = t.ordinal), t.received_at, t.told_at, t.part, t.provider_message_id
    from told t
    order by t.ordinal
),
event as (
    select row_number() over (order by t.ordinal, e.position) as position,
        jsonb_set(
            e.event || jsonb_build_object('conversation_id', t.conversation_id),
            '{body,data}',
            (e.event #> '{body,data}') || jsonb_build_object(
                'customer_id', t.customer_id, 'conversation_id', t.conversation_id, 'message_id', t.known_message_id,
                'channel', t.channel, 'type', t.type, 'text', t.text, 'status', r.status
            ) || e.more
        ) as event
    from told t
    join risen r using (ordinal)
    -- A failure that turned out to be none: whether it had been told as sent before, only the history knows.
    left join lateral (
        select not exists (
            select from message_status_events e
            where e.distributor_id = t.distributor_id and e.message_id = t.known_message_id and e.applied
                and e.status in ('SENT', 'DELIVERED', 'READ')
        ) as not_sent
        where t.known_status = 'FAILED'
    ) f on true
    cross join lateral (
        values (1, case when t.known_rank < ($4::jsonb #>> array[t.channel, 'SENT'])::int or f.not_sent then t.sent_event end,
                '{}'::jsonb),
            (2, t.changed_event, jsonb_build_object('previous', t.known_status)),
            (3, case when r.status = 'FAILED' then t.failed_event end, '{}'::jsonb)
    ) as e(position, event, more)
    where e.event is not null
),
recorded as materialized (
    select record_events($6::jsonb || coalesce(jsonb_agg(event order by position), '[]')) as deliveries from event
),
duplicate as materialized (
    select t.ordinal, pg_logical_emit_message(true, 'waystation', 'duplicate') as logged
    from taken t
    where not exists (select from mapped m where m.distributor_id = t.distributor_id and m.status_event_id = t.status_event_id)
)
select i.ordinal, t.known_message_id as message_id, d.ordinal is not null as duplicate,
    exists (select from risen r where r.ordinal = i.ordinal) as applied,
    not $5::boolean and (l.ordinal is not null or (f.ordinal is not null and t.ordinal is null)) as left_over,
    (select deliveries from recorded) as deliveries, d.logged is not null as logged
from input i
left join duplicate d using (ordinal)
left join found f using (ordinal)
left join taken t using (ordinal)
left join lost l using (ordinal)
order by i.ordinal;

-- name: take_parked
-- What waits under an id of the account, the oldest word first; nobody takes it again.
update inbound_events
set parked_key = null
where distributor_id = $1 and channel_account_id = $2 and parked_key = $3
returning parked_item;

-- name: list_found
-- Ids that something is parked under though their message is known by now: a worker stopped before it took it.
select distinct e.distributor_id, e.channel_account_id, e.parked_key
from inbound_events e
where e.parked_key is not null
    and (
        exists (
            select from messages m
            where m.distributor_id = e.distributor_id and m.channel_account_id = e.channel_account_id
                and m.provider_message_id = e.parked_key and m.direction = 'OUTBOUND'
        )
        or exists (
            select from external_message_mappings x
            join messages m
                on m.distributor_id = x.distributor_id and m.channel_account_id = x.channel_account_id and m.id = x.message_id
                and m.direction = 'OUTBOUND'
            where x.distributor_id = e.distributor_id and x.channel_account_id = e.channel_account_id
                and x.provider_key = 'sent:' || e.parked_key
        )
    )
limit $1;

-- name: drop_parked
-- What nobody's message was found for in time. The post that it came in stays as long as all others.
with late as (
    select distributor_id, id
    from inbound_events
    where parked_key is not null and received_at < $1
    limit $2
)
update inbound_events e
set parked_key = null
from late
where e.distributor_id = late.distributor_id and e.id = late.id;

-- name: learn_opt_outs
-- A provider refused messages because their recipient had told it STOP. A word that we heard after the message was written is
-- newer than that. Goes before the messages are locked, since a send, too, locks the contact before the message. The events are
-- only given back: whoever records them locks their conversations, and messages are locked before conversations.
with input as (
    select *
    from jsonb_to_recordset($1::jsonb) as i(
        distributor_id uuid, channel_account_id uuid, message_id uuid, provider_message_id text, received_at timestamptz,
        opt_out_event jsonb
    )
),
meant as (
    select i.*,
        coalesce(i.message_id, (
            select m.id
            from messages m
            where m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id
                and m.provider_message_id = i.provider_message_id and m.direction = 'OUTBOUND'
            order by m.id desc
            limit 1
        ), (
            select x.message_id
            from external_message_mappings x
            where x.distributor_id = i.distributor_id and x.channel_account_id = i.channel_account_id
                and x.provider_key = 'sent:' || i.provider_message_id
        )) as id
    from input i
),
refused as (
    select distinct on (k.distributor_id, k.channel, k.address)
        k.distributor_id, k.id as contact_id, v.id as conversation_id, m.created_at as written_at, i.received_at, i.opt_out_event
    from meant i
    join messages m
        on m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id and m.id = i.id
        and m.direction = 'OUTBOUND'
    join conversations v on v.distributor_id = m.distributor_id and v.id = m.conversation_id
    join customer_contacts k on k.distributor_id = v.distributor_id and k.id = v.contact_id
    order by k.distributor_id, k.channel, k.address, m.created_at desc
),
-- In the order in which a flush of messages takes contacts.
locked as materialized (
    select k.id
    from refused r
    join customer_contacts k on k.distributor_id = r.distributor_id and k.id = r.contact_id
    order by k.distributor_id, k.channel, k.address
    for update of k
),
silenced as (
    update customer_contacts k
    set opted_out_at = r.received_at, opt_out_reason = 'provider', consent_changed_at = r.received_at
    from refused r
    where k.distributor_id = r.distributor_id and k.id = r.contact_id and k.id in (select id from locked)
        and k.opted_out_at is null and (k.consent_changed_at is null or k.consent_changed_at <= r.written_at)
    returning k.customer_id, k.address, k.display_name, r.conversation_id, r.opt_out_event
),
event as (
    select jsonb_set(
        s.opt_out_event || jsonb_build_object('conversation_id', s.conversation_id),
        '{body,data}',
        (s.opt_out_event #> '{body,data}') || jsonb_build_object(
            'customer_id', s.customer_id, 'conversation_id', s.conversation_id, 'address', s.address,
            'display_name', s.display_name
        )
    ) as event
    from silenced s
)
select event from event;
