-- Webhook deliveries as work (ADR 14). Which endpoints have work is found without a lock; what each of them gives is decided
-- under its state row's. Locks are taken in one order: state rows by key, then deliveries, then conversations.

-- name: find_endpoints
-- Endpoints that have something due, up to $2 with first tries, from those after ($3, $4) on, and up to $2 with retries.
-- $1 now, $5 share of one endpoint, $6 shard, $7 number of shards (by tenant). An endpoint with work is `able` where it may
-- take some now; else `ready_at` says from when, or is NULL where it waits for posts that are under way.
with recursive waiting as (
    -- One step of the index for each endpoint, however much waits for it.
    (
        select d.distributor_id, d.endpoint_id
        from webhook_deliveries d
        where d.status = 'PENDING' and d.due_at < 'infinity' and (d.distributor_id, d.endpoint_id) > ($3::uuid, $4::uuid)
        order by d.distributor_id, d.endpoint_id
        limit 1
    )
    union all
    select following.distributor_id, following.endpoint_id
    from waiting e
    cross join lateral (
        select d.distributor_id, d.endpoint_id
        from webhook_deliveries d
        where d.status = 'PENDING' and d.due_at < 'infinity' and (d.distributor_id, d.endpoint_id) > (e.distributor_id, e.endpoint_id)
        order by d.distributor_id, d.endpoint_id
        limit 1
    ) following
),
first_try as materialized (
    select w.distributor_id, w.endpoint_id
    from waiting w
    where mod(hashtext(w.distributor_id::text)::bigint + 2147483648, $7) = $6
    limit $2
),
retry as materialized (
    select s.distributor_id, s.endpoint_id
    from webhook_endpoint_state s
    where s.next_due_at <= $1 and coalesce(s.ready_at, '-infinity') <= $1
        and mod(hashtext(s.distributor_id::text)::bigint + 2147483648, $7) = $6
    order by s.next_due_at
    limit $2
),
found as (
    select distributor_id, endpoint_id, bool_or(walked) as walked
    from (select *, true as walked from first_try union all select *, false from retry) f
    group by distributor_id, endpoint_id
)
select f.distributor_id, f.endpoint_id, f.walked,
    due.any_is and (not takes.it or coalesce(s.ready_at, '-infinity') <= $1) as able,
    case when due.any_is and s.ready_at > $1 then s.ready_at end as ready_at,
    s.in_flight > 0 as busy
from found f
join webhook_endpoint_state s on s.distributor_id = f.distributor_id and s.endpoint_id = f.endpoint_id
join webhook_endpoints w on w.distributor_id = f.distributor_id and w.id = f.endpoint_id
cross join lateral (select w.enabled and w.deleted_at is null as it) takes
cross join lateral (
    -- What is under lease is among the oldest: never more than the share, so that some of these are free if any are.
    select coalesce(bool_or(
        d.lease_until <= $1 or d.lease_until is null and s.in_flight < least(s.concurrency, w.max_in_flight, $5)
    ), false) or coalesce(not takes.it and count(*) > 0, false) as any_is
    from (
        (
            select d.lease_until
            from webhook_deliveries d
            where d.distributor_id = f.distributor_id and d.endpoint_id = f.endpoint_id
                and d.status = 'PENDING' and d.due_at < 'infinity' and d.due_at <= $1
            order by d.due_at
            limit 3 * $5
        )
        union all
        (
            select d.lease_until
            from webhook_deliveries d
            where s.next_due_at <= $1 and d.distributor_id = f.distributor_id and d.endpoint_id = f.endpoint_id
                and d.status = 'RETRYING' and d.due_at < 'infinity' and d.due_at <= $1
            order by d.due_at
            limit 3 * $5
        )
    ) d
) due
order by f.distributor_id, f.endpoint_id;

