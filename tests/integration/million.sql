-- A database as it is after some months: 20 tenants, 20,000 conversations, 1,000,000 messages over five months. Run by the
-- superuser, without foreign keys' checks. Ids are UUIDv7 whose last digits are a number, so that rows find each other.
set session_replication_role = replica;
set synchronize_seqscans = off;

create function pg_temp.made(at timestamptz, number bigint) returns uuid language sql immutable as
    $$ select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7000b000' || lpad(to_hex(number), 12, '0'))::uuid $$;
create function pg_temp.tenant(number bigint) returns uuid language sql immutable as
    $$ select pg_temp.made('2026-01-01T00:00:00Z', number % 20) $$;
-- The moment of the n-th of many things, the last one now.
create function pg_temp.moment(number bigint, many bigint) returns timestamptz language sql stable as
    $$ select now() - (many - number) * (interval '150 days' / many) $$;

-- Partitions by month, as if they had been made all along.
do $$
declare
    parent text;
    partition text;
begin
    for parent in select p.parent from partition_plan() p order by place loop
        for partition in select p.partition from partitions_of(parent) p loop
            execute format('alter table %I detach partition %I', parent, partition);
            execute format('drop table %I', partition);
        end loop;
    end loop;
    set role waystation_owner;
    for months in reverse 5..0 loop
        perform make_partitions_at(now() - make_interval(months => months));
    end loop;
    reset role;
end
$$;

insert into distributors (id, name, created_at, updated_at)
select pg_temp.tenant(t), 'Tenant ' || t, now(), now() from generate_series(0, 19) t;

insert into channel_accounts (distributor_id, id, channel, provider, address, credentials_sealed, created_at, updated_at)
select pg_temp.tenant(t), pg_temp.tenant(t), 'WHATSAPP', 'twilio', '+1555000' || lpad(t::text, 4, '0'), '', now(), now()
from generate_series(0, 19) t;

insert into customers
    (distributor_id, id, business_name, customer_code, total_orders, last_ordered_at, created_at, updated_at)
select pg_temp.tenant(c), pg_temp.made(pg_temp.moment(c, 20000), c), 'Customer ' || c, 'C-' || c, 3,
    pg_temp.moment(40000 + c, 60000), now(), now()
from generate_series(1, 20000) c;

insert into customer_contacts (distributor_id, id, customer_id, channel, address, created_at)
select pg_temp.tenant(c), pg_temp.made(pg_temp.moment(c, 20000), c), pg_temp.made(pg_temp.moment(c, 20000), c), 'WHATSAPP',
    '+1444' || lpad(c::text, 7, '0'), now()
from generate_series(1, 20000) c;

-- One in a hundred has a turn that is due, one in fifty something unread.
insert into conversations
    (distributor_id, id, channel_account_id, contact_id, customer_id, channel, handoff, unread_count, last_message_at, turn_due_at,
     created_at)
select pg_temp.tenant(c), pg_temp.made(pg_temp.moment(c, 20000), c), pg_temp.tenant(c), pg_temp.made(pg_temp.moment(c, 20000), c),
    pg_temp.made(pg_temp.moment(c, 20000), c), 'WHATSAPP',
    case when c / 20 % 500 < 1 then 'WAITING_HUMAN' else 'BOT' end, case when c / 20 % 50 < 1 then 1 else 0 end,
    pg_temp.moment(980000 + c, 1000000), case when c / 20 % 100 < 1 then now() - interval '1 second' end, now()
from generate_series(1, 20000) c;

-- Indexes are built faster afterwards.
set maintenance_work_mem = '256MB';
create temporary table index_of_messages as
select indexname, replace(indexdef, ' ON ONLY ', ' ON ') as definition
from pg_indexes
where schemaname = 'public' and tablename = 'messages' and indexname <> 'messages_pkey';
do $$
declare
    name text;
begin
    for name in select indexname from index_of_messages loop
        execute format('drop index %I', name);
    end loop;
end
$$;

