-- Messages by their words.

-- name: search_messages
-- Bounded by the time in the ids, so that only the partitions of that time are looked through.
select m.id, m.conversation_id, m.customer_id, customer.business_name as customer_name, m.channel, m.direction, m.type,
    m.status, m.text, m.created_at
from messages m
left join customers customer on customer.distributor_id = m.distributor_id and customer.id = m.customer_id
where m.distributor_id = (select get_current_distributor_id())
    and m.id < $1 and m.id >= uuid7_floor($2) and m.id < uuid7_floor($3)
    and ($4::uuid is null or m.customer_id = $4)
    and ($5::text is null or position(lower($5) in lower(m.text)) > 0)
order by m.id desc
limit $6;
