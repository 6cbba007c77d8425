-- Conversations, their messages and what became of each.

create table conversations (
    distributor_id uuid not null,
    id uuid not null,
    channel_account_id uuid not null,
    contact_id uuid not null,
    customer_id uuid,
    channel text not null check (channel in ('WHATSAPP', 'SMS', 'EMAIL')),
    thread_key text not null default '',
    status text not null default 'ACTIVE' check (status in ('ACTIVE', 'ARCHIVED')),
    handoff text not null default 'BOT' check (handoff in ('BOT', 'WAITING_HUMAN', 'HUMAN')),
    language text check (language in ('es', 'en', 'pt')),
    unread_count int not null default 0 check (unread_count >= 0),
    last_message_at timestamptz not null,
    last_inbound_at timestamptz,
    -- One turn per burst: due when the burst is quiet, never later than the cap; generation counts inbound messages.
    turn_generation bigint not null default 0,
    turn_due_at timestamptz,
    turn_cap_at timestamptz,
    turn_attempts int not null default 0,
    turn_lease_until timestamptz,
    turn_lease_token uuid,
    created_at timestamptz not null,
    primary key (distributor_id, id),
    unique (distributor_id, channel_account_id, contact_id, thread_key),
    foreign key (distributor_id, channel_account_id) references channel_accounts (distributor_id, id) on delete cascade,
    foreign key (distributor_id, contact_id) references customer_contacts (distributor_id, id) on delete cascade,
    foreign key (distributor_id, customer_id) references customers (distributor_id, id) on delete set null (customer_id)
) with (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
comment on table conversations is
    '[3 Messaging] One open thread per channel account, contact and (e-mail) thread; carries the turn that its burst awaits.';
comment on column conversations.thread_key is 'Tells threads of one e-mail address apart; empty on other channels.';
comment on column conversations.status is 'ARCHIVED is out of the inbox; an inbound message opens it again.';
comment on column conversations.handoff is 'Who answers: the bot, a person who is awaited, or a person.';
comment on column conversations.language is 'The customer''s, as the last turn understood it.';
comment on column conversations.unread_count is 'Inbound messages since somebody read the conversation.';
comment on column conversations.last_message_at is 'Of the newest message in or out; what the inbox sorts by.';
comment on column conversations.turn_generation is 'Counts inbound messages; a turn that read an older number is overtaken.';
comment on column conversations.turn_due_at is 'When the burst will have been quiet long enough; NULL: no turn is awaited.';
comment on column conversations.turn_cap_at is 'The burst is understood then, however much the customer goes on writing.';
comment on column conversations.turn_attempts is 'Claims of this burst; after five a person takes over.';
comment on column conversations.turn_lease_until is 'While in the future, a worker has the turn.';
comment on column conversations.turn_lease_token is 'Who holds the turn: a worker that lost it stores nothing.';
comment on column conversations.last_inbound_at is 'When the customer last wrote here; opens WhatsApp''s 24-hour window, which each of our numbers has for itself.';
create index conversations_inbox on conversations (distributor_id, last_message_at desc, id desc);
create index conversations_customer on conversations (distributor_id, customer_id);
create index conversations_contact on conversations (distributor_id, contact_id);
create index conversations_unread on conversations (distributor_id, channel) where unread_count > 0;
create index conversations_waiting on conversations (distributor_id, id) where handoff = 'WAITING_HUMAN';
create index conversations_turn_leased on conversations (distributor_id, turn_lease_until) where turn_lease_until is not null;
create index conversations_turn_due on conversations (distributor_id, turn_due_at) where turn_due_at is not null;
call protect_tenant_table('conversations');
grant select on conversations to waystation_app, waystation_worker;
grant insert on conversations to waystation_worker;
grant update (status, handoff, customer_id, language, unread_count, last_message_at, turn_due_at, turn_cap_at, turn_attempts, turn_lease_until, turn_lease_token)
    on conversations to waystation_app;
grant update (status, unread_count, last_message_at, last_inbound_at, customer_id, turn_generation, turn_due_at, turn_cap_at, turn_attempts, turn_lease_until, turn_lease_token)
    on conversations to waystation_worker;
call allow_worker('conversations', array['select', 'insert', 'update']);

create table messages (
    distributor_id uuid not null,
    id uuid not null,
    conversation_id uuid not null,
    channel_account_id uuid not null,
    customer_id uuid,
    channel text not null check (channel in ('WHATSAPP', 'SMS', 'EMAIL')),
    direction text not null check (direction in ('INBOUND', 'OUTBOUND')),
    type text not null check (type in ('TEXT', 'IMAGE', 'AUDIO', 'VIDEO', 'FILE', 'LOCATION', 'CONTACT', 'BUTTON_REPLY', 'REACTION', 'ORDER', 'TEMPLATE', 'UNSUPPORTED')),
    status text not null check (status in ('RECEIVED', 'QUEUED', 'SENDING', 'SENT', 'DELIVERED', 'READ', 'FAILED')),
    status_rank smallint not null default 0,
    text text not null default '',
    metadata jsonb not null default '{}',
    provider_message_id text,
    reply_to_provider_id text,
    inbound_event_id uuid,
    error_code text,
    -- FALSE only for an inbound message that still awaits its turn.
    ai_processed boolean not null,
    ai_skip_reason text check (ai_skip_reason in ('outbound', 'opt_out', 'opt_in', 'help')),
    turn_message_id uuid,
    send_due_at timestamptz,
    send_attempts int not null default 0,
    send_started_at timestamptz,
    sent_at timestamptz,
    send_lease_until timestamptz,
    send_lease_token uuid,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id),
    check ((direction = 'INBOUND') = (status = 'RECEIVED')),
    check (direction = 'INBOUND' or ai_processed),
    check (ai_processed or ai_skip_reason is null),
    check ((direction = 'OUTBOUND') = (ai_skip_reason is not distinct from 'outbound')),
    foreign key (distributor_id, conversation_id) references conversations (distributor_id, id) on delete cascade,
    foreign key (distributor_id, channel_account_id) references channel_accounts (distributor_id, id) on delete cascade,
    foreign key (distributor_id, customer_id) references customers (distributor_id, id) on delete set null (customer_id)
) partition by range (id);
comment on table messages is
    '[3 Messaging] Every message in or out. Outbound ones are rows first: the send lane sends what is due.';
