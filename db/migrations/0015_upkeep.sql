-- The first partitions, and what keeps derived data right.

select make_partitions_at(clock_timestamp());

-- Messages are partitioned, so what belongs to them without a foreign key is deleted when they are retired: up to
-- `batch` rows of each table. An empty oldest partition is what retiring leaves, so whatever lies before its end is gone.
create function delete_orphans(batch int) returns bigint
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    retired uuid := (
        select uuid7_floor(p.upper_bound)
        from partitions_of('messages') p
        where p.lower_bound is null and pg_relation_size(to_regclass('public.' || quote_ident(p.partition))) = 0
    );
    deleted bigint;
begin
    with attachment as (
        delete from attachments a
        where a.ctid = any (array(select o.ctid from attachments o where o.message_id < retired limit batch))
        returning 1
    ),
    response as (
        delete from ai_responses r
        where r.ctid = any (array(select o.ctid from ai_responses o where o.message_id < retired limit batch))
        returning 1
    )
    select (select count(*) from attachment) + (select count(*) from response) into deleted;
    return deleted;
end
$$;
comment on function delete_orphans(int) is 'Deletes a batch of what belonged to messages that were retired; gives back how many rows.';
revoke execute on function delete_orphans(int) from public;
grant execute on function delete_orphans(int) to waystation_worker;

-- Recounts customers from their orders. The rows are locked first and counted by a later statement, whose snapshot
-- shows what those who held them committed: of two changes at once the second sees the first.
create function refresh_customers(customer_ids uuid[], moment timestamptz) returns void
    language plpgsql volatile
    set search_path = pg_catalog, public, pg_temp
    as $$
begin
    perform from customers c
    where c.distributor_id = (select get_current_distributor_id()) and c.id = any (customer_ids)
    order by c.id
    for no key update;
    update customers c
    set total_orders = f.total_orders, total_spent = f.total_spent, currency = f.currency, last_ordered_at = f.last_ordered_at,
        expected_order_at = f.expected_order_at, status = f.status, updated_at = moment
    from customer_figures(customer_ids, moment) f
    where c.distributor_id = (select get_current_distributor_id()) and c.id = f.customer_id
        and (c.total_orders, c.total_spent, c.currency, c.last_ordered_at, c.expected_order_at, c.status)
            is distinct from (f.total_orders, f.total_spent, f.currency, f.last_ordered_at, f.expected_order_at, f.status);
end
$$;
comment on function refresh_customers(uuid[], timestamptz) is 'Recounts customers from their orders; locks them until the transaction ends.';

-- What a customer's orders come to. An order counts once the customer stands by it: CONFIRMED or DELIVERED.
create function customer_figures(customer_ids uuid[], moment timestamptz)
    returns table (
        customer_id uuid, total_orders bigint, total_spent numeric, currency text, last_ordered_at timestamptz,
        expected_order_at timestamptz, status text
    )
    language sql stable
    set search_path = pg_catalog, public, pg_temp
    as $$
    select c.id, f.total_orders, f.total_spent, d.currency, f.last_ordered_at, f.last_ordered_at + f.usual_wait,
        case
            when f.last_ordered_at is null then 'NO_ORDERS_YET'
            when f.last_ordered_at >= moment - interval '30 days' then 'ORDERING'
            when f.last_ordered_at >= moment - interval '90 days' then 'AT_RISK'
            else 'STOPPED_ORDERING'
        end
    from customers c
    join distributors d on d.id = c.distributor_id
    cross join lateral (
        select count(*) as total_orders,
            coalesce(sum(o.total_amount) filter (where o.currency = d.currency), 0) as total_spent,
            max(o.created_at) as last_ordered_at,
            case when count(*) >= 3 then percentile_cont(0.5) within group (order by o.wait) filter (where o.place <= 10) end
                as usual_wait
        from (
            select o.total_amount, o.currency, o.created_at,
                o.created_at - lead(o.created_at) over newest_first as wait, row_number() over newest_first as place
            from orders o
            where o.distributor_id = c.distributor_id and o.customer_id = c.id and o.status in ('CONFIRMED', 'DELIVERED')
            window newest_first as (order by o.created_at desc, o.id desc)
        ) o
    ) f
    where c.distributor_id = (select get_current_distributor_id()) and c.id = any (customer_ids)
    $$;
