-- What waits for a person: orders that need a look, conversations that asked for one or whose turn failed.

-- name: list_review
-- In the order of ids, which sort by time: an order's, and of a conversation that waits the id of the message that is
-- the reason. $2: the oldest first, after $1; else the newest first, before $1.
with waiting_order as (
    (
        select o.id from orders o
        where o.distributor_id = (select get_current_distributor_id()) and o.requires_review
            and not $2::boolean and o.id < $1 and coalesce($3::text, 'ORDER') = 'ORDER' and ($4::text is null or o.channel = $4)
        order by o.id desc
        limit $5
    )
    union all
    (
        select o.id from orders o
        where o.distributor_id = (select get_current_distributor_id()) and o.requires_review
            and $2::boolean and o.id > $1 and coalesce($3::text, 'ORDER') = 'ORDER' and ($4::text is null or o.channel = $4)
        order by o.id
        limit $5
    )
),
item as (
    select o.id, 'ORDER' as kind, o.review_reasons as reasons, null::text as error_class, o.conversation_id, o.customer_id,
        o.channel, o.source_message_id as message_id, o.id as order_id, o.confidence, o.created_at as since
    from waiting_order w
    join orders o on o.distributor_id = (select get_current_distributor_id()) and o.id = w.id
    union all
    select coalesce(cause.message_id, c.id), 'MESSAGE', array[coalesce(cause.reason, 'handoff')], cause.error_class, c.id,
        c.customer_id, c.channel, cause.message_id, null, cause.confidence, coalesce(cause.created_at, c.last_message_at)
    from conversations c
    left join lateral (
        select r.message_id, r.error_class, r.confidence, r.created_at, r.extracted_data ->> 'handoff_reason' as reason
        from ai_responses r
        where r.distributor_id = c.distributor_id and r.conversation_id = c.id and r.extracted_data ? 'handoff_reason'
        order by r.id desc
        limit 1
    ) cause on true
    where c.distributor_id = (select get_current_distributor_id()) and c.handoff = 'WAITING_HUMAN'
        and coalesce($3::text, 'MESSAGE') = 'MESSAGE' and ($4::text is null or c.channel = $4)
)
select i.id, i.kind, i.reasons, i.error_class, i.conversation_id, i.customer_id, customer.business_name as customer_name,
    i.channel, i.message_id, m.text, i.order_id, i.confidence, i.since
from item i
left join customers customer on customer.distributor_id = (select get_current_distributor_id()) and customer.id = i.customer_id
left join messages m on m.distributor_id = (select get_current_distributor_id()) and m.id = i.message_id
where case when $2::boolean then i.id > $1 else i.id < $1 end
order by case when $2::boolean then i.id end, i.id desc
limit $5;
