-- The story that every example runs against: two wholesalers in June 2025, with fixed ids and times, so that what the
-- documents show is the same on every day and machine. Written by the superuser into a database of its own, whose
-- now() is the story's: Monday, 16 June 2025, 18:00 UTC, noon in Mexico City.

create schema story;
create function story.now() returns timestamptz language sql stable as $$ select timestamptz '2025-06-16 18:00:00+00' $$;

-- Every row has a name here. Its id is a UUIDv7 of its time, ending in its number.
create table story.ids (name text primary key, at timestamptz not null, number int not null unique);
create function story.id(wanted text) returns uuid language sql stable as $$
    select (left(public.uuid7_floor(at)::text, 14) || '7000-8000-' || lpad(number::text, 12, '0'))::uuid
    from story.ids where name = wanted
$$;
create function story.at(wanted text) returns timestamptz language sql stable as $$ select at from story.ids where name = wanted $$;

insert into story.ids (name, at, number) values
    -- tenants, their people and accounts
    ('valle', '2025-01-06 15:00Z', 1), ('sul', '2025-01-07 13:00Z', 2),
    ('ana', '2025-01-06 15:01Z', 3), ('luis', '2025-01-06 15:02Z', 4),
    ('whatsapp', '2025-01-06 15:10Z', 5), ('sms', '2025-01-06 15:11Z', 6), ('sul whatsapp', '2025-01-07 13:10Z', 7),
    -- customers and their addresses
    ('palma', '2025-04-28 15:00Z', 11), ('faro', '2025-03-03 16:00Z', 12), ('lupita', '2025-01-13 17:00Z', 13),
    ('aurora', '2025-06-16 17:59:52Z', 14), ('padaria', '2025-05-05 12:00Z', 15),
    ('palma address', '2025-04-28 15:00Z', 21), ('faro address', '2025-03-03 16:00Z', 22),
    ('lupita address', '2025-01-13 17:00Z', 23), ('aurora address', '2025-06-16 17:59:52Z', 24),
    ('padaria address', '2025-05-05 12:00Z', 25),
    ('restaurant', '2025-01-06 16:00Z', 31), ('bar', '2025-01-06 16:01Z', 32),
    -- the catalogue
    ('drinks', '2025-01-06 15:20Z', 41), ('beer', '2025-01-06 15:21Z', 42),
    ('coca', '2025-01-06 15:30Z', 43), ('agua', '2025-01-06 15:31Z', 44), ('cerveza', '2025-01-06 15:32Z', 45),
    ('queijo', '2025-01-07 13:30Z', 46),
    -- conversations
    ('palma chat', '2025-04-28 15:00Z', 51), ('faro chat', '2025-03-03 16:00Z', 52), ('lupita chat', '2025-01-13 17:00Z', 53),
    ('aurora chat', '2025-06-16 17:59:52Z', 54), ('padaria chat', '2025-05-05 12:00Z', 55),
    -- messages, by conversation
    ('palma 1', '2025-06-15 16:20Z', 101), ('palma 2', '2025-06-15 16:20:05Z', 102), ('palma 3', '2025-06-15 16:24Z', 103),
    ('palma 4', '2025-06-15 16:24:06Z', 104), ('palma 5', '2025-06-16 17:40Z', 105), ('palma 6', '2025-06-16 17:40:05Z', 106),
    ('faro 1', '2025-06-13 19:00Z', 111), ('faro 2', '2025-06-13 19:00:04Z', 112), ('faro 3', '2025-06-14 15:00Z', 113),
    ('lupita 1', '2025-06-16 17:30Z', 121),
    ('aurora 1', '2025-06-16 17:59:52Z', 131), ('aurora 2', '2025-06-16 17:59:57Z', 132),
    ('padaria 1', '2025-06-16 17:59:54Z', 141),
    -- orders: earlier ones by customer and number, then this week's
    ('order palma 1', '2025-05-12 16:00Z', 201), ('order palma 2', '2025-05-19 16:00Z', 202),
    ('order palma 3', '2025-05-26 16:00Z', 203), ('order palma 4', '2025-06-02 16:00Z', 204),
    ('order palma 5', '2025-06-09 16:00Z', 205), ('order palma 6', '2025-06-15 16:20:05Z', 206),
    ('order palma 7', '2025-06-16 17:40:05Z', 207),
    ('order faro 1', '2025-03-10 17:00Z', 211), ('order faro 2', '2025-03-24 17:00Z', 212),
    ('order faro 3', '2025-04-14 17:00Z', 213), ('order faro 4', '2025-05-02 17:00Z', 214),
    ('order faro 5', '2025-06-14 15:00:05Z', 215),
    ('order lupita 1', '2025-01-20 18:00Z', 221), ('order lupita 2', '2025-02-10 18:00Z', 222),
    ('order padaria 1', '2025-06-10 12:00Z', 231),
    -- webhooks
    ('erp', '2025-01-08 15:00Z', 301), ('crm', '2025-01-08 15:05Z', 302), ('old', '2025-01-08 15:10Z', 303);

