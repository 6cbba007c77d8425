-- What providers say became of our messages: dedupe, one row per message moved upwards, events, in one statement.

-- name: accept_statuses
-- $1: the statuses; $2: the posts that they came in, each once; $3: the posts' bodies, as bytes.
with input as (
    select *
    from jsonb_to_recordset($1::jsonb) as i(
        ordinal int, distributor_id uuid, channel_account_id uuid, provider_key text, inbound_event_id uuid,
        received_at timestamptz, status_event_id uuid, message_id uuid,
        provider_message_id text, status text, status_rank int, provider_status text, error_code text,
        sent_event jsonb, changed_event jsonb, failed_event jsonb
    )
),
-- The message that is meant. Our own id, which the callback's address carries, wins. Each id has an index of its own; one
-- condition that chose between them would read every message there is.
meant as (
    select i.ordinal, i.distributor_id, i.channel_account_id,
        coalesce(i.message_id, (
            select m.id
            from messages m
            where m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id
                and m.provider_message_id = i.provider_message_id and m.direction = 'OUTBOUND'
            order by m.id desc  -- the newest, should a provider ever use an id twice
            limit 1
        )) as id
    from input i
),
-- It must be one that this account sent. Locked before its state is read, and in one order: two gateways may hear of the
-- same messages at once.
locked as (
    select m.*
    from (select distinct distributor_id, channel_account_id, id from meant order by distributor_id, id) known
    cross join lateral (
        select m.*
        from messages m
        where m.distributor_id = known.distributor_id and m.id = known.id
            and m.channel_account_id = known.channel_account_id and m.direction = 'OUTBOUND'
        for update
    ) m
),
found as (
    select i.*, m.id as known_message_id, m.status_rank as known_rank, m.conversation_id, m.customer_id, m.channel, m.type,
        m.text, m.status as known_status, m.sent_at as known_sent_at
    from input i
    join meant using (ordinal)
    join locked m
        on m.distributor_id = meant.distributor_id and m.channel_account_id = meant.channel_account_id and m.id = meant.id
),
-- The key is taken only where a message is meant. A status that comes before its message's receipt and does not carry our id
-- is answered, logged and counted, and then gone: Twilio does not repeat what was answered. Parking it is a later issue; a
-- provider, or a person, who posts it again is not taken for a duplicate.
mapped as (
    insert into external_message_mappings (distributor_id, channel_account_id, provider_key, message_id, created_at)
    select distributor_id, channel_account_id, provider_key, status_event_id, received_at
    from found
    order by distributor_id, channel_account_id, provider_key, ordinal
    on conflict do nothing
    returning distributor_id, message_id as status_event_id
),
told as (
    select f.* from found f join mapped m on m.distributor_id = f.distributor_id and m.status_event_id = f.status_event_id
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
    where exists (select from told f where f.inbound_event_id = p.id)
    -- What came in one post has one row; an earlier flush may have stored it.
    on conflict do nothing
),
highest as (
    select distinct on (distributor_id, known_message_id) *
    from told
    order by distributor_id, known_message_id, status_rank desc, ordinal
),
updated as (
    update messages m set
        status = h.status, status_rank = h.status_rank, error_code = h.error_code, updated_at = h.received_at,
        provider_message_id = coalesce(m.provider_message_id, h.provider_message_id),
        -- A callback proves that the provider took the message: there is nothing left to send.
        send_due_at = null, send_started_at = null,
        sent_at = coalesce(m.sent_at, case when h.status in ('SENT', 'DELIVERED', 'READ') then h.received_at end)
    from highest h
    where m.distributor_id = h.distributor_id and m.id = h.known_message_id and m.status_rank < h.status_rank
    returning m.distributor_id, m.id, h.ordinal
),
status_event as (
    insert into message_status_events (distributor_id, id, message_id, status, provider_status, error_code, applied, occurred_at)
    select t.distributor_id, t.status_event_id, t.known_message_id, t.status, t.provider_status, t.error_code,
        exists (select from updated u where u.ordinal = t.ordinal), t.received_at
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
                'channel', t.channel, 'type', t.type, 'text', t.text
            ) || e.more
        ) as event
    from told t
    join updated u on u.ordinal = t.ordinal
    cross join lateral (
        values (1, case when t.known_sent_at is null then t.sent_event end, '{}'::jsonb),
            (2, t.changed_event, jsonb_build_object('previous', t.known_status)),
            (3, t.failed_event, '{}'::jsonb)
    ) as e(position, event, more)
    where e.event is not null
),
recorded as materialized (
    select record_events(jsonb_agg(event order by position)) as deliveries from event
),
duplicate as materialized (
    select i.ordinal, pg_logical_emit_message(true, 'waystation', 'duplicate') as logged
    from found i
    where not exists (select from mapped m where m.distributor_id = i.distributor_id and m.status_event_id = i.status_event_id)
)
select i.ordinal, f.known_message_id as message_id, d.ordinal is not null as duplicate,
    exists (select from updated u where u.ordinal = i.ordinal) as applied,
    (select deliveries from recorded) as deliveries, d.logged is not null as logged
from input i
left join duplicate d using (ordinal)
left join found f using (ordinal)
order by i.ordinal;

-- name: learn_opt_outs
-- A provider refused messages because their recipient had told it STOP. A word that we heard after the message was written is
-- newer than that. Goes before accept_statuses in its transaction, since a send, too, locks the contact before the message.
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
silenced as (
    update customer_contacts k
    set opted_out_at = r.received_at, opt_out_reason = 'provider', consent_changed_at = r.received_at
    from refused r
    where k.distributor_id = r.distributor_id and k.id = r.contact_id
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
select record_events(jsonb_agg(event)) as deliveries from event;