comment on column messages.direction is 'INBOUND from the customer, OUTBOUND to the customer.';
comment on column messages.type is 'What it is; text may be empty for all but TEXT.';
comment on column messages.status is 'RECEIVED for inbound; outbound moves upwards only.';
comment on column messages.status_rank is 'The status as a number of its channel''s order: a lower one never replaces a higher.';
comment on column messages.text is 'What was written, without markup.';
comment on column messages.metadata is 'What else the provider said: location, buttons, card.';
comment on column messages.provider_message_id is 'The provider''s id, known after sending for outbound.';
comment on column messages.reply_to_provider_id is 'The provider''s id of the quoted message.';
comment on column messages.inbound_event_id is 'The raw post, while inbound_events still keeps it.';
comment on column messages.error_code is 'The provider''s code of why it FAILED, or ours.';
comment on column messages.ai_processed is 'FALSE only for an inbound message that still awaits its turn.';
comment on column messages.ai_skip_reason is 'Why no turn follows; NULL where one does or did.';
comment on column messages.send_due_at is 'When to try to send; NULL: there is nothing to send.';
comment on column messages.send_attempts is 'Claims for sending; after twelve it is given up.';
comment on column messages.send_lease_until is 'While in the future, a worker is sending it.';
comment on column messages.send_lease_token is 'Who is sending: a worker that lost it settles nothing.';
comment on column messages.turn_message_id is 'On a reply: the last inbound message of the burst it answers; one reply per burst, held by external_message_mappings.';
comment on column messages.sent_at is 'When the provider was first known to have taken the message; message.sent is told once.';
comment on column messages.send_started_at is 'When the running attempt left; still set on a later claim means its outcome is unknown.';
create index messages_provider_id on messages (distributor_id, channel_account_id, provider_message_id);
create index messages_thread on messages (distributor_id, conversation_id, id desc);
create index messages_customer on messages (distributor_id, customer_id);
create index messages_awaiting_turn on messages (distributor_id, conversation_id, id) where not ai_processed;
create index messages_send_leased on messages (distributor_id, send_lease_until) where send_lease_until is not null;
create index messages_send_due on messages (distributor_id, send_due_at) where send_due_at is not null;
create index messages_send_order on messages (distributor_id, conversation_id, id) where send_due_at is not null;
call protect_tenant_table('messages');
grant select, insert on messages to waystation_app, waystation_worker;
grant update (status, status_rank, provider_message_id, error_code, ai_processed, send_due_at, send_attempts, send_started_at, sent_at, send_lease_until, send_lease_token, updated_at)
    on messages to waystation_app, waystation_worker;
