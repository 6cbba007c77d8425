-- Who touched what, and who was refused: only ever added to; no run-time role can change or delete a row.

create table data_access_audit (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    actor_kind text not null check (actor_kind in ('USER', 'API_KEY', 'ENGINE', 'OPERATOR')),
    actor_id uuid,
    action text not null check (action in ('READ', 'LIST', 'EXPORT', 'CHANGE', 'ERASE', 'DECRYPT')),
    table_name text not null,
    record_id uuid,
    record_count bigint not null default 1 check (record_count >= 0),
    reason text not null default '',
    request_id uuid,
    occurred_at timestamptz not null,
    primary key (distributor_id, id)
) partition by range (id);
comment on table data_access_audit is
    '[7 Security & privacy] Who read, exported, changed or erased personal data, and why; ids and counts, never values. Coming: the privacy layer will write it, audit reports read it.';
comment on column data_access_audit.actor_kind is 'Who it was.';
comment on column data_access_audit.actor_id is 'The person''s or key''s id.';
comment on column data_access_audit.action is 'What was done.';
comment on column data_access_audit.record_id is 'The row, where it was one; no foreign key, since rows of all tables are meant.';
comment on column data_access_audit.record_count is 'How many rows.';
comment on column data_access_audit.reason is 'Why.';
comment on column data_access_audit.request_id is 'The request that did it, as in the logs.';
create index data_access_audit_record on data_access_audit (distributor_id, table_name, record_id, id desc);
call protect_tenant_table('data_access_audit', append_only => true);

create table security_audit_log (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    type text not null check (type in ('signature.refused', 'key.refused', 'database.refused', 'role.changed')),
    -- Whose door it was: a channel account, an API key, a person.
    subject_id uuid,
    detail text not null default '',
    occurrences bigint not null default 1 check (occurrences > 0),
    first_at timestamptz not null,
    occurred_at timestamptz not null,
    primary key (distributor_id, id)
) partition by range (id);
comment on table security_audit_log is
    '[7 Security & privacy] What was refused (signatures, keys, statements) and who changed a role. A flood of one kind within a moment is one row with its number.';
comment on column security_audit_log.type is 'What was refused, or that a role changed.';
comment on column security_audit_log.subject_id is 'Whose door it was: a channel account, an API key, a person. No foreign key.';
comment on column security_audit_log.occurrences is 'How many times within the moment.';
comment on column security_audit_log.first_at is 'The first of them.';
comment on column security_audit_log.occurred_at is 'The last of them.';
comment on column security_audit_log.detail is 'A code or a route; never what was sent, no secret, no expected signature.';
create index security_audit_log_type on security_audit_log (distributor_id, type, id desc);
call protect_tenant_table('security_audit_log', append_only => true);
grant select on security_audit_log to waystation_app;

-- The only way in: what was refused in this tenant. Whoever works in the application's role cannot forge that somebody
-- changed a role.
create function record_denials(denials jsonb) returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    insert into security_audit_log (distributor_id, id, type, subject_id, detail, occurrences, first_at, occurred_at)
    select get_current_distributor_id(), coalesce(d.id, new_uuid7()), d.type, d.subject_id, d.detail, coalesce(d.occurrences, 1),
        coalesce(d.first_at, clock_timestamp()), coalesce(d.occurred_at, clock_timestamp())
    from jsonb_to_recordset(denials) as d(
        id uuid, type text, subject_id uuid, detail text, occurrences bigint, first_at timestamptz, occurred_at timestamptz
    )
    where d.type in ('signature.refused', 'key.refused', 'database.refused')
    $$;
comment on function record_denials(jsonb) is
    'Writes down what was refused in this tenant: objects with type, detail and, where known, id, subject_id, occurrences, first_at, occurred_at.';
revoke execute on function record_denials(jsonb) from public;
grant execute on function record_denials(jsonb) to waystation_app;