insert into distributors (id, name, time_zone, locale, currency, created_at, updated_at) values
    (story.id('valle'), 'Bebidas del Valle', 'America/Mexico_City', 'es', 'MXN', story.at('valle'), story.at('valle')),
    (story.id('sul'), 'Distribuidora Sul', 'America/Sao_Paulo', 'pt', 'BRL', story.at('sul'), story.at('sul'));

insert into user_profiles (distributor_id, id, email, display_name, role, status, created_at, updated_at) values
    (story.id('valle'), story.id('ana'), 'ana@valle.example', 'Ana', 'OWNER', 'ACTIVE', story.at('ana'), story.at('ana')),
    (story.id('valle'), story.id('luis'), 'luis@valle.example', 'Luis', 'OPERATOR', 'ACTIVE', story.at('luis'), story.at('luis'));

insert into channel_accounts (distributor_id, id, channel, provider, address, credentials_sealed, created_at, updated_at)
select story.id(a.tenant), story.id(a.name), a.channel, 'twilio', a.address, '', story.at(a.name), story.at(a.name)
from (values
    ('valle', 'whatsapp', 'WHATSAPP', '+525550000001'), ('valle', 'sms', 'SMS', '+525550000002'),
    ('sul', 'sul whatsapp', 'WHATSAPP', '+551150000001')
) as a(tenant, name, channel, address);

-- ------------------------------------------------------------------------------------------------ who buys

insert into customers (distributor_id, id, business_name, customer_code, created_at, updated_at)
select story.id(c.tenant), story.id(c.name), c.business_name, c.code, story.at(c.name), story.at(c.name)
from (values
    ('valle', 'palma', 'Restaurante La Palma', 'R-001'), ('valle', 'faro', 'Bar El Faro', 'B-002'),
    ('valle', 'lupita', 'Tienda Lupita', 'T-003'), ('valle', 'aurora', 'Café Aurora', 'C-000000000014'),
    ('sul', 'padaria', 'Padaria Central', 'P-001')
) as c(tenant, name, business_name, code);

insert into customer_contacts
    (distributor_id, id, customer_id, channel, address, display_name, consent_changed_at, opted_out_at, last_inbound_at, created_at)
select story.id(c.tenant), story.id(c.customer || ' address'), story.id(c.customer), c.channel, c.address, c.display_name,
    c.opted_out_at, c.opted_out_at, c.last_inbound_at, story.at(c.customer || ' address')
from (values
    ('valle', 'palma', 'WHATSAPP', '+525550001001', 'La Palma', null::timestamptz, story.at('palma 5')),
    ('valle', 'faro', 'SMS', '+525550001002', null, null, story.at('faro 3')),
    ('valle', 'lupita', 'SMS', '+525550001003', null, null, story.at('order lupita 2')),
    ('valle', 'aurora', 'WHATSAPP', '+525550001004', 'Café Aurora', null, story.at('aurora 2')),
    ('sul', 'padaria', 'WHATSAPP', '+551150001001', 'Padaria Central', null, story.at('padaria 1'))
) as c(tenant, customer, channel, address, display_name, opted_out_at, last_inbound_at);

insert into customer_labels (distributor_id, id, name, color, created_at, updated_at) values
    (story.id('valle'), story.id('restaurant'), 'Restaurant', '#2f7d32', story.at('restaurant'), story.at('restaurant')),
    (story.id('valle'), story.id('bar'), 'Bar', '#b26a00', story.at('bar'), story.at('bar'));