-- The m-th message is of the conversation m modulo 20,000; a half comes in. Of the last 4,000 those that came in
-- await their turn, of the last 1,000 those that go out are to be sent.
create temporary table thread as
select c, pg_temp.tenant(c) as distributor_id, pg_temp.made(pg_temp.moment(c, 20000), c) as id from generate_series(1, 20000) c;
insert into messages
    (distributor_id, id, conversation_id, channel_account_id, customer_id, channel, direction, type, status, text,
     provider_message_id, ai_processed, ai_skip_reason, send_due_at, created_at, updated_at)
select t.distributor_id, pg_temp.made(at, m), t.id, t.distributor_id, t.id, 'WHATSAPP',
    case when incoming then 'INBOUND' else 'OUTBOUND' end, 'TEXT',
    case when incoming then 'RECEIVED' when m > 999000 then 'QUEUED' else 'DELIVERED' end,
    '2 cajas de coca y 3 de agua por favor ' || m, case when m <= 999000 or incoming then 'SM' || m end,
    not incoming or m <= 996000, case when not incoming then 'outbound' end, case when not incoming and m > 999000 then now() - interval '1 second' end, at, at
from generate_series(1, 1000000) m
cross join lateral (select (m / 20000 + m / 20) % 2 = 0 as incoming, pg_temp.moment(m, 1000000) as at) of_number
join thread t on t.c = m % 20000 + 1;

do $$
declare
    statement text;
begin
    for statement in select definition from index_of_messages loop
        execute statement;
    end loop;
end
$$;

-- Three orders of every customer; one in a hundred needs a person.
insert into orders
    (distributor_id, id, conversation_id, customer_id, channel, status, requires_review, currency, source_message_id, created_at,
     updated_at)
select t.distributor_id, pg_temp.made(at, o), t.id, t.id, 'WHATSAPP', case when o / 20 % 100 < 1 then 'REVIEW' else 'CONFIRMED' end,
    o / 20 % 100 < 1, 'USD', pg_temp.made(at, o), at, at
from generate_series(1, 60000) o
cross join lateral (select pg_temp.moment(o, 60000) as at) of_number
join thread t on t.c = o % 20000 + 1
where o / 20 % 100 > 0 or o > 40000;

-- What an engine made of every fifth message that came in; one in 500 failed.
insert into ai_responses
    (distributor_id, id, message_id, conversation_id, status, engine, engine_version, error_class, processing_ms, created_at)
select m.distributor_id, m.id, m.id, m.conversation_id, case when hashint8(n) % 500 = 0 then 'FAILED' else 'COMPLETED' end, 'rules', '1',
    case when hashint8(n) % 500 = 0 then 'timeout' end, 3, m.created_at
from (select m.*, row_number() over (order by m.id) as n from messages m where m.direction = 'INBOUND') m
where n % 5 < 1;

-- Two endpoints of every tenant, 50,000 events, each delivered to both; the last 500 are due.
insert into webhook_endpoints (distributor_id, id, name, url, event_types, secrets_sealed, created_at, updated_at)
select pg_temp.tenant(w), pg_temp.made('2026-01-01T00:00:00Z', w), 'erp', 'https://erp.example.test', '{*}', '', now(), now()
from generate_series(0, 39) w;
insert into webhook_endpoint_state (distributor_id, endpoint_id, updated_at) select distributor_id, id, now() from webhook_endpoints;
insert into webhook_events (distributor_id, id, type, body, occurred_at)
select pg_temp.tenant(e), pg_temp.made(at, e), 'order.created', '{"data": {"n": 1}}', at
from generate_series(1, 50000) e
cross join lateral (select pg_temp.moment(e, 50000) as at) of_number;
insert into webhook_deliveries (distributor_id, endpoint_id, event_id, id, status, due_at, created_at, updated_at)
select e.distributor_id, w.id, e.id, new_uuid7(), case when e.due then 'PENDING' else 'SUCCESS' end,
    case when e.due then now() - interval '1 second' end, e.occurred_at, e.occurred_at
from (select e.*, row_number() over (order by id desc) <= 500 as due from webhook_events e) e
join webhook_endpoints w on w.distributor_id = e.distributor_id;
