-- name: list_orders
select id, status, conversation_id, customer_id, channel, total_amount, currency, requires_review, review_reasons,
    unmatched, delivery_date, confidence, source_message_id, confirmed_at, created_at, updated_at
from orders
where distributor_id = (select get_current_distributor_id()) and id < $1
    and ($2::text is null or status = $2)
    and ($3::uuid is null or conversation_id = $3)
    and ($4::uuid is null or customer_id = $4)
    and ($5::timestamptz is null or created_at >= $5)
    and ($6::timestamptz is null or created_at < $6)
    and ($7::text is null or channel = $7)
    and ($8::boolean is null or requires_review = $8)
    and ($9::date is null or delivery_date = $9)
order by id desc
limit $10;

-- name: read_order
select id, status, conversation_id, customer_id, channel, total_amount, currency, requires_review, review_reasons,
    unmatched, delivery_date, confidence, source_message_id, confirmed_at, created_at, updated_at
from orders
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: list_lines
select order_id, sku, product_name, unit, quantity, unit_price, line_total, confidence, band, original_text
from order_products
where distributor_id = (select get_current_distributor_id()) and order_id = any($1::uuid[])
order by position, id;
