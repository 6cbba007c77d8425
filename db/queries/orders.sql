-- Orders as turns and people change them; reads for lists are in order_reads.sql.

-- name: find_open_draft
select id, conversation_id, customer_id, channel, status, requires_review, review_reasons, unmatched, delivery_date, currency,
    total_amount, confidence, confirmed_at, created_at, updated_at
from orders
where distributor_id = get_current_distributor_id() and conversation_id = $1 and status in ('PENDING', 'REVIEW')
for update;

-- name: lock_order
select id, conversation_id, customer_id, channel, status, requires_review, review_reasons, unmatched, delivery_date, currency,
    total_amount, confidence, confirmed_at, created_at, updated_at
from orders
where distributor_id = get_current_distributor_id() and id = $1
for update;

-- name: list_lines
select sku, product_id, product_name, unit, quantity, unit_price, line_total, confidence, band, original_text
from order_products
where distributor_id = get_current_distributor_id() and order_id = $1
order by position, sku;

-- name: insert_order
insert into orders
    (distributor_id, id, conversation_id, customer_id, channel, status, currency, source_message_id, created_at, updated_at)
values (get_current_distributor_id(), $1, $2, $3, $4, 'PENDING', $5, $6, $7, $7);

-- name: save_order
update orders
set status = $2, requires_review = $3, review_reasons = $4, unmatched = $5, delivery_date = $6, confidence = $7,
    confirmed_at = $8, updated_at = $9,
    total_amount = coalesce((
        select sum(p.line_total) from order_products p
        where p.distributor_id = get_current_distributor_id() and p.order_id = $1
    ), 0)
where distributor_id = get_current_distributor_id() and id = $1;

-- name: delete_lines_except
delete from order_products
where distributor_id = get_current_distributor_id() and order_id = $1 and sku <> all($2::text[]);

-- name: save_lines
-- Name, unit and price of a new line are the catalogue's of this moment; a known line keeps its price.
insert into order_products
    (distributor_id, id, order_id, product_id, sku, product_name, unit, quantity, unit_price, confidence, band, original_text, position)
select get_current_distributor_id(), l.id, $1, p.id, p.sku, p.name, p.unit, l.quantity, p.unit_price, l.confidence, l.band,
    l.original_text, l.position
from jsonb_to_recordset($2::jsonb)
    as l(id uuid, sku text, quantity numeric, confidence numeric, band text, original_text text, position int)
join products p on p.distributor_id = get_current_distributor_id() and p.sku = l.sku
on conflict (distributor_id, order_id, sku) do update set
    quantity = excluded.quantity, confidence = excluded.confidence, band = excluded.band,
    original_text = excluded.original_text, position = excluded.position;

-- name: list_known_skus
select sku from products where distributor_id = get_current_distributor_id() and sku = any($1::text[]);
