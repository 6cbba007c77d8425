-- What engines have to do, did, cost and failed at.

-- name: read_queue
with waiting as (
    select m.id, m.conversation_id, m.created_at
    from messages m
    where m.distributor_id = (select get_current_distributor_id()) and not m.ai_processed
)
select
    (select count(*) from waiting) as messages,
    (select count(distinct conversation_id) from waiting) as conversations,
    (
        select count(*) from conversations c
        where c.distributor_id = (select get_current_distributor_id()) and c.turn_lease_until > $1
    ) as in_progress,
    oldest.id as oldest_message_id, oldest.conversation_id as oldest_conversation_id, oldest.created_at as oldest_at
from (values (true)) as one(row)
left join lateral (select id, conversation_id, created_at from waiting order by id limit 1) oldest on true;

-- name: list_usage
-- A period is one of PostgreSQL's words: hour, day or month, of UTC. An hour that began before $2 counts as a whole.
select date_trunc($3, u.hour, 'UTC') as period, u.engine, u.model, sum(u.requests)::bigint as requests,
    sum(u.failures)::bigint as failures, sum(u.input_tokens)::bigint as input_tokens,
    sum(u.cached_tokens)::bigint as cached_tokens, sum(u.output_tokens)::bigint as output_tokens,
    sum(u.cost_micro_usd)::bigint as cost_micro_usd,
    round(sum(u.confidence_sum) / nullif(sum(u.confidence_count), 0), 3) as mean_confidence,
    round(sum(u.processing_ms) / sum(u.requests))::bigint as mean_processing_ms
from ai_usage_metrics u
where u.distributor_id = (select get_current_distributor_id()) and u.hour >= date_trunc('hour', $1::timestamptz, 'UTC') and u.hour < $2
group by 1, 2, 3
order by 1 desc, 2, 3 nulls first;

-- name: read_counted_at
select max(counted_at) from ai_usage_metrics where distributor_id = (select get_current_distributor_id());

-- name: list_errors
-- What was superseded is no failure: the burst went on, and only its bill stays.
select id, message_id, conversation_id, engine, model, error_class, processing_ms, cost_micro_usd, request_id, created_at
from ai_responses
where distributor_id = (select get_current_distributor_id()) and status = 'FAILED' and id < $1
    and error_class is distinct from 'superseded' and ($2::text is null or error_class = $2)
    and ($3::timestamptz is null or created_at >= $3)
    and ($4::timestamptz is null or created_at < $4)
order by id desc
limit $5;

-- name: count_errors
select r.error_class, count(*) as failures, max(r.created_at) as last_at
from ai_responses r
where r.distributor_id = (select get_current_distributor_id()) and r.status = 'FAILED'
    and r.error_class is distinct from 'superseded' and r.created_at >= $1 and r.created_at < $2
group by r.error_class
order by 2 desc, 1;

-- name: count_responses
select count(*) from ai_responses
where distributor_id = (select get_current_distributor_id()) and created_at >= $1 and created_at < $2;