insert into customer_label_assignments (distributor_id, customer_id, label_id, created_at) values
    (story.id('valle'), story.id('palma'), story.id('restaurant'), story.at('palma')),
    (story.id('valle'), story.id('faro'), story.id('bar'), story.at('faro'));

-- ------------------------------------------------------------------------------------------------ what is sold

insert into product_categories (distributor_id, id, parent_id, name, position, created_at, updated_at) values
    (story.id('valle'), story.id('drinks'), null, 'Bebidas', 1, story.at('drinks'), story.at('drinks')),
    (story.id('valle'), story.id('beer'), story.id('drinks'), 'Cervezas', 1, story.at('beer'), story.at('beer'));

insert into products
    (distributor_id, id, sku, name, unit, unit_price, category_id, aliases, pack_size, created_at, updated_at)
select story.id(p.tenant), story.id(p.name), p.sku, p.title, 'caja', p.price, story.id(p.category), p.aliases, p.pack,
    story.at(p.name), story.at(p.name)
from (values
    ('valle', 'coca', 'COCA-600', 'Coca-Cola 600 ml', 312.50, 'drinks', array['coca 600', 'coca chica'], 24),
    ('valle', 'agua', 'AGUA-1L', 'Agua natural 1 l', 118.00, 'drinks', array['agua', 'agua de litro'], 12),
    ('valle', 'cerveza', 'CERV-355', 'Cerveza clara 355 ml', 389.90, 'beer', array['cerveza', 'cerveza clara'], 24),
    ('sul', 'queijo', 'QUEIJO-1', 'Queijo minas 1 kg', 42.00, null, array['queijo'], 10)
) as p(tenant, name, sku, title, price, category, aliases, pack);

-- ------------------------------------------------------------------------------------------------ what was written

insert into conversations
    (distributor_id, id, channel_account_id, contact_id, customer_id, channel, status, handoff, language, unread_count,
     last_message_at, last_inbound_at, turn_generation, turn_due_at, turn_cap_at, created_at)
select story.id(c.tenant), story.id(c.customer || ' chat'), story.id(c.account), story.id(c.customer || ' address'),
    story.id(c.customer), c.channel, c.status, c.handoff, c.language, c.unread, story.at(c.last), story.at(c.last_inbound),
    c.generation, c.due, c.cap, story.at(c.customer || ' chat')
from (values
    ('valle', 'palma', 'whatsapp', 'WHATSAPP', 'ACTIVE', 'BOT', 'es', 1, 'palma 6', 'palma 5', 3, null::timestamptz, null::timestamptz),
    ('valle', 'faro', 'sms', 'SMS', 'ACTIVE', 'WAITING_HUMAN', 'es', 2, 'faro 3', 'faro 3', 2, null, null),
    ('valle', 'lupita', 'sms', 'SMS', 'ARCHIVED', 'BOT', 'es', 0, 'lupita 1', 'order lupita 2', 2, null, null),
    -- Still writing: due four seconds after the last message, at the latest twenty after the first.
    ('valle', 'aurora', 'whatsapp', 'WHATSAPP', 'ACTIVE', 'BOT', null, 2, 'aurora 2', 'aurora 2', 2,
        '2025-06-16 18:00:01Z', '2025-06-16 18:00:12Z'),
    ('sul', 'padaria', 'sul whatsapp', 'WHATSAPP', 'ACTIVE', 'BOT', 'pt', 1, 'padaria 1', 'padaria 1', 1,
        '2025-06-16 17:59:58Z', '2025-06-16 18:00:14Z')
) as c(tenant, customer, account, channel, status, handoff, language, unread, last, last_inbound, generation, due, cap);