comment on function customer_figures(uuid[], timestamptz) is 'What customers'' orders come to: number, sum, last and next order, status. CONFIRMED and DELIVERED ones count.';

-- Recounts what the tenant used in a month. The row is locked first, so that of two recounts the later one stands.
create function refresh_usage(month date, moment timestamptz) returns void
    language plpgsql volatile
    set search_path = pg_catalog, public, pg_temp
    set timezone = 'UTC'
    as $$
declare
    tenant uuid := get_current_distributor_id();
    first_moment timestamptz := month;
    next_month timestamptz := month + interval '1 month';
begin
    insert into distributor_usage (distributor_id, period, counted_at) values (tenant, month, moment) on conflict do nothing;
    perform from distributor_usage u where u.distributor_id = tenant and u.period = month for update;
    update distributor_usage u
    set customers = (select count(*) from customers c where c.distributor_id = tenant),
        messages_in = m.messages_in, messages_out = m.messages_out,
        orders = (
            select count(*) from orders o
            where o.distributor_id = tenant and o.id >= uuid7_floor(first_moment) and o.id < uuid7_floor(next_month)
        ),
        ai_requests = a.requests, ai_tokens = a.tokens, ai_cost_micro_usd = a.cost, counted_at = moment
    from (
        select count(*) filter (where direction = 'INBOUND') as messages_in,
            count(*) filter (where direction = 'OUTBOUND') as messages_out
        from messages
        where distributor_id = tenant and id >= uuid7_floor(first_moment) and id < uuid7_floor(next_month)
    ) m,
    (
        select count(*) as requests, coalesce(sum(input_tokens + output_tokens), 0) as tokens,
            coalesce(sum(cost_micro_usd), 0) as cost
        from ai_responses
        where distributor_id = tenant and created_at >= first_moment and created_at < next_month
    ) a
    where u.distributor_id = tenant and u.period = month;
end
$$;
comment on function refresh_usage(date, timestamptz) is 'Recounts what the tenant used in the month that begins on that day.';

-- Recounts the calls of the hours since the last recount, and of two more, for a turn that is tried again moves from one
-- hour to another. Waits for whoever recounts this tenant's at the moment.
create function refresh_ai_usage(moment timestamptz) returns void
    language plpgsql volatile
    set search_path = pg_catalog, public, pg_temp
    set timezone = 'UTC'
    as $$
declare
    tenant uuid := get_current_distributor_id();
    first_hour timestamptz;
begin
    perform pg_advisory_xact_lock(hashtextextended('waystation ai usage ' || tenant, 0));
    select date_trunc('hour', least(coalesce(max(u.counted_at), '-infinity'), moment) - interval '2 hours') into first_hour
    from ai_usage_metrics u where u.distributor_id = tenant;
    delete from ai_usage_metrics u where u.distributor_id = tenant and u.hour >= first_hour;
    insert into ai_usage_metrics
        (distributor_id, hour, engine, model, requests, failures, input_tokens, cached_tokens, output_tokens, cost_micro_usd,
         processing_ms, confidence_sum, confidence_count, counted_at)
    select tenant, date_trunc('hour', r.created_at), r.engine, r.model, count(*), count(*) filter (where r.status = 'FAILED' and r.error_class is distinct from 'superseded'),
        sum(r.input_tokens), sum(r.cached_tokens), sum(r.output_tokens), sum(r.cost_micro_usd), sum(r.processing_ms),
        coalesce(sum(r.confidence), 0), count(r.confidence), moment
    from ai_responses r
    where r.distributor_id = tenant and r.created_at >= first_hour
    group by 2, 3, 4;
end
$$;
comment on function refresh_ai_usage(timestamptz) is 'Recounts the tenant''s calls of engines by hour, from the first moment''s hour on.';

revoke execute on function refresh_customers(uuid[], timestamptz), customer_figures(uuid[], timestamptz),
    refresh_usage(date, timestamptz), refresh_ai_usage(timestamptz) from public;
grant execute on function refresh_customers(uuid[], timestamptz), customer_figures(uuid[], timestamptz),
    refresh_usage(date, timestamptz), refresh_ai_usage(timestamptz) to waystation_app;
