-- name: list_conversations
select c.id, c.channel, c.channel_account_id, c.status, c.handoff, c.language, c.customer_id,
    customer.business_name as customer_name, contact.address as contact_address,
    contact.display_name as contact_name, c.unread_count, c.last_message_at, c.created_at
from conversations c
join customer_contacts contact on contact.distributor_id = c.distributor_id and contact.id = c.contact_id
left join customers customer on customer.distributor_id = c.distributor_id and customer.id = c.customer_id
where c.distributor_id = (select get_current_distributor_id())
    and (c.last_message_at, c.id) < ($1, $2)
    and ($3::text is null or c.channel = $3)
    and ($4::text is null or c.status = $4)
    and ($5::boolean is null or (c.unread_count > 0) = $5)
    and ($6::uuid is null or c.customer_id = $6)
    and ($7::text is null
        or position(lower($7) in lower(concat_ws(' ', contact.address, contact.display_name, customer.business_name))) > 0)
order by c.last_message_at desc, c.id desc
limit $8;

-- name: read_conversation
select c.id, c.channel, c.channel_account_id, c.status, c.handoff, c.language, c.customer_id,
    customer.business_name as customer_name, contact.address as contact_address,
    contact.display_name as contact_name, c.unread_count, c.last_message_at, c.created_at
from conversations c
join customer_contacts contact on contact.distributor_id = c.distributor_id and contact.id = c.contact_id
left join customers customer on customer.distributor_id = c.distributor_id and customer.id = c.customer_id
where c.distributor_id = (select get_current_distributor_id()) and c.id = $1;

-- name: change_conversation
-- Gives back how the hand-off stood before; a field that is null stays as it is.
with before as (
    select id, handoff from conversations
    where distributor_id = (select get_current_distributor_id()) and id = $1
    for no key update
)
update conversations c
set status = coalesce($2, c.status), handoff = coalesce($3, c.handoff)
from before
where c.distributor_id = (select get_current_distributor_id()) and c.id = before.id
returning before.handoff;

-- name: mark_read
update conversations set unread_count = 0
where distributor_id = (select get_current_distributor_id()) and id = $1 and unread_count > 0;

-- name: list_messages
select id, conversation_id, channel, direction, type, status, text, metadata, provider_message_id,
    reply_to_provider_id, error_code, customer_id, ai_processed, created_at, updated_at
from messages
where distributor_id = (select get_current_distributor_id()) and conversation_id = $1 and id < $2
order by id desc
limit $3;

-- name: read_message
select id, conversation_id, channel, direction, type, status, text, metadata, provider_message_id,
    reply_to_provider_id, error_code, customer_id, ai_processed, created_at, updated_at
from messages
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: list_attachments
select message_id, id, url, content_type, filename, state, sniffed_type, size_bytes, scanned_at
from attachments
where distributor_id = (select get_current_distributor_id()) and message_id = any($1::uuid[])
order by position, id;

-- name: list_statuses
select status, provider_status, error_code, applied, occurred_at, part, provider_message_id
from message_status_events
where distributor_id = (select get_current_distributor_id()) and message_id = $1
order by id;

-- name: read_analysis
-- A result that was not used (see add_bill) is nobody's analysis.
select id, status, engine, engine_version, model, intent, language, confidence, extracted_data, error_class,
    input_tokens, cached_tokens, output_tokens, cost_micro_usd, request_id, processing_ms, created_at
from ai_responses
where distributor_id = (select get_current_distributor_id()) and message_id = $1
    and error_class is distinct from 'superseded';

-- name: find_accepted
select m.id, m.conversation_id
from external_message_mappings x
join messages m on m.distributor_id = x.distributor_id and m.id = x.message_id
where x.distributor_id = (select get_current_distributor_id()) and x.channel_account_id = $1 and x.provider_key = $2;

-- name: list_unread
select channel, count(*) as conversations, sum(unread_count)::bigint as messages
from conversations
where distributor_id = (select get_current_distributor_id()) and unread_count > 0
group by channel;
