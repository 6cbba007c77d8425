-- What every channel needs beside Twilio: shared hooks, user ids, mail threads, parts, files, rates, parked statuses.

-- One post of a provider may carry several accounts' messages: its name for an account, in the clear, finds them.
alter table channel_accounts
    add column route text,
    add column send_rate numeric(8, 3) check (send_rate > 0),
    add column next_send_at timestamptz,
    add column throttled_until timestamptz,
    add column reconciled_until timestamptz,
    add column reconcile_lease_until timestamptz;
comment on column channel_accounts.route is 'What the provider calls the account in a post to several of them (WhatsApp: phone_number_id).';
comment on column channel_accounts.send_rate is 'Messages a second that the provider was left with when it last asked to slow down, up to throttled_until; from then on it grows with each minute. NULL: its usual rate.';
comment on column channel_accounts.next_send_at is 'When the account''s rate allows the next message; all workers take their place by it.';
comment on column channel_accounts.throttled_until is 'Until then nothing is sent: the provider asked for it.';
comment on column channel_accounts.reconciled_until is 'Up to when the provider was asked for what it received.';
comment on column channel_accounts.reconcile_lease_until is 'While in the future, a worker is asking it.';
create index channel_accounts_route on channel_accounts (provider, route) where route is not null and deleted_at is null;
grant update (route) on channel_accounts to waystation_app;
grant update (send_rate, next_send_at, throttled_until, reconciled_until, reconcile_lease_until) on channel_accounts to waystation_app;

-- A WhatsApp user may have no number, or lose it: who it is, is told by the user id beside the address.
alter table customer_contacts
    add column provider_user_id text,
    add column opt_out_reason text
        check (opt_out_reason in ('keyword', 'provider', 'bounce', 'complaint', 'unsubscribe', 'manual'));
comment on column customer_contacts.provider_user_id is 'The provider''s own id of the person (WhatsApp''s user id); finds the contact where a message has no number.';
comment on column customer_contacts.opt_out_reason is 'What stopped messages to this address; NULL where nothing did, or before it was kept.';
create unique index customer_contacts_user on customer_contacts (distributor_id, channel, provider_user_id)
    where provider_user_id is not null;
grant update (provider_user_id, opt_out_reason) on customer_contacts to waystation_app, waystation_worker;
-- Somebody who was known by the user id alone shows a number.
grant update (address) on customer_contacts to waystation_worker;

-- A status may come before the message it is of has its id, and a post may only tell that there is something to fetch.
alter table inbound_events
    drop constraint inbound_events_kind_check,
    add constraint inbound_events_kind_check check (kind in ('message', 'status', 'consent', 'deferred')),
    add column parked_key text,
    add column parked_item jsonb,
    add column fetch_due_at timestamptz,
    add column fetch_attempts int not null default 0,
    add column fetch_lease_until timestamptz,
    add column fetch_lease_token uuid,
    add column fetch_error text;
comment on column inbound_events.parked_key is 'The provider''s id of a message that is not known yet: its status waits here, for a day.';
comment on column inbound_events.parked_item is 'A status that waits, or waited, for its message: the row is a slip for it and no post, which has a row of its own.';
comment on column inbound_events.fetch_due_at is 'When to ask the provider for what the post only told of; NULL: there is nothing to ask for.';
comment on column inbound_events.fetch_attempts is 'Claims for asking.';
comment on column inbound_events.fetch_lease_until is 'While in the future, a worker is asking.';
comment on column inbound_events.fetch_lease_token is 'Who is asking.';
comment on column inbound_events.fetch_error is 'Why the last try gave nothing.';
create index inbound_events_parked on inbound_events (distributor_id, channel_account_id, parked_key) where parked_key is not null;
create index inbound_events_fetch_due on inbound_events (distributor_id, fetch_due_at) where fetch_due_at is not null;
create index inbound_events_fetch_leased on inbound_events (distributor_id, fetch_lease_until) where fetch_lease_until is not null;
grant update (parked_key, parked_item, fetch_due_at, fetch_attempts, fetch_lease_until, fetch_lease_token, fetch_error)
    on inbound_events to waystation_app, waystation_worker;
call allow_worker('inbound_events', array['update']);

-- A token whose signature covers no body may be used for one body.
alter table external_message_mappings add column digest bytea;
comment on column external_message_mappings.digest is 'SHA-256 of the body that a one-time token came with: another body under the same token is refused.';

alter table conversations add column subject text;
comment on column conversations.subject is 'Of the thread''s first mail, for the reply''s.';
grant update (subject) on conversations to waystation_app, waystation_worker;

alter table messages
    drop constraint messages_ai_skip_reason_check,
    add constraint messages_ai_skip_reason_check check (
        ai_skip_reason in ('outbound', 'opt_out', 'opt_in', 'help', 'automated', 'reaction', 'revoked', 'edited', 'system')
    ),
    add column mail_message_id text,
    add column parts smallint not null default 1 check (parts between 1 and 100),
    add column send_priority smallint not null default 0 check (send_priority in (0, 10)),
    add column send_unknown smallint not null default 0,
    add column delivered_at timestamptz,
    add column read_at timestamptz,
    add column failed_at timestamptz;
