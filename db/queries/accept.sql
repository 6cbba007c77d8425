-- What a provider posted becomes rows: one set-based statement per flush, whole or not at all; messages of contacts that are
-- not known yet come in a second one.

-- name: lock_addresses
-- Until the end of the transaction no other flush makes a contact with one of these addresses. A statement of its own: the
-- next one's snapshot is taken when the locks are held, and sees what the flush before had made.
select pg_advisory_xact_lock(a.key)
from (
    select distinct hashtextextended(i.distributor_id || i.address, 0) as key
    from jsonb_to_recordset($1::jsonb) as i(distributor_id text, address text)
    order by key
) a;

-- name: accept_messages
-- $1: the messages; $2: the posts that they came in, each once; $3: the posts' bodies, as bytes.
-- Contacts that are not known yet are made only if $4; else their messages are left, and the answer says so.
with input as (
    select *
    from jsonb_to_recordset($1::jsonb) as i(
        ordinal int, distributor_id uuid, channel_account_id uuid, provider_key text, inbound_event_id uuid,
        received_at timestamptz, channel text, sender text, user_id text, profile_name text, is_notice boolean,
        consent text, opt_out_reason text, contact_id uuid, customer_id uuid, conversation_id uuid, message_id uuid, type text,
        text text, metadata jsonb, reply_to_provider_id text, attachments jsonb, thread_key text, mail_message_id text, subject text,
        turn_due_at timestamptz, turn_cap_at timestamptz, ai_skip_reason text,
        received_event jsonb, conversation_event jsonb, customer_event jsonb, consent_event jsonb
    )
),
-- Whose it is: by the provider's id of the person first, then by the address. What may change a contact waits for the locks.
taken as (
    select i.*, coalesce(u.address, i.sender) as address
    from input i
    left join lateral (
        select c.address, c.customer_id is not null and (c.address <> i.user_id or i.sender = i.user_id) as settled
        from customer_contacts c
        where i.user_id is not null and c.distributor_id = i.distributor_id and c.channel = i.channel
            and c.provider_user_id = i.user_id
        limit 1
    ) u on true
    left join lateral (
        select i.user_id is null and c.customer_id is not null as settled
        from customer_contacts c
        where c.distributor_id = i.distributor_id and c.channel = i.channel and c.address = i.sender
        limit 1
    ) c on true
    where $4::boolean or c.settled or u.settled
),
-- The dedupe comes first: whoever takes the provider's key goes on, everyone else is a duplicate.
mapped as (
    insert into external_message_mappings (distributor_id, channel_account_id, provider_key, message_id, created_at)
    select distributor_id, channel_account_id, provider_key, message_id, received_at
    from taken
    order by distributor_id, channel_account_id, provider_key, ordinal
    on conflict do nothing
    returning distributor_id, message_id
),
fresh as (
    select i.* from taken i join mapped m on m.distributor_id = i.distributor_id and m.message_id = i.message_id
),
stored_event as (
    insert into inbound_events
        (distributor_id, id, channel_account_id, kind, provider_key, method, target, headers, body, received_at)
    select distributor_id, id, channel_account_id, 'message', provider_key, method, target, headers, ($3::bytea[])[ordinal + 1],
        received_at
    from jsonb_to_recordset($2::jsonb) as p(
        ordinal int, distributor_id uuid, id uuid, channel_account_id uuid, provider_key text, method text, target text,
        headers jsonb, received_at timestamptz
    )
    where exists (select from fresh f where f.inbound_event_id = p.id)
    -- What came in one post has one row; an earlier flush may have stored it.
    on conflict do nothing
),
first_of_contact as (
    select distinct on (distributor_id, channel, address)
        *,
        -- One number that writes on two channels at once is one new customer, not two.
        first_value(customer_id) over (partition by distributor_id, address order by ordinal) as new_customer_id,
        -- What the provider tells by itself is no word of the customer's.
        max(received_at) filter (where not is_notice) over (partition by distributor_id, channel, address) as last_inbound_at,
        max(user_id) over (partition by distributor_id, channel, address) as new_user_id
    from fresh
    order by distributor_id, channel, address, ordinal
),
last_consent as (
    select distinct on (distributor_id, channel, address) distributor_id, channel, address, consent, opt_out_reason,
        received_at, ordinal
    from fresh
    where consent is not null
    order by distributor_id, channel, address, ordinal desc
),
-- As it was before this statement, and nobody else's to change until it ends: only a change is told. Where there is a word,
-- all contacts of the flush are locked, so that two flushes take them in one order.
known_consent as (
    select c.distributor_id, c.channel, c.address, c.opted_out_at
    from first_of_contact f
    join customer_contacts c using (distributor_id, channel, address)
    where exists (select from last_consent)
    order by c.distributor_id, c.channel, c.address
    for update of c
),
contact as (
    insert into customer_contacts as c
        (distributor_id, id, customer_id, channel, address, provider_user_id, display_name, opted_out_at, opt_out_reason,
         consent_changed_at, last_inbound_at, created_at)
    select f.distributor_id, f.contact_id, coalesce(sibling.customer_id, f.new_customer_id), f.channel, f.address, f.new_user_id, f.profile_name,
        case when l.consent = 'OUT' then l.received_at end, case when l.consent = 'OUT' then l.opt_out_reason end, l.received_at,
        f.last_inbound_at, f.received_at
    from first_of_contact f
    left join last_consent l using (distributor_id, channel, address)
    left join known_consent using (distributor_id, channel, address)  -- read before it is changed
    -- The same telephone number on another channel is the same customer.
    left join lateral (
        select s.customer_id
        from customer_contacts s
        where s.distributor_id = f.distributor_id and s.address = f.address and s.customer_id is not null
        order by s.id
        limit 1
    ) sibling on true
    order by f.distributor_id, f.channel, f.address
    on conflict (distributor_id, channel, address) do update set
        customer_id = coalesce(c.customer_id, excluded.customer_id),
        display_name = coalesce(excluded.display_name, c.display_name),
        -- The newest word counts, in the order of the customer's messages, not of their repetitions.
        opted_out_at = case
            when excluded.consent_changed_at >= coalesce(c.consent_changed_at, excluded.consent_changed_at)
                then excluded.opted_out_at
            else c.opted_out_at
        end,
        opt_out_reason = case
            when excluded.consent_changed_at >= coalesce(c.consent_changed_at, excluded.consent_changed_at)
                then excluded.opt_out_reason
            else c.opt_out_reason
        end,
        consent_changed_at = greatest(c.consent_changed_at, excluded.consent_changed_at),
        last_inbound_at = greatest(c.last_inbound_at, excluded.last_inbound_at)
    returning distributor_id, id, customer_id, channel, address, opted_out_at
),
customer as (
    insert into customers (distributor_id, id, business_name, customer_code, created_at, updated_at)
    select c.distributor_id, c.customer_id, coalesce(f.profile_name, f.address),
        'C-' || upper(right(replace(c.customer_id::text, '-', ''), 12)), f.received_at, f.received_at
    from (select distinct on (customer_id) * from contact order by customer_id, channel) c
    join first_of_contact f using (distributor_id, channel, address)
    where c.customer_id = f.new_customer_id
    returning distributor_id, id
),
burst as (
    select distinct on (f.distributor_id, f.channel_account_id, c.id, f.thread_key)
        f.*, c.id as known_contact_id, c.customer_id as known_customer_id,
        count(*) filter (where not f.is_notice) over whole as arrived,
        max(f.received_at) over whole as last_received_at,
        max(f.received_at) filter (where not f.is_notice) over whole as last_inbound_at,
        max(f.turn_due_at) over whole as last_due_at,
        min(f.turn_cap_at) over whole as first_cap_at
    from fresh f
    join contact c using (distributor_id, channel, address)
    window whole as (partition by f.distributor_id, f.channel_account_id, c.id, f.thread_key)
    order by f.distributor_id, f.channel_account_id, c.id, f.thread_key, f.ordinal
),
conversation as (
    insert into conversations as v
        (distributor_id, id, channel_account_id, contact_id, customer_id, channel, thread_key, subject, unread_count,
         last_message_at, last_inbound_at, turn_generation, turn_due_at, turn_cap_at, created_at)
    select distributor_id, conversation_id, channel_account_id, known_contact_id, known_customer_id, channel, thread_key, subject,
        arrived, last_received_at, last_inbound_at, arrived, least(last_due_at, first_cap_at), first_cap_at, received_at
    from burst
    order by distributor_id, channel_account_id, known_contact_id, thread_key
    on conflict (distributor_id, channel_account_id, contact_id, thread_key) do update set
        status = 'ACTIVE',
        customer_id = coalesce(v.customer_id, excluded.customer_id),
        subject = coalesce(v.subject, excluded.subject),
        unread_count = v.unread_count + excluded.unread_count,
        last_message_at = greatest(v.last_message_at, excluded.last_message_at),
        last_inbound_at = greatest(v.last_inbound_at, excluded.last_inbound_at),
        turn_generation = v.turn_generation + excluded.turn_generation,
        -- Every message of a burst moves the turn on, but never past the cap that its first message set. None moves it
        -- forward: a turn that waits after a fault, perhaps for longer than the cap, is not tried before its time.
        turn_due_at = case
            when excluded.turn_due_at is null then v.turn_due_at
            else greatest(v.turn_due_at, least(excluded.turn_due_at, coalesce(v.turn_cap_at, excluded.turn_cap_at)))
        end,
        turn_cap_at = coalesce(v.turn_cap_at, excluded.turn_cap_at)
    returning distributor_id, id, channel_account_id, contact_id, thread_key
),
placed as (
    select f.*, c.customer_id as known_customer_id, c.id as known_contact_id, v.id as known_conversation_id,
        n.id is not null as customer_is_new,
        v.id = f.conversation_id as conversation_is_new,
        l.ordinal is not null and (c.opted_out_at is null) <> (k.opted_out_at is null) as consent_changes
    from fresh f
    join contact c using (distributor_id, channel, address)
    join conversation v
        on v.distributor_id = f.distributor_id and v.channel_account_id = f.channel_account_id
        and v.contact_id = c.id and v.thread_key = f.thread_key
    left join customer n on n.id = f.customer_id
    left join known_consent k
        on k.distributor_id = f.distributor_id and k.channel = f.channel and k.address = f.address
    left join last_consent l on l.ordinal = f.ordinal
),
message as (
    insert into messages
        (distributor_id, id, conversation_id, channel_account_id, customer_id, channel, direction, type, status, text, metadata,
         provider_message_id, mail_message_id, reply_to_provider_id, inbound_event_id, ai_processed, ai_skip_reason, created_at, updated_at)
    select distributor_id, message_id, known_conversation_id, channel_account_id, known_customer_id, channel, 'INBOUND', type,
        'RECEIVED', text, metadata, provider_key, mail_message_id, reply_to_provider_id, inbound_event_id,
        ai_skip_reason is not null, ai_skip_reason, received_at, received_at
    from placed
    order by ordinal
),
attachment as (
    insert into attachments
        (distributor_id, id, message_id, position, url, content_type, filename, content_id, inbound_event_id, fetch_due_at,
         created_at)
    select p.distributor_id, a.id, p.message_id, a.position, a.url, a.content_type, a.filename, a.content_id,
        p.inbound_event_id, p.received_at, p.received_at
    from placed p
    cross join lateral jsonb_to_recordset(p.attachments)
        as a(id uuid, position int, url text, content_type text, filename text, content_id text)
),
-- The ids that only this statement knows are laid over the bodies that the caller built.
event as (
    select row_number() over (order by p.ordinal, e.position) as position,
        jsonb_set(
            e.event || jsonb_build_object('conversation_id', p.known_conversation_id),
            '{body,data}',
            (e.event #> '{body,data}') || jsonb_build_object(
                'customer_id', p.known_customer_id, 'conversation_id', p.known_conversation_id
            ) || case
                when p.user_id is not null and e.event #> '{body,data}' ? 'address'
                    then jsonb_build_object('address', p.address)
                else '{}'
            end
        ) as event
    from placed p
    cross join lateral (
        values (1, p.customer_event, p.customer_is_new), (2, p.conversation_event, p.conversation_is_new),
            (3, p.consent_event, p.consent_event is not null and p.consent_changes), (4, p.received_event, true)
    ) as e(position, event, wanted)
    where e.wanted
),
recorded as materialized (
    select record_events(jsonb_agg(event order by position)) as deliveries from event
),
-- A duplicate is acknowledged, so it must be as durable as a new row: this writes WAL and so waits for a standby.
duplicate as materialized (
    select i.ordinal, pg_logical_emit_message(true, 'waystation', 'duplicate') as logged
    from taken i
    where not exists (select from mapped m where m.distributor_id = i.distributor_id and m.message_id = i.message_id)
)
select i.ordinal, coalesce(m.message_id, x.message_id) as message_id, d.ordinal is not null as duplicate,
    t.ordinal is null as left_over, (select deliveries from recorded) as deliveries, d.logged is not null as logged