create table story.said (
    tenant text, conversation text, name text, kind text, status text, rank int, text text, provider_id text, burst text, sent_at timestamptz
);
insert into story.said values
    ('valle', 'palma', 'palma 1', 'TEXT', 'RECEIVED', 0, 'Hola! 5 cajas de coca 600 y 2 de agua para mañana', 'SM01', null, null),
    ('valle', 'palma', 'palma 2', 'TEXT', 'READ', 6, 'Tu pedido: 5 caja Coca-Cola 600 ml, 2 caja Agua natural 1 l. Total: 1,798.50 MXN. ¿Lo confirmas?', 'SM02', 'palma 1', '2025-06-15 16:20:06Z'),
    ('valle', 'palma', 'palma 3', 'TEXT', 'RECEIVED', 0, 'Sí, confirmo', 'SM03', null, null),
    ('valle', 'palma', 'palma 4', 'TEXT', 'READ', 6, '¡Listo! Tu pedido está confirmado.', 'SM04', 'palma 3', '2025-06-15 16:24:07Z'),
    ('valle', 'palma', 'palma 5', 'TEXT', 'RECEIVED', 0, 'Para el viernes 2 cajas de coca 600 y 1 de agua', 'SM05', null, null),
    ('valle', 'palma', 'palma 6', 'TEXT', 'DELIVERED', 5, 'Tu pedido: 2 caja Coca-Cola 600 ml, 1 caja Agua natural 1 l. Total: 743.00 MXN. ¿Lo confirmas?', 'SM06', 'palma 5', '2025-06-16 17:40:06Z'),
    ('valle', 'faro', 'faro 1', 'IMAGE', 'RECEIVED', 0, 'El pedido llegó incompleto, quiero hablar con alguien', 'SM11', null, null),
    ('valle', 'faro', 'faro 2', 'TEXT', 'DELIVERED', 5, 'Te pasamos con una persona de nuestro equipo; te escribirá en breve.', 'SM12', 'faro 1', '2025-06-13 19:00:05Z'),
    ('valle', 'faro', 'faro 3', 'TEXT', 'RECEIVED', 0, 'Y mándame 10 cajas de cerveza y 3 de la roja', 'SM13', null, null),
    ('valle', 'lupita', 'lupita 1', 'TEXT', 'QUEUED', 1, 'Hola, hace tiempo que no nos escribes. ¿Te ayudamos con un pedido?', null, null, null),
    ('valle', 'aurora', 'aurora 1', 'TEXT', 'RECEIVED', 0, 'Buenas! Tienen agua de litro?', 'SM21', null, null),
    ('valle', 'aurora', 'aurora 2', 'TEXT', 'RECEIVED', 0, 'Quiero 4 cajas', 'SM22', null, null),
    ('sul', 'padaria', 'padaria 1', 'TEXT', 'RECEIVED', 0, 'Bom dia, 3 caixas de queijo', 'SM31', null, null);

insert into messages
    (distributor_id, id, conversation_id, channel_account_id, customer_id, channel, direction, type, status, status_rank, text,
     provider_message_id, ai_processed, ai_skip_reason, turn_message_id, send_due_at, send_attempts, sent_at, created_at, updated_at)
select c.distributor_id, story.id(m.name), c.id, c.channel_account_id, c.customer_id, c.channel,
    case m.status when 'RECEIVED' then 'INBOUND' else 'OUTBOUND' end, m.kind, m.status, m.rank, m.text, m.provider_id,
    m.conversation not in ('aurora', 'padaria'), case when m.status <> 'RECEIVED' then 'outbound' end, story.id(m.burst),
    -- The provider was busy three times.
    case when m.status = 'QUEUED' then timestamptz '2025-06-16 17:59:30Z' end, case when m.status = 'QUEUED' then 3 else 0 end,
    m.sent_at, story.at(m.name), coalesce(m.sent_at, story.at(m.name))
from story.said m
join conversations c on c.id = story.id(m.conversation || ' chat');

insert into message_status_events (distributor_id, id, message_id, status, provider_status, applied, occurred_at)
select story.id('valle'), public.uuid7_floor(s.at), story.id(s.message), s.status, lower(s.status), s.applied, s.at
from (values
    ('palma 6', 'SENT', true, timestamptz '2025-06-16 17:40:06Z'),
    ('palma 6', 'DELIVERED', true, '2025-06-16 17:40:08Z'),
    -- Twilio's "sent" overtook by its own "delivered": kept, not applied.
    ('palma 6', 'SENT', false, '2025-06-16 17:40:09Z')
) as s(message, status, applied, at);

insert into attachments (distributor_id, id, message_id, position, url, content_type, created_at) values
    (story.id('valle'), public.uuid7_floor(story.at('faro 1')), story.id('faro 1'), 1, 'https://api.twilio.com/media/ME11', 'image/jpeg', story.at('faro 1'));

