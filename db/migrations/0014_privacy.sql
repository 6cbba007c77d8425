-- Personal data: how it is recognised, where it was found, how long it is kept, what people asked for, and tenants' keys.

create table pii_detection_rules (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    name text not null check (name <> ''),
    pii_type text not null check (pii_type in ('EMAIL', 'PHONE', 'ADDRESS', 'NAME', 'GOVERNMENT_ID', 'CARD', 'BANK_ACCOUNT', 'OTHER')),
    pattern text not null,
    sensitivity text not null check (sensitivity in ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    active boolean not null default true,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id)
);
comment on table pii_detection_rules is
    '[7 Security & privacy] What a tenant recognises as personal beside what the code does, by a pattern that runs in linear time. Coming: masking before a model is asked will read it.';
comment on column pii_detection_rules.pattern is 'What is recognised; checked when saved, runs in linear time.';
comment on column pii_detection_rules.sensitivity is 'How bad a leak would be.';
create unique index pii_detection_rules_name on pii_detection_rules (distributor_id, lower(name));
call protect_tenant_table('pii_detection_rules');

create table pii_detection_results (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    table_name text not null,
    record_id uuid not null,
    field_name text not null,
    pii_type text not null,
    -- NULL: found by what the code recognises, so a finding goes with its rule.
    rule_id uuid,
    span_start int not null check (span_start >= 0),
    span_end int not null,
    value_hash bytea not null,
    confidence numeric(4, 3) not null check (confidence between 0 and 1),
    review text not null default 'OPEN' check (review in ('OPEN', 'CONFIRMED', 'FALSE_POSITIVE')),
    reviewed_by uuid,
    created_at timestamptz not null,
    primary key (distributor_id, id),
    check (span_end > span_start),
    unique nulls not distinct (distributor_id, record_id, field_name, rule_id, span_start),
    foreign key (distributor_id, rule_id) references pii_detection_rules (distributor_id, id) on delete cascade,
    foreign key (distributor_id, reviewed_by) references user_profiles (distributor_id, id) on delete set null (reviewed_by)
);
comment on table pii_detection_results is
    '[7 Security & privacy] Where personal data was found: span and keyed hash, never the value. record_id names rows of several tables, so it is no foreign key. Coming: detection will write it, its review read it.';
comment on column pii_detection_results.record_id is 'The row in which it was found; no foreign key, since rows of several tables are meant.';
comment on column pii_detection_results.field_name is 'The column in which it was found.';
comment on column pii_detection_results.span_start is 'First character, from 0.';
comment on column pii_detection_results.span_end is 'Behind the last character.';
comment on column pii_detection_results.value_hash is 'Keyed hash, so that the same value is known again without being stored.';
comment on column pii_detection_results.review is 'What a person said of it.';
create index pii_detection_results_rule on pii_detection_results (distributor_id, rule_id);
create index pii_detection_results_reviewer on pii_detection_results (distributor_id, reviewed_by);
call protect_tenant_table('pii_detection_results');

create table data_retention_policies (
    distributor_id uuid not null references distributors (id) on delete cascade,
    data_class text not null check (data_class in ('MESSAGES', 'AI_RESPONSES', 'ATTACHMENTS', 'ORDERS')),
    keep_days int not null check (keep_days > 0),
    action text not null check (action in ('DELETE', 'ANONYMISE')),
    legal_basis text not null default '',
    last_run_at timestamptz,
    last_run_rows bigint,
    updated_at timestamptz not null,
    primary key (distributor_id, data_class)
);
comment on table data_retention_policies is
    '[7 Security & privacy] How long a tenant keeps a class of data, shorter than the platform does. Coming: the nightly eraser will read it and note its runs.';
comment on column data_retention_policies.data_class is 'What is meant; handled in code, so no free table names.';
comment on column data_retention_policies.keep_days is 'How long it is kept.';
comment on column data_retention_policies.action is 'What happens afterwards.';
comment on column data_retention_policies.legal_basis is 'Why it may be kept so long.';
comment on column data_retention_policies.last_run_at is 'When it was last carried out.';
comment on column data_retention_policies.last_run_rows is 'How many rows that touched.';
call protect_tenant_table('data_retention_policies');

create table data_subject_requests (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    customer_id uuid,
    kind text not null check (kind in ('ACCESS', 'PORTABILITY', 'ERASURE', 'RECTIFICATION', 'RESTRICTION', 'OBJECTION')),
    status text not null default 'RECEIVED' check (status in ('RECEIVED', 'VERIFIED', 'RUNNING', 'DONE', 'REFUSED')),
    identity_proof text,
    received_at timestamptz not null,
    due_at timestamptz not null,
    extended_until timestamptz,
    decision_reason text,
    evidence_hash bytea,
    closed_at timestamptz,
    primary key (distributor_id, id),
    check ((status in ('DONE', 'REFUSED')) = (closed_at is not null)),
    foreign key (distributor_id, customer_id) references customers (distributor_id, id) on delete set null (customer_id)
);
comment on table data_subject_requests is
    '[7 Security & privacy] What a person asked for under data protection law, by when it is due, how it ended. Coming: the API for privacy will write and read it.';
comment on column data_subject_requests.kind is 'Which right is used.';
comment on column data_subject_requests.status is 'How far it is.';
comment on column data_subject_requests.identity_proof is 'How it was made sure that it is the person.';
comment on column data_subject_requests.received_at is 'When it was asked for; the time limit runs from here.';
comment on column data_subject_requests.due_at is 'By when it must be answered.';
comment on column data_subject_requests.extended_until is 'The later limit, where the law allows one.';
comment on column data_subject_requests.decision_reason is 'Why it was refused or limited.';
comment on column data_subject_requests.evidence_hash is 'Of the record of what was done.';
create index data_subject_requests_customer on data_subject_requests (distributor_id, customer_id);
create index data_subject_requests_due on data_subject_requests (distributor_id, due_at) where closed_at is null;
call protect_tenant_table('data_subject_requests');

create table encryption_keys (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    purpose text not null check (purpose in ('CONTENT', 'CONTACTS', 'CREDENTIALS')),
    wrapped_key bytea not null,
    master_key_id text not null,
    status text not null default 'ACTIVE' check (status in ('ACTIVE', 'RETIRED', 'DESTROYED')),
    created_at timestamptz not null,
    retired_at timestamptz,
    primary key (distributor_id, id),
    check ((status = 'ACTIVE') = (retired_at is null))
);
comment on table encryption_keys is
    '[7 Security & privacy] A tenant''s data keys, each wrapped by a master key that lies elsewhere; destroying one makes what it sealed unreadable. Coming: sealing per tenant will write and read it.';
comment on column encryption_keys.purpose is 'What it seals; one ACTIVE key for each.';
comment on column encryption_keys.wrapped_key is 'The data key, sealed by the master key.';
comment on column encryption_keys.master_key_id is 'Which master key opens it.';
comment on column encryption_keys.status is 'DESTROYED: what it sealed cannot be read any more.';
comment on column encryption_keys.retired_at is 'When it stopped sealing.';
create unique index encryption_keys_active on encryption_keys (distributor_id, purpose) where status = 'ACTIVE';
call protect_tenant_table('encryption_keys');
