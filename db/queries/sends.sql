-- Outbound messages: queued by a turn or a person, sent by the send lane.

-- name: find_reply_target
select c.id as conversation_id, c.channel_account_id, c.customer_id, c.channel, k.address, k.opted_out_at, c.last_inbound_at, a.provider
from conversations c
join customer_contacts k on k.distributor_id = c.distributor_id and k.id = c.contact_id
join channel_accounts a on a.distributor_id = c.distributor_id and a.id = c.channel_account_id
where c.distributor_id = get_current_distributor_id() and c.id = $1;

-- name: queue_message
-- A reply takes its burst's key first: whoever comes second queues nothing.
with conversation as (
    select c.id, c.channel_account_id, c.customer_id, c.channel
    from conversations c
    where c.distributor_id = get_current_distributor_id() and c.id = $1
),
taken as (
    insert into external_message_mappings (distributor_id, channel_account_id, provider_key, message_id, created_at)
    select get_current_distributor_id(), channel_account_id, 'reply:' || $6::uuid, $2, $7 from conversation where $6 is not null
    on conflict do nothing
    returning message_id
)
insert into messages
    (distributor_id, id, conversation_id, channel_account_id, customer_id, channel, direction, type, status, status_rank, text,
     metadata, ai_processed, ai_skip_reason, turn_message_id, send_priority, send_due_at, created_at, updated_at)
select get_current_distributor_id(), $2, id, channel_account_id, customer_id, channel, 'OUTBOUND', $3, 'QUEUED', $4, $5,
    $8, true, 'outbound', $6, $9, $7, $7, $7
from conversation
where $6 is null or exists (select from taken)
returning id;

-- name: was_shown
-- Whether a reply with $2 in its metadata was queued by $3; one that could not be sent showed nothing.
select exists (
    select from messages
    where distributor_id = get_current_distributor_id() and conversation_id = $1 and direction = 'OUTBOUND'
        and status <> 'FAILED' and metadata @> $2 and created_at <= $3
);

-- name: touch_conversation
update conversations
set last_message_at = greatest(last_message_at, $2)
where distributor_id = get_current_distributor_id() and id = $1;

-- name: insert_attachments
-- The provider fetches them by their address; here they are not.
insert into attachments (distributor_id, id, message_id, position, url, content_type, filename, state, created_at)
select get_current_distributor_id(), a.id, $1, a.position, a.url, a.content_type, a.filename, 'LINKED', $3
from jsonb_to_recordset($2::jsonb) as a(id uuid, position int, url text, content_type text, filename text);

-- name: list_attachments
select url, content_type, filename
from attachments
where distributor_id = get_current_distributor_id() and message_id = $1
order by position;

-- name: find_send
-- No row when the lease went to another worker or a callback settled the message meanwhile. Locks the contact, so that
-- a STOP and a send are one after the other.
select m.id as message_id, m.conversation_id, m.channel_account_id, m.customer_id, m.channel, m.type, m.status, m.text, m.metadata, m.parts, m.send_attempts as attempts,
    m.send_started_at as started_at, m.send_unknown as unknown, m.created_at, k.address, k.opted_out_at, c.last_inbound_at,
    a.provider, a.address as account_address, a.credentials_sealed, a.settings as account_settings, a.deleted_at as account_deleted_at,
    a.send_rate::float8 as account_rate, a.throttled_until
from messages m
join conversations c on c.distributor_id = m.distributor_id and c.id = m.conversation_id
join customer_contacts k on k.distributor_id = c.distributor_id and k.id = c.contact_id
join channel_accounts a on a.distributor_id = m.distributor_id and a.id = m.channel_account_id
where m.distributor_id = get_current_distributor_id() and m.id = $1 and m.send_lease_token = $2 and m.send_due_at is not null
for share of k;

-- name: start_send
-- Takes a place of the account's rate (GCRA: next_send_at is the theoretical arrival time, $7 the time between two places, $8 the
-- latest place that may be taken now), in the transaction that marks the attempt. Committed before the request leaves: if
-- nothing is heard of it, the next claim asks the provider first. Renews the lease, for asking the provider may have used it up;
-- not held when it went to another worker meanwhile.
with place as (
    update channel_accounts a
    set next_send_at = greatest(a.next_send_at, $4) + $7::interval
    from messages m
    where m.distributor_id = get_current_distributor_id() and m.id = $1 and m.send_lease_token = $2
        and a.distributor_id = get_current_distributor_id() and a.id = m.channel_account_id
        and (a.throttled_until is null or a.throttled_until <= $4) and (a.next_send_at is null or a.next_send_at <= $8)
    returning a.id
),
started as (
    update messages
    set status = case when status_rank < $3 then 'SENDING' else status end, status_rank = greatest(status_rank, $3),
        send_started_at = coalesce(send_started_at, $4), send_unknown = send_unknown + 1, send_lease_until = $5, parts = $6,
        updated_at = $4
    where distributor_id = get_current_distributor_id() and id = $1 and send_lease_token = $2 and exists (select from place)
    returning id
)
select exists (select from started) as started, exists (
    select from messages where distributor_id = get_current_distributor_id() and id = $1 and send_lease_token = $2
) as held;