insert into external_message_mappings (distributor_id, channel_account_id, provider_key, message_id, created_at)
select m.distributor_id, m.channel_account_id,
    case m.direction when 'INBOUND' then m.provider_message_id else 'sent:' || m.provider_message_id end, m.id, m.created_at
from messages m
where m.provider_message_id is not null;

-- ------------------------------------------------------------------------------------------------ what was ordered

create table story.lines (order_name text, status text, product text, quantity numeric, confidence numeric, words text);
insert into story.lines values
    ('palma 1', 'DELIVERED', 'coca', 4, 0.97, '4 de coca 600'), ('palma 2', 'DELIVERED', 'coca', 5, 0.97, '5 coca 600'),
    ('palma 3', 'DELIVERED', 'coca', 5, 0.98, '5 cajas coca 600'), ('palma 3', 'DELIVERED', 'agua', 3, 0.93, '3 de agua'),
    ('palma 4', 'DELIVERED', 'coca', 6, 0.97, '6 de coca 600'), ('palma 5', 'CONFIRMED', 'coca', 5, 0.98, '5 coca 600'),
    ('palma 6', 'CONFIRMED', 'coca', 5, 0.98, '5 cajas de coca 600'), ('palma 6', 'CONFIRMED', 'agua', 2, 0.92, '2 de agua'),
    ('palma 7', 'PENDING', 'coca', 2, 0.98, '2 cajas de coca 600'), ('palma 7', 'PENDING', 'agua', 1, 0.92, '1 de agua'),
    ('faro 1', 'DELIVERED', 'cerveza', 12, 0.95, '12 cervezas'), ('faro 2', 'DELIVERED', 'cerveza', 10, 0.95, '10 cajas cerveza'),
    ('faro 3', 'CANCELLED', 'cerveza', 10, 0.95, '10 de cerveza'), ('faro 4', 'DELIVERED', 'cerveza', 8, 0.95, '8 de cerveza'),
    ('faro 5', 'REVIEW', 'cerveza', 10, 0.95, '10 cajas de cerveza'),
    ('lupita 1', 'DELIVERED', 'agua', 2, 0.93, '2 de agua'), ('lupita 2', 'DELIVERED', 'agua', 1, 0.93, 'una de agua'),
    ('padaria 1', 'CONFIRMED', 'queijo', 3, 0.96, '3 caixas de queijo');

insert into orders
    (distributor_id, id, conversation_id, customer_id, channel, status, requires_review, review_reasons, unmatched, delivery_date,
     currency, total_amount, confidence, source_message_id, confirmed_at, created_at, updated_at)
select c.distributor_id, story.id('order ' || l.order_name), c.id, c.customer_id, c.channel, l.status, l.status = 'REVIEW',
    case l.status when 'REVIEW' then array['unmatched'] else '{}' end, case l.status when 'REVIEW' then array['3 de la roja'] else '{}' end,
    case l.order_name when 'palma 6' then date '2025-06-16' when 'palma 7' then '2025-06-20' end,
    d.currency, 0, min(l.confidence),
    case l.order_name when 'palma 6' then story.id('palma 1') when 'palma 7' then story.id('palma 5') when 'faro 5' then story.id('faro 3') end,
    case when l.status in ('CONFIRMED', 'DELIVERED') then story.at('order ' || l.order_name) + interval '4 minutes' end,
    story.at('order ' || l.order_name), story.at('order ' || l.order_name)
from story.lines l
join conversations c on c.id = story.id(split_part(l.order_name, ' ', 1) || ' chat')
join distributors d on d.id = c.distributor_id
group by l.order_name, l.status, c.distributor_id, c.id, c.customer_id, c.channel, d.currency;

insert into order_products
    (distributor_id, id, order_id, product_id, sku, product_name, unit, quantity, unit_price, confidence, band, original_text, position)
select p.distributor_id, overlay(story.id('order ' || l.order_name)::text placing '9' from 20)::uuid, story.id('order ' || l.order_name),
    p.id, p.sku, p.name, p.unit, l.quantity, p.unit_price, l.confidence, 'auto', l.words, 1
from story.lines l join products p on p.id = story.id(l.product) where l.product <> 'agua' or l.order_name like 'lupita%';
insert into order_products
    (distributor_id, id, order_id, product_id, sku, product_name, unit, quantity, unit_price, confidence, band, original_text, position)