comment on column messages.mail_message_id is 'A mail''s Message-ID without its brackets; replies name it.';
comment on column messages.parts is 'In how many of the provider''s messages the text leaves; it is delivered when all are.';
comment on column messages.send_priority is 'Replies are 0; bulk is 10, and lets what became due less than ten minutes after it go first.';
comment on column messages.send_unknown is 'Tries that left and of whose outcome nobody knows.';
comment on column messages.delivered_at is 'When it was first told to have been delivered.';
comment on column messages.read_at is 'When it was first told to have been read.';
comment on column messages.failed_at is 'When it was first told to have failed.';
-- Each account's line, its replies and its bulk: a claim looks at those accounts only that may send now. It also tells which
-- tenants have anything due.
drop index messages_send_due;
create index messages_send_line on messages (distributor_id, channel_account_id, send_priority, send_due_at) where send_due_at is not null;
create index messages_mail_id on messages (distributor_id, channel_account_id, mail_message_id) where mail_message_id is not null;
update messages set send_unknown = 1 where send_due_at is not null and send_started_at is not null;
grant update (parts, mail_message_id, send_unknown, delivered_at, read_at, failed_at) on messages to waystation_app, waystation_worker;

alter table message_status_events
    add column part smallint,
    add column provider_message_id text,
    add column told_at timestamptz;
comment on column message_status_events.part is 'Which of the message''s parts it is of, from 1; NULL: all of it.';
comment on column message_status_events.provider_message_id is 'The provider''s id of that part.';
comment on column message_status_events.told_at is 'When it happened by the provider''s clock.';

-- Files are fetched by a job, kept in the store, and told apart by what they really are.
alter table attachments
    add column state text not null default 'PENDING'
        check (state in ('PENDING', 'STORED', 'LINKED', 'UNAVAILABLE', 'TOO_LARGE', 'INFECTED')),
    add column content_id text,
    add column inbound_event_id uuid,
    add column store_key text,
    add column size_bytes bigint,
    add column sha256 bytea,
    add column sniffed_type text,
    add column scanned_at timestamptz,
    add column error_class text,
    add column fetch_due_at timestamptz,
    add column fetch_attempts int not null default 0,
    add column fetch_lease_until timestamptz,
    add column fetch_lease_token uuid,
    add column updated_at timestamptz;
comment on column attachments.state is 'PENDING until fetched; LINKED is an outbound file by its public address, never fetched; the other three are final: there is no file.';
comment on column attachments.content_id is 'What the mail''s HTML calls an inline file.';
comment on column attachments.inbound_event_id is 'The stored post that the file is a part of, where its address is part:N.';
comment on column attachments.store_key is 'Where the store keeps it.';
comment on column attachments.sniffed_type is 'What its first bytes say it is.';
comment on column attachments.scanned_at is 'When a scanner found it clean; NULL: it was not looked at.';
comment on column attachments.size_bytes is 'Of the file as stored.';
comment on column attachments.sha256 is 'Of the file as stored.';
comment on column attachments.error_class is 'Why the last try failed.';
comment on column attachments.fetch_due_at is 'When to fetch it; NULL: there is nothing to fetch.';
comment on column attachments.fetch_attempts is 'Claims for fetching.';
comment on column attachments.fetch_lease_until is 'While in the future, a worker is fetching it.';
comment on column attachments.fetch_lease_token is 'Who is fetching it.';
comment on column attachments.updated_at is 'When its state last changed.';
-- Files from before are fetched, too, where their provider still has them; those that were sent are by their address.
update attachments a
set state = case when m.direction = 'OUTBOUND' then 'LINKED' else 'PENDING' end,
    fetch_due_at = case when m.direction = 'INBOUND' then now() end
from messages m
where m.distributor_id = a.distributor_id and m.id = a.message_id;
create index attachments_fetch_due on attachments (distributor_id, fetch_due_at) where fetch_due_at is not null;
create index attachments_fetch_leased on attachments (distributor_id, fetch_lease_until) where fetch_lease_until is not null;
create index attachments_stored on attachments (distributor_id, store_key) where store_key is not null;
grant update (state, store_key, size_bytes, sha256, sniffed_type, scanned_at, error_class, fetch_due_at, fetch_attempts, fetch_lease_until, fetch_lease_token, updated_at)
    on attachments to waystation_app, waystation_worker;
call allow_worker('attachments', array['update']);

-- Providers approve a text in a country's language, and Meta knows no Portuguese but pt_BR and pt_PT.
alter table message_templates
    drop constraint message_templates_language_check,
    add constraint message_templates_language_check check (language ~ '^(es|en|pt)(_[A-Z]{2})?$');
comment on column message_templates.language is 'As the provider approved it: es, or es_MX.';
grant select, insert, delete on message_templates to waystation_app;
grant update (name, language, channel, body, variables, provider_template_id, approval, active, updated_at)
    on message_templates to waystation_app;
comment on table message_templates is
    '[3 Messaging] Texts with named variables that a provider approved, or that a tenant''s staff use again; WhatsApp takes only approved ones outside its 24 hours.';
comment on table inbound_events is
    '[3 Messaging] What a provider posted after its signature held: method, path with query, headers and body, so that it can be verified and read again (`waystation replay`). Statuses that came too early wait here, and posts that only tell of something to fetch.';
comment on table attachments is
    '[3 Messaging] Files of a message: by the provider''s address until they are fetched, then by their key in the store. Messages are partitioned, so message_id is no foreign key.';
comment on column attachments.url is 'Where the provider keeps the file; `part:N` in the stored post, `media:ID` by the provider''s id.';
comment on column external_message_mappings.provider_key is
    'An inbound message''s id, "status:" with a callback''s key, "sent:" with the id of what we sent, "reply:" with the last message of the burst that was answered, "token:" with a one-time token.';
