-- What an engine made of a burst.

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
    foreign key (distributor_id, message_id) references messages (distributor_id, id) on delete cascade,
    foreign key (distributor_id, conversation_id) references conversations (distributor_id, id) on delete cascade
);
comment on table ai_responses is 'The result of one turn, kept at the last message of its burst; a failed call is a row with its error class.';
create index ai_responses_conversation on ai_responses (distributor_id, conversation_id, id desc);
call protect_tenant_table('ai_responses');
grant select, insert on ai_responses to waystation_app;
grant update (status, engine, engine_version, model, intent, language, confidence, extracted_data, error_class, input_tokens, cached_tokens, output_tokens, cost_micro_usd, request_id, processing_ms, created_at)
    on ai_responses to waystation_app;