-- name: claim_deliveries
-- Leases up to $4 deliveries of the endpoints ($7, $8), at most $5 of one, and writes their attempts, with ids from $6, in the
-- same statement, before the posts. $1 now, $2 lease until, $3 lease token, $9 seconds that a paced endpoint may be ahead of its
-- rate. Tenants take turns, and so do the endpoints of one tenant; what is under lease counts; first tries go before retries.
-- An endpoint that somebody else decides on at the moment is passed over. What is due for one that takes nothing any more
-- (an event may have been stored while it was being disabled) is cancelled instead.
with state as materialized (
    select s.distributor_id, s.endpoint_id, s.in_flight, s.concurrency, s.breaker, s.probes, s.next_due_at,
        coalesce(s.ready_at, '-infinity') <= $1 as is_ready, greatest(s.paced_until, $1 - $9 * interval '1 second') as paced_from,
        w.enabled and w.deleted_at is null as takes, w.max_in_flight,
        1 / least(w.rate_limit_per_second, s.learned_rate) * interval '1 second' as gap
    from unnest($7::uuid[], $8::uuid[]) as wanted(distributor_id, endpoint_id)
    join webhook_endpoint_state s on s.distributor_id = wanted.distributor_id and s.endpoint_id = wanted.endpoint_id
    join webhook_endpoints w on w.distributor_id = wanted.distributor_id and w.id = wanted.endpoint_id
    order by s.distributor_id, s.endpoint_id
    for update of s skip locked
),
late as (
    select d.distributor_id, d.endpoint_id, d.event_id
    from state s
    cross join lateral (
        select d.distributor_id, d.endpoint_id, d.event_id
        from webhook_deliveries d
        where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
            and d.status in ('PENDING', 'RETRYING') and d.due_at is not null
        for update skip locked
    ) d
    where not s.takes
),
cancelled as (
    update webhook_deliveries d
    set status = 'CANCELLED', due_at = null, lease_until = null, lease_token = null, updated_at = $1
    from late
    where d.distributor_id = late.distributor_id and d.endpoint_id = late.endpoint_id and d.event_id = late.event_id
),
-- The earliest of each endpoint, whether under lease or not: a window that always holds a free one if there is any.
first_try as (
    select s.distributor_id, s.endpoint_id, d.event_id, d.due_at, d.lease_until, false as is_retry
    from state s
    cross join lateral (
        select d.event_id, d.due_at, d.lease_until
        from webhook_deliveries d
        where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
            and d.status = 'PENDING' and d.due_at < 'infinity' and d.due_at <= $1
        order by d.due_at
        limit 3 * $5
    ) d
    where s.takes and s.is_ready
),
retry as materialized (
    select s.distributor_id, s.endpoint_id, d.event_id, d.due_at, d.lease_until, true as is_retry
    from state s
    cross join lateral (
        select d.event_id, d.due_at, d.lease_until
        from webhook_deliveries d
        where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id
            and d.status = 'RETRYING' and d.due_at < 'infinity'
        order by d.due_at
        limit 3 * $5
    ) d
    where s.takes and s.is_ready and s.next_due_at <= $1
),
free as (
    select d.*, d.lease_until is not null as was_interrupted,
        row_number() over of_endpoint as rank,
        count(d.lease_until) over (partition by d.distributor_id, d.endpoint_id) as interrupted
    from (select * from first_try union all select * from retry) d
    where d.due_at <= $1 and (d.lease_until is null or d.lease_until <= $1)
    window of_endpoint as (partition by d.distributor_id, d.endpoint_id order by d.is_retry, d.due_at, d.event_id)
),
candidate as (
    select f.*, s.in_flight - f.interrupted + f.rank as place
    from free f
    join state s using (distributor_id, endpoint_id)
    -- A lease that ran out has its place under way already.
    where f.rank <= case when s.breaker = 'CLOSED' then least(s.concurrency, s.max_in_flight, $5) - s.in_flight + f.interrupted else 1 end
        and (s.gap is null or s.paced_from + (f.rank - 1) * s.gap <= $1)
),
in_line as (
    select c.*, tenant.held + row_number() over (partition by c.distributor_id order by c.place, c.is_retry, c.due_at) as turn
    from candidate c
    join (select distributor_id, sum(in_flight) as held from state group by distributor_id) tenant using (distributor_id)
    order by turn, c.is_retry, c.due_at
    limit 2 * $4
),
chosen as (
    select d.distributor_id, d.endpoint_id, d.event_id, in_line.was_interrupted, in_line.is_retry
    from in_line
    -- One by one in that order, each looked at again under its lock, until there are enough. The coalesce keeps the
    -- planner off the indexes of what is due, which old statistics make look small: the key finds one row.
    cross join lateral (
        select d.distributor_id, d.endpoint_id, d.event_id
        from webhook_deliveries d
        where d.distributor_id = in_line.distributor_id and d.endpoint_id = in_line.endpoint_id
            and d.event_id = in_line.event_id
            and coalesce(d.due_at, 'infinity') <= $1 and (d.lease_until is null or d.lease_until <= $1)
        for update skip locked
    ) d
    limit $4
),
due as materialized (
    select chosen.*, row_number() over () as line from chosen
),
claimed as (
    update webhook_deliveries d
    set lease_until = $2, lease_token = $3, attempt_count = d.attempt_count + 1, updated_at = $1
    from due
    where d.distributor_id = due.distributor_id and d.endpoint_id = due.endpoint_id and d.event_id = due.event_id
    returning d.distributor_id, d.endpoint_id, d.event_id, d.attempt_count, d.schedule_position, d.lease_token, d.trigger,
        d.ordering_key, ($6::uuid[])[due.line] as attempt_id, due.was_interrupted
),
attempt as (
    insert into webhook_delivery_attempts (distributor_id, id, endpoint_id, event_id, number, started_at, trigger, probe)
    select c.distributor_id, c.attempt_id, c.endpoint_id, c.event_id, c.attempt_count, $1, c.trigger, s.breaker <> 'CLOSED'
    from claimed c
    join state s using (distributor_id, endpoint_id)
),
taken as (
    select s.distributor_id, s.endpoint_id, count(due.event_id) as deliveries,
        count(*) filter (where not due.was_interrupted) as fresh
    from state s
    left join due using (distributor_id, endpoint_id)
    group by s.distributor_id, s.endpoint_id
),
-- When to look for retries again: what is under lease, when the lease ends.
later as (
    select r.distributor_id, r.endpoint_id,
        min(case when due.event_id is not null then $2 else greatest(r.due_at, r.lease_until) end) as due_at
    from retry r
    left join due using (distributor_id, endpoint_id, event_id)
    group by r.distributor_id, r.endpoint_id
),
decided as (
    update webhook_endpoint_state s
    set in_flight = case when state.takes then s.in_flight + taken.fresh else 0 end,
        next_due_at = case
            when not state.takes then null
            when state.is_ready and state.next_due_at <= $1 then later.due_at
            else s.next_due_at
        end,
        paced_until = case when state.gap is not null and taken.deliveries > 0 then state.paced_from + taken.deliveries * state.gap
            else s.paced_until end,
        breaker = case when s.breaker <> 'CLOSED' and taken.deliveries > 0 then 'HALF_OPEN' else s.breaker end,
        -- Should the probe's worker end with it, another may be made then.
        breaker_until = case when s.breaker <> 'CLOSED' and taken.deliveries > 0 then $2 else s.breaker_until end,
        updated_at = $1
    from state
    join taken using (distributor_id, endpoint_id)
    left join later using (distributor_id, endpoint_id)
    where s.distributor_id = state.distributor_id and s.endpoint_id = state.endpoint_id
)
select c.distributor_id, c.endpoint_id, c.event_id, c.attempt_id, c.attempt_count as number, c.trigger, c.schedule_position,
    c.lease_token, c.ordering_key, case when s.breaker <> 'CLOSED' then s.probes end as probes,
    e.body::text as body, w.payload, w.url, w.signing, w.secrets_sealed, w.headers_sealed, w.auth_sealed,
    -- How many attempts in a row, up to this one, ended with their workers.
    case when c.was_interrupted then (
        select count(*)
        from webhook_delivery_attempts a
        where a.distributor_id = c.distributor_id and a.endpoint_id = c.endpoint_id and a.event_id = c.event_id
            and a.number > coalesce((
                select max(ended.number)
                from webhook_delivery_attempts ended
                where ended.distributor_id = c.distributor_id and ended.endpoint_id = c.endpoint_id
                    and ended.event_id = c.event_id and ended.outcome <> 'unknown'
            ), 0)
    ) else 0 end as interruptions
