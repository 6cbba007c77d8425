-- What engines made of bursts, what it cost, what it may cost, and what is learnt from it.

create table ai_responses (
    distributor_id uuid not null,
    id uuid not null,
    message_id uuid not null,
    conversation_id uuid not null,
    status text not null check (status in ('COMPLETED', 'FAILED')),
    engine text not null,
    engine_version text not null,
    model text,
    intent text,
    language text,
    confidence numeric(4, 3),
    extracted_data jsonb not null default '{}',
    error_class text,
    input_tokens int not null default 0,
    cached_tokens int not null default 0,
    output_tokens int not null default 0,
    cost_micro_usd bigint not null default 0,
    request_id text,
    processing_ms int not null,
    created_at timestamptz not null,
    primary key (distributor_id, id),
    -- One current row per message: a retry replaces it, so that a join never doubles a message.
    unique (distributor_id, message_id),
    foreign key (distributor_id, conversation_id) references conversations (distributor_id, id) on delete cascade
);
comment on table ai_responses is
    '[6 AI] The result of one turn, kept at the last message of its burst; a failed call is a row with its error class. Messages are partitioned, so message_id is no foreign key.';
comment on column ai_responses.message_id is 'The last message of the burst; no foreign key, since messages are partitioned.';
comment on column ai_responses.status is 'FAILED: the engine gave no usable answer, see error_class.';
comment on column ai_responses.engine_version is 'What was in force, also why a model was not heard.';
comment on column ai_responses.intent is 'What the customer wants.';
comment on column ai_responses.language is 'The language that was recognised.';
comment on column ai_responses.confidence is 'How sure the engine is of the whole; NULL for a failed call.';
comment on column ai_responses.extracted_data is 'What was understood: lines, words that fit nothing, delivery day.';
comment on column ai_responses.request_id is 'The model server''s id of the call.';
create index ai_responses_conversation on ai_responses (distributor_id, conversation_id, id desc);
create index ai_responses_failed on ai_responses (distributor_id, id desc) where status = 'FAILED';
create index ai_responses_time on ai_responses (distributor_id, created_at);
call protect_tenant_table('ai_responses');
grant select, insert on ai_responses to waystation_app;
grant update (status, engine, engine_version, model, intent, language, confidence, extracted_data, error_class, input_tokens, cached_tokens, output_tokens, cost_micro_usd, request_id, processing_ms, created_at)
    on ai_responses to waystation_app;

create table ai_usage_metrics (
    distributor_id uuid not null references distributors (id) on delete cascade,
    hour timestamptz not null check (hour = date_trunc('hour', hour, 'UTC')),
    engine text not null,
    -- NULL: no model was asked.
    model text,
    requests bigint not null,
    failures bigint not null,
    input_tokens bigint not null,
    cached_tokens bigint not null,
    output_tokens bigint not null,
    cost_micro_usd bigint not null,
    processing_ms bigint not null,
    confidence_sum numeric(20, 3) not null,
    confidence_count bigint not null,
    counted_at timestamptz not null,
    unique nulls not distinct (distributor_id, hour, engine, model)
);
comment on table ai_usage_metrics is
    '[6 AI] Calls by hour, engine and model, as sums and counts (never averages): always a recount of ai_responses.';
comment on column ai_usage_metrics.hour is 'Beginning of the hour, UTC.';
comment on column ai_usage_metrics.requests is 'Calls in the hour.';
comment on column ai_usage_metrics.failures is 'Of these, those that FAILED.';
comment on column ai_usage_metrics.processing_ms is 'Sum; divided by requests it is the mean.';
comment on column ai_usage_metrics.confidence_sum is 'Sum of the confidences that were given.';
comment on column ai_usage_metrics.confidence_count is 'How many were given: failed calls have none.';
call protect_tenant_table('ai_usage_metrics');
grant select, insert, delete on ai_usage_metrics to waystation_app;

create table ai_budgets (
    distributor_id uuid not null references distributors (id) on delete cascade,
    period date not null check (extract(day from period) = 1),
    limit_micro_usd bigint not null check (limit_micro_usd >= 0),
    reserved_micro_usd bigint not null default 0 check (reserved_micro_usd >= 0),
    spent_micro_usd bigint not null default 0 check (spent_micro_usd >= 0),
    alert_percents int[] not null default '{75,90,100}',
    alerted_percents int[] not null default '{}',
    updated_at timestamptz not null,
    primary key (distributor_id, period),
    check (alerted_percents <@ alert_percents)
);
comment on table ai_budgets is
    '[6 AI] What models may cost in a month: reserved before a call, settled after it, each threshold told once. Coming: the budget of engines will write and read it.';
comment on column ai_budgets.period is 'First day of the month.';
comment on column ai_budgets.limit_micro_usd is 'What the month may cost.';
comment on column ai_budgets.reserved_micro_usd is 'Held for calls that are under way.';
comment on column ai_budgets.spent_micro_usd is 'Settled from the ledger.';
comment on column ai_budgets.alert_percents is 'Thresholds that are told once each.';
comment on column ai_budgets.alerted_percents is 'Those that were told in this period.';
call protect_tenant_table('ai_budgets');

create table ai_training_data (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    ai_response_id uuid,
    input_masked text not null,
    expected jsonb not null,
    source text not null check (source in ('CORRECTION', 'FEEDBACK', 'MANUAL')),
    quality smallint not null check (quality between 1 and 5),
    batch text,
    created_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id, ai_response_id) references ai_responses (distributor_id, id) on delete set null (ai_response_id)
);
comment on table ai_training_data is
    '[6 AI] Examples with what should have been understood, personal data masked, for this tenant only. Coming: feedback and corrections will write it, evaluation read it.';
comment on column ai_training_data.input_masked is 'The customer''s words without personal data.';
comment on column ai_training_data.expected is 'What should have been understood.';
comment on column ai_training_data.source is 'Where the example comes from.';
comment on column ai_training_data.quality is 'From 1 (poor) to 5.';
comment on column ai_training_data.batch is 'The batch in which it was used.';
create index ai_training_data_response on ai_training_data (distributor_id, ai_response_id);
call protect_tenant_table('ai_training_data');