select p.distributor_id, overlay(story.id('order ' || l.order_name)::text placing 'a' from 20)::uuid, story.id('order ' || l.order_name),
    p.id, p.sku, p.name, p.unit, l.quantity, p.unit_price, l.confidence, 'auto', l.words, 2
from story.lines l join products p on p.id = story.id(l.product) where l.product = 'agua' and l.order_name not like 'lupita%';

update orders o
set total_amount = (select sum(p.line_total) from order_products p where p.distributor_id = o.distributor_id and p.order_id = o.id);

-- ------------------------------------------------------------------------------------------------ what was understood

insert into ai_responses
    (distributor_id, id, message_id, conversation_id, status, engine, engine_version, model, intent, language, confidence,
     extracted_data, error_class, input_tokens, cached_tokens, output_tokens, cost_micro_usd, processing_ms, created_at)
select m.distributor_id, public.uuid7_floor(m.created_at + interval '4 seconds'), m.id, m.conversation_id,
    case when r.error_class is null then 'COMPLETED' else 'FAILED' end, r.engine, r.engine || '-1', r.model, r.intent,
    case when r.error_class is null then 'es' end, r.confidence, jsonb_build_object('message_ids', jsonb_build_array(m.id)) || r.data,
    r.error_class, r.input, r.cached, r.output, r.cost, r.ms, m.created_at + interval '4 seconds'
from (values
    ('palma 1', 'rules', null, 'BUY', 0.92, '{"operations": [{"sku": "COCA-600", "quantity": "5"}, {"sku": "AGUA-1L", "quantity": "2"}]}'::jsonb, null, 0, 0, 0, 0, 6),
    ('palma 3', 'rules', null, 'CONFIRM', 0.99, '{"operations": []}', null, 0, 0, 0, 0, 3),
    ('palma 5', 'rules', null, 'BUY', 0.92, '{"operations": [{"sku": "COCA-600", "quantity": "2"}, {"sku": "AGUA-1L", "quantity": "1"}]}', null, 0, 0, 0, 0, 5),
    ('faro 1', 'hybrid', 'gpt-5-mini', 'COMPLAINT', 0.88, '{"operations": []}', null, 1320, 1024, 96, 293, 1840),
    ('faro 3', 'hybrid', 'gpt-5-mini', 'BUY', 0.74, '{"operations": [{"sku": "CERV-355", "quantity": "10"}], "unmatched": ["3 de la roja"]}', null, 1410, 1024, 218, 559, 2310),
    -- The second message came while the model was asked about the first: the bill stays, the answer is not used.
    ('aurora 1', 'hybrid', 'gpt-5-mini', null, null, '{}', 'superseded', 1295, 1024, 88, 269, 1650)
) as r(message, engine, model, intent, confidence, data, error_class, input, cached, output, cost, ms)
join messages m on m.id = story.id(r.message);

-- ------------------------------------------------------------------------------------------------ who was told

insert into webhook_endpoints
    (distributor_id, id, name, url, event_types, secrets_sealed, enabled, disabled_reason, created_at, updated_at)
select story.id('valle'), story.id(e.name), e.name, e.url, e.types, '', e.reason is null, e.reason, story.at(e.name), story.at(e.name)
from (values
    ('erp', 'https://erp.valle.example/hooks', array['order.*'], null),
    ('crm', 'https://crm.valle.example/hooks', array['*'], null),
    ('old', 'https://old.valle.example/hooks', array['*'], 'gone')
) as e(name, url, types, reason);

create table story.events (at timestamptz, type text, conversation text, data jsonb);
insert into story.events values
    ('2025-06-13 19:00:00Z', 'message.received', 'faro', jsonb_build_object('message_id', story.id('faro 1'))),
    ('2025-06-13 19:00:04Z', 'conversation.handoff_requested', 'faro', jsonb_build_object('reason', 'complaint')),
    ('2025-06-14 15:00:05Z', 'order.review_required', 'faro', jsonb_build_object('order_id', story.id('order faro 5'))),
    ('2025-06-15 16:20:05Z', 'order.created', 'palma', jsonb_build_object('order_id', story.id('order palma 6'), 'total_amount', 1798.50)),
    ('2025-06-15 16:24:06Z', 'order.confirmed', 'palma', jsonb_build_object('order_id', story.id('order palma 6'), 'total_amount', 1798.50)),
    ('2025-06-16 17:40:00Z', 'message.received', 'palma', jsonb_build_object('message_id', story.id('palma 5'))),
    ('2025-06-16 17:40:05Z', 'order.created', 'palma', jsonb_build_object('order_id', story.id('order palma 7'), 'total_amount', 743.00));