from claimed c
join state s using (distributor_id, endpoint_id)
join webhook_events e on e.distributor_id = c.distributor_id and e.id = c.event_id
join webhook_endpoints w on w.distributor_id = c.distributor_id and w.id = c.endpoint_id;

-- name: settle_deliveries
-- Finishes attempts ($1), moves their deliveries on, and folds what the endpoints did into their states ($2, one row per
-- endpoint; $3 the policy): all of it or nothing. A lease that another worker took over settles its attempt only. Where an
-- answer disables the endpoint, the delivery moves on with it (settle_delivery), or not yet. Gives back how each endpoint does.
with result as materialized (
    select *
    from jsonb_to_recordset($1::jsonb) as r(
        distributor_id uuid, endpoint_id uuid, event_id uuid, attempt_id uuid, lease_token uuid, finished_at timestamptz,
        outcome text, status_code int, error_class text, duration_ms int, response_excerpt text, evidence jsonb,
        status text, due_at timestamptz, schedule_position int, disables boolean
    )
),
fact as materialized (
    select *
    from jsonb_to_recordset($2::jsonb) as f(
        distributor_id uuid, endpoint_id uuid, successes int, succeeded_at timestamptz, failures int, failed_ids uuid[],
        last_failed_id uuid, failing_from timestamptz, probe_failed boolean, throttled_from timestamptz, rate_limited boolean,
        blocked_until timestamptz, next_due_at timestamptz, finished_at timestamptz
    )
),
policy as materialized (
    select *
    from jsonb_to_record($3::jsonb) as p(
        breaker_failures int, breaker_pause double precision, longest_pause double precision, concurrency int,
        throttle_pause double precision, rate_cut numeric, lowest_rate numeric, highest_rate numeric, rate_growth double precision
    )
),
state as materialized (
    select s.*
    from fact f
    join webhook_endpoint_state s on s.distributor_id = f.distributor_id and s.endpoint_id = f.endpoint_id
    order by s.distributor_id, s.endpoint_id
    for update of s
),
attempt as (
    update webhook_delivery_attempts a
    set outcome = r.outcome, status_code = r.status_code, error_class = r.error_class, duration_ms = r.duration_ms,
        response_excerpt = r.response_excerpt, evidence = r.evidence, next_attempt_at = r.due_at
    from result r
    where a.distributor_id = r.distributor_id and a.endpoint_id = r.endpoint_id and a.event_id = r.event_id
        and a.id = r.attempt_id
),
moved as (
    update webhook_deliveries d
    set status = r.status, due_at = r.due_at, schedule_position = r.schedule_position, lease_until = null, lease_token = null,
        updated_at = r.finished_at
    from result r
    join state s using (distributor_id, endpoint_id)
    where d.distributor_id = r.distributor_id and d.endpoint_id = r.endpoint_id and d.event_id = r.event_id
        -- Whatever was decided while the post was under way (cancelled, asked for again) took this token away, and stands.
        and d.lease_token = r.lease_token and not r.disables
    returning d.distributor_id, d.endpoint_id, d.ordering_key, d.due_at
),
released as (
    select distributor_id, endpoint_id, count(*) as deliveries,
        array_agg(distinct ordering_key) filter (where ordering_key is not null and due_at is null) as ended
    from moved
    group by distributor_id, endpoint_id
),
ordered as materialized (
    select release_heads(r.distributor_id, r.endpoint_id, r.ended, f.finished_at)
    from released r
    join fact f using (distributor_id, endpoint_id)
    where r.ended is not null
),
seen as (
    select s.distributor_id, s.endpoint_id,
        case when f.succeeded_at is null then s.consecutive_failures else 0 end + cardinality(f.failed_ids)
            - coalesce(f.succeeded_at is null and s.last_failed_event_id = any (f.failed_ids), false)::int as failures_in_a_row,
        f.throttled_from is not null
            and (s.throttled_at is null or f.throttled_from >= s.throttled_at + p.throttle_pause * interval '1 second') as slows_down,
        f.successes + case when s.rate_second = second.this then s.rate_count else 0 end as rate_count,
        case when s.rate_second = second.this then s.rate_previous
            when s.rate_second = second.this - interval '1 second' then s.rate_count else 0 end as rate_previous,
        second.this as second
    from state s
    join fact f using (distributor_id, endpoint_id)
    cross join policy p
    cross join lateral (select date_trunc('second', f.finished_at, 'UTC') as this) second
),
turned as (
    select v.*,
        case
            when s.breaker <> 'CLOSED' and f.succeeded_at is not null then 'closes'
            when s.breaker = 'CLOSED' and cardinality(f.failed_ids) > 0 and v.failures_in_a_row >= p.breaker_failures then 'opens'
            when s.breaker <> 'CLOSED' and f.probe_failed then 'stays open'
            else ''
        end as breaker
    from seen v
    join state s using (distributor_id, endpoint_id)
    join fact f using (distributor_id, endpoint_id)
    cross join policy p
)
update webhook_endpoint_state s
set in_flight = greatest(s.in_flight - coalesce(r.deliveries, 0), 0),
    next_due_at = least(s.next_due_at, f.next_due_at),
    blocked_until = greatest(s.blocked_until, f.blocked_until),
    consecutive_failures = t.failures_in_a_row,
    failed_attempts = case when f.succeeded_at is null then s.failed_attempts else 0 end + f.failures,
    failing_since = case
        when f.succeeded_at is null then coalesce(s.failing_since, f.failing_from)
        else f.failing_from
    end,
    last_failed_event_id = coalesce(f.last_failed_id, case when f.succeeded_at is null then s.last_failed_event_id end),
    last_success_at = greatest(s.last_success_at, f.succeeded_at),
    warned_percent = case when f.succeeded_at is null then s.warned_percent else 0 end,
    breaker = case t.breaker when 'closes' then 'CLOSED' when 'opens' then 'OPEN' when 'stays open' then 'OPEN' else s.breaker end,
    breaker_until = case t.breaker
        when 'closes' then null
        when 'opens' then f.finished_at + p.breaker_pause * interval '1 second'
        when 'stays open' then f.finished_at
            + least(p.breaker_pause * 2 ^ least(s.probes + 1, 30), p.longest_pause) * interval '1 second'
        else s.breaker_until
    end,
    probes = case t.breaker when 'closes' then 0 when 'opens' then 0 when 'stays open' then s.probes + 1 else s.probes end,
    concurrency = case
        when t.breaker = 'closes' then 1
        when t.slows_down then greatest(s.concurrency / 2, 1)
        when f.successes > 0 then least(s.concurrency + 1, p.concurrency)
        else s.concurrency
    end,
    throttled_at = case when t.slows_down then f.finished_at else s.throttled_at end,
    rate_second = t.second, rate_count = t.rate_count, rate_previous = t.rate_previous,
    learned_rate = case
        when t.slows_down and f.rate_limited then greatest(
            p.rate_cut * least(coalesce(s.learned_rate, p.highest_rate), greatest(t.rate_previous, t.rate_count)), p.lowest_rate
        )
        when s.learned_rate is null or f.successes = 0 then s.learned_rate
        when s.learned_rate >= p.highest_rate then null
        -- Once for each second that passed.
        else least(p.highest_rate, s.learned_rate * (p.rate_growth ^ least(
            greatest(extract(epoch from t.second - coalesce(s.rate_second, t.second))::double precision, 0), 60
        ))::numeric)
    end,
    updated_at = f.finished_at
