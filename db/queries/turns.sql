-- One AI turn per burst.

-- name: find_turn
-- All that a turn starts from; no row when the lease went to another worker.
select c.id as conversation_id, c.channel_account_id, c.customer_id, c.contact_id, c.channel, c.language, c.handoff,
    c.turn_generation as generation, c.turn_cap_at as cap_at, c.turn_lease_token as lease_token, k.address, k.opted_out_at,
    d.name as tenant, d.time_zone, d.locale, d.currency, d.auto_reply, d.ai_confidence_threshold, d.catalogue_version
from conversations c
join customer_contacts k on k.distributor_id = c.distributor_id and k.id = c.contact_id
join distributors d on d.id = c.distributor_id
where c.distributor_id = get_current_distributor_id() and c.id = $1 and c.turn_lease_token = $2;

-- name: list_burst
select id, type, text, created_at, case when type = 'ORDER' then metadata -> 'order' end as cart
from messages
where distributor_id = get_current_distributor_id() and conversation_id = $1 and not ai_processed
order by id
limit $2;

-- name: lock_turn
-- Serialises everything that changes a conversation's draft.
select turn_generation as generation, turn_lease_token as lease_token, handoff
from conversations
where distributor_id = get_current_distributor_id() and id = $1
for no key update;

-- name: lock_contact
-- Before the conversation, as accept locks them: the other way round two transactions could wait for each other.
select k.id
from conversations c
join customer_contacts k on k.distributor_id = c.distributor_id and k.id = c.contact_id
where c.distributor_id = get_current_distributor_id() and c.id = $1
for no key update of k;

-- name: find_handoff_reason
select extracted_data ->> 'handoff_reason'
from ai_responses
where distributor_id = get_current_distributor_id() and conversation_id = $1 and extracted_data ? 'handoff_reason'
order by id desc
limit 1;

-- name: count_replies
-- How many answers of turns the conversation's contact had from its account since $2, and how many of the last $4 messages to
-- them (since $5) are such with the words $3. Over all their threads, for a machine may begin one with each mail.
with thread as (
    select v.id
    from conversations c
    join conversations v on v.distributor_id = c.distributor_id and v.contact_id = c.contact_id
        and v.channel_account_id = c.channel_account_id
    where c.distributor_id = get_current_distributor_id() and c.id = $1
),
answer as (
    select m.id, m.text, m.turn_message_id, m.created_at
    from thread
    join messages m on m.distributor_id = get_current_distributor_id() and m.conversation_id = thread.id
    where m.direction = 'OUTBOUND' and m.created_at > $5
)
select
    (select count(*) from answer where turn_message_id is not null and created_at > $2) as recent,
    (
        select count(*)
        from (select text, turn_message_id from answer order by id desc limit $4) latest
        where turn_message_id is not null and text = $3
    ) as repeated;

-- name: finish_turn
update conversations
set turn_due_at = null, turn_cap_at = null, turn_attempts = 0, turn_lease_until = null, turn_lease_token = null,
    language = coalesce($2, language), handoff = coalesce($3, handoff)
where distributor_id = get_current_distributor_id() and id = $1;

-- name: continue_turn
-- More of the burst waits than one turn takes: the next one is due at once.
update conversations
set turn_due_at = $2, turn_attempts = 0, turn_lease_until = null, turn_lease_token = null
where distributor_id = get_current_distributor_id() and id = $1 and turn_due_at is null
    and exists (
        select from messages m
        where m.distributor_id = get_current_distributor_id() and m.conversation_id = $1 and not m.ai_processed
    );

-- name: release_turn
-- Gives the lease back: the burst went on (then it is due when quiet, and $4 gives the attempt back), or a fault passes by $3.
update conversations
set turn_lease_until = null, turn_lease_token = null, turn_due_at = greatest(turn_due_at, $3),
    turn_attempts = turn_attempts - case when $4 then 1 else 0 end
where distributor_id = get_current_distributor_id() and id = $1 and turn_lease_token = $2;

-- name: mark_processed
update messages
set ai_processed = true, updated_at = $2
where distributor_id = get_current_distributor_id() and id = any($1::uuid[]) and not ai_processed;

-- name: save_response
insert into ai_responses
    (distributor_id, id, message_id, conversation_id, status, engine, engine_version, model, intent, language, confidence,
     extracted_data, error_class, input_tokens, cached_tokens, output_tokens, cost_micro_usd, request_id, processing_ms, created_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
on conflict (distributor_id, message_id) do update set
    status = excluded.status, engine = excluded.engine, engine_version = excluded.engine_version, model = excluded.model,
    intent = excluded.intent, language = excluded.language, confidence = excluded.confidence,
    extracted_data = excluded.extracted_data, error_class = excluded.error_class,
    input_tokens = ai_responses.input_tokens + excluded.input_tokens,
    cached_tokens = ai_responses.cached_tokens + excluded.cached_tokens,
    output_tokens = ai_responses.output_tokens + excluded.output_tokens,
    cost_micro_usd = ai_responses.cost_micro_usd + excluded.cost_micro_usd,
    request_id = excluded.request_id, processing_ms = excluded.processing_ms, created_at = excluded.created_at;

-- name: add_bill
-- What a result that is not used cost. Where the message has a response already, that one stands.
insert into ai_responses
    (distributor_id, id, message_id, conversation_id, status, engine, engine_version, model, extracted_data, error_class,
     input_tokens, cached_tokens, output_tokens, cost_micro_usd, request_id, processing_ms, created_at)
values (get_current_distributor_id(), $1, $2, $3, 'FAILED', $4, $5, $6, $7, 'superseded', $8, $9, $10, $11, $12, $13, $14)
on conflict (distributor_id, message_id) do update set
    input_tokens = ai_responses.input_tokens + excluded.input_tokens,
    cached_tokens = ai_responses.cached_tokens + excluded.cached_tokens,
    output_tokens = ai_responses.output_tokens + excluded.output_tokens,
    cost_micro_usd = ai_responses.cost_micro_usd + excluded.cost_micro_usd;

-- name: set_opted_out
-- The newest word counts, as in accept: a START that was written after $2 stands.
update customer_contacts
set opted_out_at = $2, opt_out_reason = $3, consent_changed_at = $2
where distributor_id = get_current_distributor_id() and opted_out_at is null
    and $2 >= coalesce(consent_changed_at, $2)
    and id = (
        select c.contact_id from conversations c
        where c.distributor_id = get_current_distributor_id() and c.id = $1
    )
returning address, display_name;

-- name: list_catalogue
select id, sku, name, unit, unit_price, brand, aliases, pack_size, max_quantity
from products
where distributor_id = get_current_distributor_id() and active
order by sku;