select record_events(jsonb_agg(jsonb_build_object(
    'id', left(public.uuid7_floor(e.at)::text, 14) || '7000-8000-000000000900',
    'distributor_id', story.id('valle'), 'type', e.type, 'conversation_id', story.id(e.conversation || ' chat'),
    'occurred_at', e.at, 'due_at', e.at,
    'body', jsonb_build_object('type', e.type, 'timestamp', e.at, 'distributor_id', story.id('valle'),
        'data', e.data || jsonb_build_object('conversation_id', story.id(e.conversation || ' chat')))
) order by e.at)) from story.events e;

-- The CRM is down since 15:00; the ERP answers, once only at the second try.
insert into webhook_delivery_attempts
    (distributor_id, id, endpoint_id, event_id, number, started_at, outcome, duration_ms, status_code, error_class)
select d.distributor_id, public.uuid7_floor(a.started_at), d.endpoint_id, d.event_id, a.number, a.started_at, a.outcome, a.ms, a.code, a.error_class
from webhook_deliveries d
join webhook_events e on e.distributor_id = d.distributor_id and e.id = d.event_id
join webhook_endpoints w on w.distributor_id = d.distributor_id and w.id = d.endpoint_id
cross join lateral (
    select 1 as number, d.created_at + interval '1 second' as started_at,
        case when s.down or s.slow then 'failure' else 'success' end as outcome,
        case when s.slow then 15000 when s.down then 40 else 120 end as ms,
        case when s.slow then null when s.down then 503 else 200 end as code,
        case when s.slow then 'timeout' when s.down then 'status' end as error_class
    from (select w.name = 'crm' and d.created_at > '2025-06-16 15:00Z' as down,
        w.name = 'erp' and e.type = 'order.confirmed' as slow) s
    union all
    select 2, d.created_at + interval '21 seconds', case w.name when 'erp' then 'success' else 'failure' end,
        case w.name when 'erp' then 180 else 38 end, case w.name when 'erp' then 200 else 503 end, case w.name when 'crm' then 'status' end
    where (w.name = 'erp' and e.type = 'order.confirmed') or (w.name = 'crm' and d.created_at > '2025-06-16 15:00Z')
) a;

update webhook_deliveries d
set attempt_count = a.attempts, schedule_position = a.attempts, updated_at = a.last,
    status = case a.outcome when 'success' then 'SUCCESS' else 'RETRYING' end,
    due_at = case a.outcome when 'success' then null else timestamptz '2025-06-16 18:10:00Z' end
from (
    select endpoint_id, event_id, count(*) as attempts, max(started_at) as last, (array_agg(outcome order by number desc))[1] as outcome
    from webhook_delivery_attempts group by endpoint_id, event_id
) a
where d.endpoint_id = a.endpoint_id and d.event_id = a.event_id;

insert into security_audit_log (distributor_id, id, type, subject_id, detail, occurrences, first_at, occurred_at) values
    (story.id('valle'), public.uuid7_floor('2025-06-16 09:12Z'), 'signature.refused', story.id('whatsapp'), 'twilio', 14, '2025-06-16 09:12Z', '2025-06-16 09:12:41Z'),
    (story.id('valle'), public.uuid7_floor('2025-06-16 11:30Z'), 'key.refused', null, 'GET /v1/orders', 1, '2025-06-16 11:30Z', '2025-06-16 11:30Z');

-- ------------------------------------------------------------------------------------------------ derived data
-- Not written but counted, by the functions that the service calls.

do $$
declare
    tenant uuid;
begin
    foreach tenant in array array[story.id('valle'), story.id('sul')] loop
        perform set_config('app.current_distributor_id', tenant::text, true);
        perform public.refresh_customers(array(select id from customers where distributor_id = tenant), story.now());
        perform public.refresh_usage('2025-06-01', story.now());
        perform public.refresh_ai_usage(story.now());
    end loop;
end
$$;

grant usage on schema story to waystation_owner, waystation_app, waystation_worker;