from fact f
cross join policy p
join turned t using (distributor_id, endpoint_id)
join state before using (distributor_id, endpoint_id)
left join released r using (distributor_id, endpoint_id)
where s.distributor_id = f.distributor_id and s.endpoint_id = f.endpoint_id
    -- Read, so that it is run.
    and (select count(*) from ordered) >= 0
returning s.distributor_id, s.endpoint_id, t.breaker, before.failing_since as was_failing_since, s.failing_since, s.failed_attempts,
    s.warned_percent;

-- name: settle_delivery
-- One of those whose answer disables the endpoint, in the tenant's transaction that does so, or finds that it does not.
with state as materialized (
    select s.distributor_id, s.endpoint_id
    from webhook_endpoint_state s
    where s.distributor_id = (select get_current_distributor_id()) and s.endpoint_id = $1
    for update
),
moved as (
    update webhook_deliveries d
    set status = $4, due_at = $5, schedule_position = $6, lease_until = null, lease_token = null, updated_at = $7
    from state s
    where d.distributor_id = s.distributor_id and d.endpoint_id = s.endpoint_id and d.event_id = $2 and d.lease_token = $3
    returning d.distributor_id, d.endpoint_id, d.due_at
)
update webhook_endpoint_state s
set in_flight = greatest(s.in_flight - 1, 0), next_due_at = least(s.next_due_at, moved.due_at), updated_at = $7
from moved
where s.distributor_id = moved.distributor_id and s.endpoint_id = moved.endpoint_id;

-- name: give_back_attempts
-- What failed in an outage ($3 its beginning) that is over now goes again at once, as first tries in their old order, and its
-- last attempt has cost it nothing.
update webhook_deliveries d
set status = 'PENDING', due_at = d.created_at, schedule_position = greatest(d.schedule_position - 1, 0), updated_at = $4
where d.distributor_id = $1 and d.endpoint_id = $2 and d.status = 'RETRYING' and d.due_at < 'infinity' and d.updated_at >= $3
    and d.lease_token is null;

-- name: warn_endpoint
-- Whether this warning is due: each is given once in a row of failures, by whoever comes first.
update webhook_endpoint_state s
set warned_percent = $2, updated_at = $3
where s.distributor_id = (select get_current_distributor_id()) and s.endpoint_id = $1 and s.warned_percent < $2
    and s.failing_since is not null
returning s.failing_since, s.failed_attempts, s.consecutive_failures;