-- name: throttle_account
-- The rate is lowered once per throttling: what was under way when it began is refused for the same reason.
update channel_accounts
set send_rate = case when throttled_until > $2 then send_rate else $3::float8 end, throttled_until = greatest(throttled_until, $4)
where distributor_id = get_current_distributor_id() and id = $1;

-- name: ask_for_person
update conversations
set handoff = 'WAITING_HUMAN'
where distributor_id = get_current_distributor_id() and id = $1 and handoff = 'BOT'
returning id;

-- name: record_part
-- The provider took one part of several, and others are still to leave: nothing is under way now. Whoever looks for the part's
-- id finds the message.
with taken as (
    update messages m
    set send_started_at = null, send_unknown = 0, provider_message_id = coalesce(m.provider_message_id, $3), updated_at = $4
    where m.distributor_id = get_current_distributor_id() and m.id = $1 and m.send_lease_token = $2
    returning m.id, m.channel_account_id
),
named as (
    insert into external_message_mappings (distributor_id, channel_account_id, provider_key, message_id, created_at)
    select get_current_distributor_id(), channel_account_id, 'sent:' || $3, id, $4 from taken
    on conflict do nothing
)
select id from taken;

-- name: list_part_receipts
-- The provider's ids of the parts that it is known to have, by a receipt or by a status that was told of them.
select distinct on (part) part, provider_message_id
from message_status_events
where distributor_id = get_current_distributor_id() and message_id = $1 and part is not null and provider_message_id is not null
order by part, id;

-- name: settle_send
-- A status only rises; whatever it was, the attempt is over. A receipt that comes after the failure makes nothing sent.
with before as (
    select m.id, m.sent_at, m.status_rank
    from messages m
    where m.distributor_id = get_current_distributor_id() and m.id = $1 and m.send_lease_token = $2
    for update
)
update messages m
set status = case when m.status_rank < $4 then $3 else m.status end,
    status_rank = greatest(m.status_rank, $4),
    provider_message_id = coalesce(m.provider_message_id, $5),
    error_code = case when m.status_rank < $4 then $6 else m.error_code end,
    sent_at = coalesce(m.sent_at, case when m.status_rank < $4 then $7::timestamptz end),
    send_due_at = $8, send_started_at = null, send_unknown = 0, send_lease_until = null, send_lease_token = null, updated_at = $9
from before
where m.distributor_id = get_current_distributor_id() and m.id = $1
returning m.id, m.conversation_id, m.customer_id, m.channel, m.type, m.text, m.status,
    before.status_rank < $4 as applied, before.sent_at is null and m.sent_at is not null as first_sent;

-- name: line_up_following
-- The conversation's next message stands in line from now ($3): one conversation's long line does not hold up another's.
update messages n
set send_due_at = greatest(n.send_due_at, $3)
where n.distributor_id = get_current_distributor_id() and n.send_due_at is not null and n.id = (
    select m.id
    from messages m
    where m.distributor_id = get_current_distributor_id() and m.conversation_id = $2 and m.send_due_at is not null and m.id > $1
    order by m.id
    limit 1
);

-- name: postpone_send
-- Puts an attempt off, to $3 or (null) with its place in line. Where it was refused ($4) all is as before it; else it may have
-- left, and send_started_at tells the next claim. $6: it counts as one. What a callback has settled meanwhile stays so.
update messages
set send_due_at = coalesce($3, send_due_at),
    send_started_at = case when $4 and send_unknown <= 1 then null else send_started_at end,
    send_unknown = case when $4 then greatest(send_unknown - 1, 0) else send_unknown end,
    send_attempts = send_attempts - case when $6 then 0 else 1 end,
    send_lease_until = null, send_lease_token = null, updated_at = $5
where distributor_id = get_current_distributor_id() and id = $1 and send_lease_token = $2 and send_due_at is not null;

-- name: insert_status_event
insert into message_status_events
    (distributor_id, id, message_id, status, provider_status, error_code, applied, occurred_at, part, provider_message_id)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: list_known_provider_ids
-- Ids that are other messages', so that two messages of the same words are never taken for one. Those to the same recipient
-- in any of the tenant's conversations: the provider's list does not tell our accounts apart.
with other as (
    select m.id, m.provider_message_id, m.parts
    from conversations c
    join conversations v on v.distributor_id = c.distributor_id and v.contact_id = c.contact_id
    join messages m on m.distributor_id = v.distributor_id and m.conversation_id = v.id
    where c.distributor_id = get_current_distributor_id() and c.id = $1
        and m.id <> $2 and m.provider_message_id is not null and m.direction = 'OUTBOUND'
    order by m.id desc
    limit 200
)
select provider_message_id from other
union
select e.provider_message_id
from other o
join message_status_events e on e.distributor_id = get_current_distributor_id() and e.message_id = o.id
where o.parts > 1 and e.provider_message_id is not null;

-- name: find_typing_target
-- The account that a customer's message came to; none where it was deleted.
select m.provider_message_id, m.channel_account_id, m.channel, a.provider, a.address as account_address, a.credentials_sealed,
    a.settings as account_settings
from messages m
join channel_accounts a on a.distributor_id = m.distributor_id and a.id = m.channel_account_id
where m.distributor_id = get_current_distributor_id() and m.id = $1 and m.provider_message_id is not null and a.deleted_at is null;
