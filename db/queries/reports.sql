-- Figures over customers and orders. An order counts as ordered once the customer stands by it: CONFIRMED or DELIVERED.
-- Amounts are sums of the orders in the tenant's present currency; an order in another one is counted, not summed.

-- name: list_risks
-- How often a customer ordered is told of the time from the first order to the last, at least a month of 30 days.
select c.id, c.business_name, c.customer_code, c.status, c.total_orders, c.total_spent, c.last_ordered_at,
    c.expected_order_at, floor(extract(epoch from $3::timestamptz - c.last_ordered_at) / 86400)::int as days_since_order,
    round(pace.orders_per_month, 2) as orders_per_month, contact.last_inbound_at, judged.risk
from customers c
cross join lateral (
    select c.total_orders / greatest(extract(epoch from c.last_ordered_at - min(o.created_at)) / (86400 * 30), 1)
        as orders_per_month
    from orders o
    where o.distributor_id = c.distributor_id and o.customer_id = c.id and o.status in ('CONFIRMED', 'DELIVERED')
) pace
cross join lateral (
    select max(k.last_inbound_at) as last_inbound_at
    from customer_contacts k
    where k.distributor_id = c.distributor_id and k.customer_id = c.id
) contact
cross join lateral (
    select case
        when c.last_ordered_at < $3::timestamptz - interval '60 days' and pace.orders_per_month > 1 then 'HIGH'
        when c.last_ordered_at < $3::timestamptz - interval '30 days' and pace.orders_per_month > 0.5 then 'MEDIUM'
        when c.last_ordered_at < $3::timestamptz - interval '14 days'
            and coalesce(contact.last_inbound_at < $3::timestamptz - interval '7 days', true) then 'LOW'
    end as risk
) judged
where c.distributor_id = (select get_current_distributor_id())
    and (c.last_ordered_at, c.id) > ($1, $2)
    and c.last_ordered_at < $3::timestamptz - make_interval(days => $4)
    and judged.risk is not null and ($5::text is null or judged.risk = $5)
order by c.last_ordered_at, c.id
limit $6;

-- name: list_customer_figures
select c.id, c.business_name, c.customer_code, c.status, f.order_count, f.total_spent, f.average_order, f.last_ordered_at,
    d.currency
from customers c
join distributors d on d.id = c.distributor_id
cross join lateral (
    select count(*) as order_count,
        coalesce(sum(o.total_amount) filter (where o.currency = d.currency), 0) as total_spent,
        round(avg(o.total_amount) filter (where o.currency = d.currency), 4) as average_order,
        max(o.created_at) as last_ordered_at
    from orders o
    where o.distributor_id = c.distributor_id and o.customer_id = c.id and o.status in ('CONFIRMED', 'DELIVERED')
        and ($2::timestamptz is null or o.created_at >= $2)
        and ($3::timestamptz is null or o.created_at < $3)
) f
where c.distributor_id = (select get_current_distributor_id()) and c.id < $1
order by c.id desc
limit $4;

-- name: list_ai_orders
-- By the tenant's own days. An order is an engine's if a burst of messages began it; one that expired was not for review
-- because of that.
with tenant as (
    select d.time_zone, d.currency from distributors d where d.id = (select get_current_distributor_id())
)
select (o.created_at at time zone t.time_zone)::date as day, t.currency, count(*) as orders,
    count(*) filter (where o.source_message_id is not null) as ai_orders,
    count(*) filter (where o.source_message_id is not null and array_remove(o.review_reasons, 'expired') <> '{}') as for_review,
    count(*) filter (
        where o.source_message_id is not null and o.review_reasons = '{}' and o.status in ('CONFIRMED', 'DELIVERED')
    ) as without_review,
    round(avg(o.confidence) filter (where o.source_message_id is not null), 3) as mean_confidence,
    count(*) filter (where o.source_message_id is not null and o.confidence >= 0.8) as high_confidence,
    count(*) filter (where o.source_message_id is not null and o.confidence < 0.5) as low_confidence,
    coalesce(sum(o.total_amount) filter (where o.currency = t.currency), 0) as total_amount,
    coalesce(sum(o.total_amount) filter (where o.currency = t.currency and o.source_message_id is not null), 0) as ai_amount
from orders o
cross join tenant t
where o.distributor_id = (select get_current_distributor_id())
    and o.created_at >= $1::date::timestamp at time zone (select time_zone from tenant)
    and o.created_at < $2::date::timestamp at time zone (select time_zone from tenant)
group by 1, 2
order by 1 desc;

-- name: read_dashboard
with customer as (
    select c.status, count(*) as customers from customers c
    where c.distributor_id = (select get_current_distributor_id())
    group by c.status
),
placed as (
    select o.status, count(*) as orders, coalesce(sum(o.total_amount) filter (where o.currency = d.currency), 0) as amount
    from orders o
    join distributors d on d.id = o.distributor_id
    where o.distributor_id = (select get_current_distributor_id()) and o.created_at >= $1::timestamptz - interval '30 days'
    group by o.status
)
select d.currency,
    coalesce((select jsonb_object_agg(status, customers) from customer), '{}') as customers_by_status,
    coalesce((select jsonb_object_agg(status, orders) from placed), '{}') as orders_30_days_by_status,
    coalesce((select sum(amount) from placed where status in ('CONFIRMED', 'DELIVERED')), 0) as revenue_30_days,
    (
        select count(*) from conversations v
        where v.distributor_id = (select get_current_distributor_id())
            and v.last_message_at >= $1::timestamptz - interval '7 days'
    ) as active_conversations_7_days,
    (
        select count(*) from conversations v
        where v.distributor_id = (select get_current_distributor_id()) and v.handoff = 'WAITING_HUMAN'
    ) as conversations_waiting,
    (
        select count(*) from orders o
        where o.distributor_id = (select get_current_distributor_id()) and o.requires_review
    ) as orders_for_review,
    (
        select coalesce(sum(v.unread_count), 0)::bigint from conversations v
        where v.distributor_id = (select get_current_distributor_id()) and v.unread_count > 0
    ) as unread_messages
from distributors d
where d.id = (select get_current_distributor_id());
