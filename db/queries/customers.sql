-- Customers, their addresses and their labels, as people see and change them; what a message makes is in accept.sql.

-- name: list_customers
select c.id, c.business_name, c.customer_code, c.status, c.total_orders, c.total_spent, c.last_ordered_at,
    c.expected_order_at, c.created_at, c.updated_at
from customers c
where c.distributor_id = (select get_current_distributor_id()) and c.id < $1
    and ($2::text is null or c.status = $2)
    and ($3::uuid is null or exists (
        select from customer_label_assignments a
        where a.distributor_id = c.distributor_id and a.customer_id = c.id and a.label_id = $3))
    and ($4::text is null
        or position(lower($4) in lower(concat_ws(' ', c.business_name, c.customer_code))) > 0
        or exists (
            select from customer_contacts contact
            where contact.distributor_id = c.distributor_id and contact.customer_id = c.id
                and position(lower($4) in lower(concat_ws(' ', contact.address, contact.display_name))) > 0))
order by c.id desc
limit $5;

-- name: read_customer
select id, business_name, customer_code, status, total_orders, total_spent, last_ordered_at, expected_order_at,
    created_at, updated_at
from customers
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: read_statistics
-- Orders count once the customer stands by them; amounts in another currency than the tenant's present one do not.
select
    (
        select count(*) from orders o
        where o.distributor_id = (select get_current_distributor_id()) and o.customer_id = $1
            and o.status in ('CONFIRMED', 'DELIVERED') and o.created_at >= $2::timestamptz - interval '30 days'
    ) as orders_30_days,
    (
        select round(avg(o.total_amount), 4) from orders o
        join distributors d on d.id = o.distributor_id and d.currency = o.currency
        where o.distributor_id = (select get_current_distributor_id()) and o.customer_id = $1
            and o.status in ('CONFIRMED', 'DELIVERED')
    ) as average_order,
    (
        select count(*) from conversations v
        where v.distributor_id = (select get_current_distributor_id()) and v.customer_id = $1
            and v.last_message_at >= $2::timestamptz - interval '7 days'
    ) as active_conversations_7_days;

-- name: insert_customer
insert into customers (distributor_id, id, business_name, customer_code, created_at, updated_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $4);

-- name: update_customer
update customers
set business_name = coalesce($2, business_name), customer_code = coalesce($3, customer_code), updated_at = $4
where distributor_id = (select get_current_distributor_id()) and id = $1
returning id;

-- name: list_contacts
select customer_id, id, channel, address, display_name, opted_out_at, opt_out_reason, last_inbound_at, created_at
from customer_contacts
where distributor_id = (select get_current_distributor_id()) and customer_id = any($1::uuid[])
order by id;

-- name: list_contacts_of
select customer_id, id, channel, address, display_name, opted_out_at, opt_out_reason, last_inbound_at, created_at
from customer_contacts
where distributor_id = (select get_current_distributor_id()) and customer_id = $1 and id < $2
order by id desc
limit $3;

-- name: take_contact
-- An address that nobody has is taken with the consent that it has; no row where it is a customer's already.
insert into customer_contacts as c (distributor_id, id, customer_id, channel, address, display_name, created_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $6)
on conflict (distributor_id, channel, address) do update
set customer_id = excluded.customer_id, display_name = coalesce(excluded.display_name, c.display_name)
where c.customer_id is null
returning customer_id, id, channel, address, display_name, opted_out_at, opt_out_reason, last_inbound_at, created_at;

-- name: set_consent
-- What staff decide; no row where there is no such address of the customer, or it is so already. Whoever was stopped by anybody
-- else than staff is opened by force ($5) only.
update customer_contacts
set opted_out_at = case when $3 then $4::timestamptz end, opt_out_reason = case when $3 then 'manual' end, consent_changed_at = $4
where distributor_id = (select get_current_distributor_id()) and customer_id = $1 and id = $2
    and (opted_out_at is null) = $3 and ($3 or $5 or opt_out_reason = 'manual')
returning customer_id, id, channel, address, display_name, opted_out_at, opt_out_reason, last_inbound_at, created_at;

-- name: read_contact
select customer_id, id, channel, address, display_name, opted_out_at, opt_out_reason, last_inbound_at, created_at
from customer_contacts
where distributor_id = (select get_current_distributor_id()) and customer_id = $1 and id = $2;

-- name: take_conversations
update conversations set customer_id = $2
where distributor_id = (select get_current_distributor_id()) and contact_id = $1 and customer_id is null;

-- name: release_contact
update customer_contacts set customer_id = null
where distributor_id = (select get_current_distributor_id()) and customer_id = $1 and id = $2
returning id;

-- name: release_conversations
update conversations set customer_id = null
where distributor_id = (select get_current_distributor_id()) and contact_id = $1;