call allow_worker('messages', array['select', 'insert', 'update']);

create table attachments (
    distributor_id uuid not null,
    id uuid not null,
    message_id uuid not null,
    position int not null,
    url text not null,
    content_type text not null,
    filename text,
    created_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id) references distributors (id) on delete cascade
);
comment on table attachments is
    '[3 Messaging] Files of a message, by the provider''s address for them. Messages are partitioned, so message_id is no foreign key.';
comment on column attachments.message_id is 'The message; both lie in one tenant.';
comment on column attachments.position is 'From 1, in the order of the message.';
comment on column attachments.url is 'Where the provider keeps the file; not fetched yet.';
comment on column attachments.content_type is 'As the provider says.';
comment on column attachments.filename is 'As the sender called it.';
create index attachments_message on attachments (distributor_id, message_id, position);
call protect_tenant_table('attachments');
grant select, insert on attachments to waystation_app, waystation_worker;
call allow_worker('attachments', array['select', 'insert']);

create table message_status_events (
    distributor_id uuid not null,
    id uuid not null,
    message_id uuid not null,
    status text not null,
    provider_status text not null default '',
    error_code text,
    applied boolean not null,
    occurred_at timestamptz not null,
    -- Cut along the message's id: a message and its statuses are retired together.
    primary key (distributor_id, message_id, id),
    foreign key (distributor_id, message_id) references messages (distributor_id, id) on delete cascade
) partition by range (message_id);
comment on table message_status_events is
    '[3 Messaging] Every status that was told of a message, also those that came too late to be applied.';
comment on column message_status_events.status is 'What was told, in our words.';
comment on column message_status_events.provider_status is 'The same in the provider''s word.';
comment on column message_status_events.error_code is 'The provider''s code, where it failed.';
comment on column message_status_events.applied is 'Whether it moved the message''s status upwards.';
call protect_tenant_table('message_status_events');
grant select, insert on message_status_events to waystation_app, waystation_worker;
call allow_worker('message_status_events', array['select', 'insert']);

create table message_templates (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    name text not null check (name <> ''),
    language text not null check (language in ('es', 'en', 'pt')),
    -- NULL: for every channel.
    channel text check (channel in ('WHATSAPP', 'SMS', 'EMAIL')),
    body text not null,
    variables text[] not null default '{}',
    provider_template_id text,
    approval text not null default 'NONE' check (approval in ('NONE', 'PENDING', 'APPROVED', 'REJECTED')),
    active boolean not null default true,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id),
    unique nulls not distinct (distributor_id, name, language, channel)
);
comment on table message_templates is
    '[3 Messaging] Texts with named variables; WhatsApp takes only approved ones outside its 24 hours. Coming: sending templates will read it, the API for channels write it.';
comment on column message_templates.channel is 'NULL: for every channel.';
comment on column message_templates.body is 'The text with its variables.';
comment on column message_templates.variables is 'Names that the body may use, and no others.';
comment on column message_templates.provider_template_id is 'The provider''s id of an approved text.';
comment on column message_templates.approval is 'How far the provider''s approval is.';
call protect_tenant_table('message_templates');