from input i
left join taken t using (ordinal)
left join duplicate d using (ordinal)
left join mapped m on m.distributor_id = i.distributor_id and m.message_id = i.message_id
left join external_message_mappings x
    on x.distributor_id = i.distributor_id and x.channel_account_id = i.channel_account_id and x.provider_key = i.provider_key
order by i.ordinal;

-- name: list_opted_out
-- Which of these contacts want no messages.
select c.distributor_id, c.channel, c.address
from jsonb_to_recordset($1::jsonb) as i(distributor_id uuid, channel text, address text)
join customer_contacts c using (distributor_id, channel, address)
where c.opted_out_at is not null;

-- name: find_own_senders
-- Which of these mails come from an address of the tenant's own mail accounts.
select i.ordinal
from jsonb_to_recordset($1::jsonb) as i(ordinal int, distributor_id uuid, address text)
where exists (
    select from channel_accounts a
    where a.distributor_id = i.distributor_id and a.channel = 'EMAIL' and a.deleted_at is null and lower(a.address) = i.address
);

-- name: accept_consents
-- What a provider says of addresses. The newest word counts, by its own time. An address that nobody wrote from is kept too,
-- without a customer: nothing may be sent to it, whoever it turns out to be.
with input as (
    select distinct on (distributor_id, channel_account_id, provider_key) *
    from jsonb_to_recordset($1::jsonb) as i(
        ordinal int, distributor_id uuid, channel_account_id uuid, provider_key text, inbound_event_id uuid,
        received_at timestamptz, channel text, address text, consent text, opt_out_reason text, told_at timestamptz,
        contact_id uuid, named_mail jsonb, changed_event jsonb
    )
    order by distributor_id, channel_account_id, provider_key, ordinal
),
-- A word that anybody could have written counts only of the address that the mail which it names went to.
held as (
    select i.*
    from input i
    where i.named_mail is null
        or exists (
            select from messages m
            join conversations v on v.distributor_id = m.distributor_id and v.id = m.conversation_id
            join customer_contacts k on k.distributor_id = v.distributor_id and k.id = v.contact_id
            where m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id
                and m.id = (i.named_mail ->> 'message_id')::uuid and m.direction = 'OUTBOUND'
                and v.thread_key = i.named_mail ->> 'thread_key' and k.address = i.address
        )
),
mapped as (
    insert into external_message_mappings (distributor_id, channel_account_id, provider_key, created_at)
    select distributor_id, channel_account_id, provider_key, received_at
    from held
    order by distributor_id, channel_account_id, provider_key
    on conflict do nothing
    returning distributor_id, channel_account_id, provider_key
),
fresh as (
    select i.* from held i join mapped m using (distributor_id, channel_account_id, provider_key)
),
stored_event as (
    insert into inbound_events
        (distributor_id, id, channel_account_id, kind, provider_key, method, target, headers, body, received_at)
    select distributor_id, id, channel_account_id, 'consent', provider_key, method, target, headers, ($3::bytea[])[ordinal + 1],
        received_at
    from jsonb_to_recordset($2::jsonb) as p(
        ordinal int, distributor_id uuid, id uuid, channel_account_id uuid, provider_key text, method text, target text,
        headers jsonb, received_at timestamptz
    )
    where exists (select from fresh f where f.inbound_event_id = p.id)
    -- What came in one post has one row; an earlier flush may have stored it.
    on conflict do nothing
),
newest as (
    select distinct on (distributor_id, channel, address) *
    from fresh
    order by distributor_id, channel, address, told_at desc, ordinal desc
),
-- As it was before this statement, and nobody else's to change until it ends: only a change is told.
before as (
    select c.distributor_id, c.channel, c.address, c.opted_out_at
    from newest n
    join customer_contacts c using (distributor_id, channel, address)
    order by c.distributor_id, c.channel, c.address
    for update of c
),
contact as (
    insert into customer_contacts as c
        (distributor_id, id, channel, address, opted_out_at, opt_out_reason, consent_changed_at, created_at)
    select n.distributor_id, n.contact_id, n.channel, n.address, case when n.consent = 'OUT' then n.told_at end,
        case when n.consent = 'OUT' then n.opt_out_reason end, n.told_at, n.received_at
    from newest n
    left join before b using (distributor_id, channel, address)
    where n.consent = 'OUT' or b.address is not null
    order by n.distributor_id, n.channel, n.address
    on conflict (distributor_id, channel, address) do update set
        opted_out_at = excluded.opted_out_at, opt_out_reason = excluded.opt_out_reason,
        consent_changed_at = excluded.consent_changed_at
    where excluded.consent_changed_at >= coalesce(c.consent_changed_at, excluded.consent_changed_at)
    returning distributor_id, customer_id, channel, address, display_name, opted_out_at
),
event as (
    select n.ordinal,
        jsonb_set(
            n.changed_event, '{body,data}',
            (n.changed_event #> '{body,data}')
                || jsonb_build_object('customer_id', c.customer_id, 'display_name', c.display_name)
        ) as event
    from newest n
    join contact c using (distributor_id, channel, address)
    left join before b using (distributor_id, channel, address)
    where (b.opted_out_at is null) <> (c.opted_out_at is null)
),
recorded as materialized (
    select record_events(jsonb_agg(event order by ordinal)) as deliveries from event
),
duplicate as materialized (
    select i.ordinal, pg_logical_emit_message(true, 'waystation', 'duplicate') as logged
    from held i
    where not exists (
        select from mapped m
        where m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id
            and m.provider_key = i.provider_key
    )
)
select i.ordinal, f.ordinal is not null as fresh, h.ordinal is null as unproven,
    (select deliveries from recorded) as deliveries, (select count(logged) from duplicate) as logged
from input i
left join held h using (ordinal)
left join fresh f using (ordinal);

-- name: accept_deferred
-- Posts that only tell of something: each waits for a worker who asks the provider for it.
with input as (
    select distinct on (distributor_id, channel_account_id, provider_key) *
    from jsonb_to_recordset($1::jsonb) as i(
        ordinal int, distributor_id uuid, channel_account_id uuid, provider_key text, inbound_event_id uuid,
        received_at timestamptz
    )
    order by distributor_id, channel_account_id, provider_key, ordinal
),
mapped as (
    insert into external_message_mappings (distributor_id, channel_account_id, provider_key, created_at)
    select distributor_id, channel_account_id, provider_key, received_at
    from input
    order by distributor_id, channel_account_id, provider_key
    on conflict do nothing
    returning distributor_id, channel_account_id, provider_key
),
fresh as (
    select i.* from input i join mapped m using (distributor_id, channel_account_id, provider_key)
),
stored_event as (
    insert into inbound_events
        (distributor_id, id, channel_account_id, kind, provider_key, method, target, headers, body, received_at, fetch_due_at)
    select p.distributor_id, p.id, p.channel_account_id, 'deferred', p.provider_key, p.method, p.target, p.headers,
        ($3::bytea[])[p.ordinal + 1], p.received_at, p.received_at
    from jsonb_to_recordset($2::jsonb) as p(
        ordinal int, distributor_id uuid, id uuid, channel_account_id uuid, provider_key text, method text, target text,
        headers jsonb, received_at timestamptz
    )
    where exists (select from fresh f where f.inbound_event_id = p.id)
    on conflict do nothing
),
duplicate as materialized (
    select i.ordinal, pg_logical_emit_message(true, 'waystation', 'duplicate') as logged
    from input i
    where not exists (
        select from mapped m
        where m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id
            and m.provider_key = i.provider_key
    )
)
select f.ordinal, (select count(logged) from duplicate) as logged from fresh f;

-- name: take_tokens
-- Whoever comes first with a token takes it for its body; a statement of its own, so that the next one sees what a transaction
-- that this one waited for has taken.
insert into external_message_mappings (distributor_id, channel_account_id, provider_key, digest, created_at)
select distinct on (distributor_id, channel_account_id, key)
    distributor_id, channel_account_id, key, decode(digest, 'hex'), received_at
from jsonb_to_recordset($1::jsonb) as i(
    ordinal int, distributor_id uuid, channel_account_id uuid, key text, digest text, received_at timestamptz
)
order by distributor_id, channel_account_id, key, ordinal
on conflict do nothing;

-- name: find_reused_tokens
select i.ordinal
from jsonb_to_recordset($1::jsonb) as i(
    ordinal int, distributor_id uuid, channel_account_id uuid, key text, digest text
)
join external_message_mappings m
    on m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id and m.provider_key = i.key
where m.digest is distinct from decode(i.digest, 'hex');

-- name: find_threads
-- The threads of stored mails of the account that a mail names, the mail's first word first.
select i.ordinal, found.thread_key
from jsonb_to_recordset($1::jsonb) as i(ordinal int, distributor_id uuid, channel_account_id uuid, named text[])
cross join lateral (
    select v.thread_key
    from unnest(i.named) with ordinality as n(id, place)
    cross join lateral (
        (
            select m.conversation_id
            from messages m
            where m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id and m.mail_message_id = n.id
            order by m.id
            limit 1
        )
        union all
        (
            select m.conversation_id
            from messages m
            where m.distributor_id = i.distributor_id and m.channel_account_id = i.channel_account_id
                and m.provider_message_id = n.id
            order by m.id
            limit 1
        )
    ) m
    join conversations v on v.distributor_id = i.distributor_id and v.id = m.conversation_id
    order by n.place
    limit 1
) found;
