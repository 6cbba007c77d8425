-- Files of messages, and posts whose contents are asked for: what a worker needs of one, and how it ends.

-- name: find_file
-- No row when the lease went to another worker. The post's body is read only where the file is in it.
select f.id as attachment_id, f.url, f.content_type, m.channel_account_id, m.channel, a.provider, a.address as account_address,
    a.credentials_sealed, a.settings as account_settings, a.deleted_at as account_deleted_at,
    e.method, e.target, e.headers, e.body
from attachments f
join messages m on m.distributor_id = f.distributor_id and m.id = f.message_id
join channel_accounts a on a.distributor_id = m.distributor_id and a.id = m.channel_account_id
left join inbound_events e on e.distributor_id = f.distributor_id and e.id = f.inbound_event_id and starts_with(f.url, 'part:')
where f.distributor_id = get_current_distributor_id() and f.id = $1 and f.fetch_lease_token = $2 and f.fetch_due_at is not null;

-- name: settle_file
update attachments
set state = $3, store_key = $4, size_bytes = $5, sha256 = $6, sniffed_type = $7, scanned_at = $8, error_class = $9,
    fetch_due_at = null, fetch_lease_until = null, fetch_lease_token = null, updated_at = $10
where distributor_id = get_current_distributor_id() and id = $1 and fetch_lease_token = $2 and fetch_due_at is not null
returning id;

-- name: postpone_file
update attachments
set fetch_due_at = $3, error_class = $4, fetch_lease_until = null, fetch_lease_token = null, updated_at = $5
where distributor_id = get_current_distributor_id() and id = $1 and fetch_lease_token = $2 and fetch_due_at is not null;

-- name: read_stored
select store_key, sniffed_type, filename, size_bytes
from attachments
where distributor_id = get_current_distributor_id() and id = $1 and state = 'STORED';

-- name: list_kept_keys
select distinct store_key
from attachments
where distributor_id = get_current_distributor_id() and store_key = any($1::text[]);

-- name: find_post
select e.id as event_id, e.received_at, e.channel_account_id, a.channel, a.provider, a.address as account_address,
    a.credentials_sealed, a.settings as account_settings, a.deleted_at as account_deleted_at,
    e.method, e.target, e.headers, e.body
from inbound_events e
join channel_accounts a on a.distributor_id = e.distributor_id and a.id = e.channel_account_id
where e.distributor_id = get_current_distributor_id() and e.id = $1 and e.fetch_lease_token = $2 and e.fetch_due_at is not null;

-- name: settle_post
-- $3 is null where it was had, else why it was given up.
update inbound_events
set fetch_due_at = null, fetch_lease_until = null, fetch_lease_token = null, fetch_error = $3
where distributor_id = get_current_distributor_id() and id = $1 and fetch_lease_token = $2 and fetch_due_at is not null
returning id;

-- name: postpone_post
update inbound_events
set fetch_due_at = $3, fetch_error = $4, fetch_lease_until = null, fetch_lease_token = null
where distributor_id = get_current_distributor_id() and id = $1 and fetch_lease_token = $2 and fetch_due_at is not null;
