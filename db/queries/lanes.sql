-- Work that is due: claimed in batches, fair over tenants or endpoints, nothing locked while it is done.
-- Parameters everywhere: $1 now, $2 lease until, $3 lease token, $4 batch, $5 share of one tenant or endpoint (what it
-- has under lease counts), $6 shard, $7 number of shards (by tenant). Of the candidates each tenant's (or endpoint's)
-- oldest comes first, then each one's second, and so on: a backlog waits for itself only. Which tenants (or endpoints) have
-- anything due is read off the index of what is due, one step for each of them: those without work cost nothing.

-- name: claim_turns
-- (select $1) keeps the moment from the planner; see claim_deliveries.
with recursive waiting as (
    (select c.distributor_id as id from conversations c where c.turn_due_at <= (select $1::timestamptz) order by c.distributor_id limit 1)
    union all
    select following.id
    from waiting d
    cross join lateral (
        select c.distributor_id as id
        from conversations c
        where c.turn_due_at <= (select $1::timestamptz) and c.distributor_id > d.id
        order by c.distributor_id
        limit 1
    ) following
),
due as (
    select c.distributor_id, c.id
    from waiting d
    cross join lateral (
        select count(*) as held from conversations h where h.distributor_id = d.id and h.turn_lease_until > $1
    ) busy
    cross join lateral (
        select c.distributor_id, c.id, c.turn_due_at
        from conversations c
        where c.distributor_id = d.id and c.turn_due_at <= $1
            and (c.turn_lease_until is null or c.turn_lease_until <= $1)
        order by c.turn_due_at
        limit greatest($5 - busy.held, 0)
        for update skip locked
    ) c
    where mod(hashtext(d.id::text)::bigint + 2147483648, $7) = $6
    order by busy.held + row_number() over (partition by d.id order by c.turn_due_at), c.turn_due_at
    limit $4
)
update conversations c
set turn_lease_until = $2, turn_lease_token = $3, turn_attempts = c.turn_attempts + 1
from due
where c.distributor_id = due.distributor_id and c.id = due.id
returning c.distributor_id, c.id as conversation_id, c.turn_generation as generation, c.turn_attempts as attempts,
    c.turn_lease_token as lease_token;

-- name: claim_sends
-- An account that is throttled ($1), or whose next place is later than $8, costs one look however long its line is. $9 holds the
-- providers' usual rates: of an account not many more are claimed than it has places for; start_send is the gate. Bulk
-- (send_priority 10) stands in line as if it had become due ten minutes later than it did.
with recursive waiting as (
    (select m.distributor_id as id from messages m where m.send_due_at <= (select $1::timestamptz) order by m.distributor_id limit 1)
    union all
    select following.id
    from waiting d
    cross join lateral (
        select m.distributor_id as id
        from messages m
        where m.send_due_at <= (select $1::timestamptz) and m.distributor_id > d.id
        order by m.distributor_id
        limit 1
    ) following
),
due as (
    select m.distributor_id, m.id
    from waiting d
    cross join lateral (
        select count(*) as held from messages h where h.distributor_id = d.id and h.send_lease_until > $1
    ) busy
    cross join lateral (
        select m.distributor_id, m.id, m.line
        from (
            select a.id, greatest(1, 1 + floor(
                extract(epoch from $8 - greatest(a.next_send_at, $1))
                * least(a.send_rate, coalesce((a.settings ->> 'rate_per_second')::float8, ($9::jsonb ->> (a.provider || ' ' || a.channel))::float8, 100))
            ))::bigint as places
            from channel_accounts a
            where a.distributor_id = d.id
                and (a.throttled_until is null or a.throttled_until <= $1) and (a.next_send_at is null or a.next_send_at <= $8)
        ) open
        cross join (values (0::smallint, interval '0'), (10::smallint, interval '10 minutes')) as class(priority, handicap)
        cross join lateral (
            select m.distributor_id, m.id, m.send_due_at + class.handicap as line
            from messages m
            where m.distributor_id = d.id and m.channel_account_id = open.id and m.send_priority = class.priority
                and m.send_due_at <= $1 and (m.send_lease_until is null or m.send_lease_until <= $1)
                -- One conversation's messages leave in the order in which they were written.
                and not exists (
                    select from messages older
                    where older.distributor_id = m.distributor_id and older.conversation_id = m.conversation_id
                        and older.send_due_at is not null and older.id < m.id
                )
            order by m.send_due_at
            limit least(open.places, greatest($5 - busy.held, 0))
            for update skip locked
        ) m
        order by m.line
        limit greatest($5 - busy.held, 0)
    ) m
    where mod(hashtext(d.id::text)::bigint + 2147483648, $7) = $6
    order by busy.held + row_number() over (partition by d.id order by m.line), m.line
    limit $4
)
update messages m
set send_lease_until = $2, send_lease_token = $3, send_attempts = m.send_attempts + 1
from due
where m.distributor_id = due.distributor_id and m.id = due.id
returning m.distributor_id, m.id as message_id, m.send_attempts as attempts, m.send_lease_token as lease_token;

-- name: claim_media
-- Files that are to be fetched.
with recursive waiting as (
    (select f.distributor_id as id from attachments f where f.fetch_due_at <= (select $1::timestamptz) order by f.distributor_id limit 1)
    union all
    select following.id
    from waiting d
    cross join lateral (
        select f.distributor_id as id
        from attachments f
        where f.fetch_due_at <= (select $1::timestamptz) and f.distributor_id > d.id
        order by f.distributor_id
        limit 1
    ) following
),
due as (
    select f.distributor_id, f.id
    from waiting d
    cross join lateral (
        select count(*) as held from attachments h where h.distributor_id = d.id and h.fetch_lease_until > $1
    ) busy
    cross join lateral (
        select f.distributor_id, f.id, f.fetch_due_at
        from attachments f
        where f.distributor_id = d.id and f.fetch_due_at <= $1
            and (f.fetch_lease_until is null or f.fetch_lease_until <= $1)
        order by f.fetch_due_at
        limit greatest($5 - busy.held, 0)
        for update skip locked
    ) f
    where mod(hashtext(d.id::text)::bigint + 2147483648, $7) = $6
    order by busy.held + row_number() over (partition by d.id order by f.fetch_due_at), f.fetch_due_at
    limit $4
)
update attachments f
set fetch_lease_until = $2, fetch_lease_token = $3, fetch_attempts = f.fetch_attempts + 1
from due
where f.distributor_id = due.distributor_id and f.id = due.id
returning f.distributor_id, f.id as attachment_id, f.fetch_attempts as attempts, f.fetch_lease_token as lease_token;

-- name: claim_deferred
-- Posts that only told of something to ask for. $8 is the id below which nobody looks any more: there is a partition a day,
-- and those of long ago need not be opened at every poll.
with recursive waiting as (
    (select e.distributor_id as id from inbound_events e where e.fetch_due_at <= (select $1::timestamptz) and e.id >= $8 order by e.distributor_id limit 1)
    union all
    select following.id
    from waiting d
    cross join lateral (
        select e.distributor_id as id
        from inbound_events e
        where e.fetch_due_at <= (select $1::timestamptz) and e.distributor_id > d.id and e.id >= $8
        order by e.distributor_id
        limit 1
    ) following
),
due as (
    select e.distributor_id, e.id
    from waiting d
    cross join lateral (
        select count(*) as held from inbound_events h where h.distributor_id = d.id and h.fetch_lease_until > $1 and h.id >= $8
    ) busy
    cross join lateral (
        select e.distributor_id, e.id, e.fetch_due_at
        from inbound_events e
        where e.distributor_id = d.id and e.fetch_due_at <= $1 and e.id >= $8
            and (e.fetch_lease_until is null or e.fetch_lease_until <= $1)
        order by e.fetch_due_at
        limit greatest($5 - busy.held, 0)
        for update skip locked
    ) e
    where mod(hashtext(d.id::text)::bigint + 2147483648, $7) = $6
    order by busy.held + row_number() over (partition by d.id order by e.fetch_due_at), e.fetch_due_at
    limit $4
)
update inbound_events e
set fetch_lease_until = $2, fetch_lease_token = $3, fetch_attempts = e.fetch_attempts + 1
from due
where e.distributor_id = due.distributor_id and e.id = due.id and e.id >= $8
returning e.distributor_id, e.id as event_id, e.fetch_attempts as attempts, e.fetch_lease_token as lease_token;

-- name: claim_deliveries
-- Writes the attempt in the same statement, before the post; $8 gives ids for the attempts. Tenants take turns, and so
-- do the endpoints of one tenant; what is under lease counts. Nothing is locked before it is chosen, and twice the batch
-- is looked at, so that two workers at once both find work. What is due for an endpoint that takes nothing any more (an
-- event may have been stored while it was being disabled) is cancelled instead.
with recursive waiting as (
    -- (select $1) keeps the moment from the planner. With statistics from before a burst it would think that nothing is
    -- due, and sort all that is at every step: 1.2 s instead of 25 ms for 1,000 endpoints with ten each.
    (
        select d.distributor_id, d.endpoint_id
        from webhook_deliveries d
        where d.due_at <= (select $1::timestamptz)
        order by d.distributor_id, d.endpoint_id
        limit 1
    )
    union all
    select following.distributor_id, following.endpoint_id
    from waiting e
    cross join lateral (
        select d.distributor_id, d.endpoint_id
        from webhook_deliveries d
        where d.due_at <= (select $1::timestamptz) and (d.distributor_id, d.endpoint_id) > (e.distributor_id, e.endpoint_id)
        order by d.distributor_id, d.endpoint_id
        limit 1
    ) following
),
endpoint as (
    select w.distributor_id, w.id, w.enabled and w.deleted_at is null as takes
    from waiting e
    cross join lateral (
        select w.* from webhook_endpoints w where w.distributor_id = e.distributor_id and w.id = e.endpoint_id limit 1
    ) w
    where mod(hashtext(e.distributor_id::text)::bigint + 2147483648, $7) = $6
),
late as (
    select d.distributor_id, d.endpoint_id, d.event_id
    from endpoint w
    cross join lateral (
        select d.distributor_id, d.endpoint_id, d.event_id
        from webhook_deliveries d
        where d.distributor_id = w.distributor_id and d.endpoint_id = w.id and d.due_at <= $1
        for update skip locked
    ) d
    where not w.takes
),
cancelled as (
    update webhook_deliveries d
    set status = 'CANCELLED', due_at = null, lease_until = null, lease_token = null, updated_at = $1
    from late
    where d.distributor_id = late.distributor_id and d.endpoint_id = late.endpoint_id and d.event_id = late.event_id
),
busy as (
    select d.distributor_id, d.endpoint_id, count(*) as held
    from webhook_deliveries d
    where d.lease_until > $1
    group by d.distributor_id, d.endpoint_id
),
candidate as (
    select w.distributor_id, w.id as endpoint_id, d.event_id, d.due_at,
        coalesce(busy.held, 0) + row_number() over (partition by w.id order by d.due_at) as place
    from endpoint w
    left join busy on busy.distributor_id = w.distributor_id and busy.endpoint_id = w.id
    cross join lateral (
        select d.event_id, d.due_at
        from webhook_deliveries d
        where d.distributor_id = w.distributor_id and d.endpoint_id = w.id and d.due_at <= $1
            and (d.lease_until is null or d.lease_until <= $1)
            -- Where order is asked for, only the oldest unfinished event of its conversation may go. What waits behind
            -- such heads is looked through at each claim (27 ms for 20,000 rows). Stepping from head to head would read
            -- less, but is planned by statistics that lag behind a burst (over 20 s for 5,000 conversations): it waits
            -- for webhook_endpoint_state to say when an endpoint's next delivery is due.
            and (d.ordering_key is null or not exists (
                select from webhook_deliveries older
                where older.distributor_id = d.distributor_id and older.endpoint_id = d.endpoint_id
                    and older.ordering_key = d.ordering_key and older.due_at is not null
                    and older.event_id < d.event_id
            ))
        order by d.due_at
        limit greatest($5 - coalesce(busy.held, 0), 0)
    ) d
    where w.takes
),
in_line as (
    select c.distributor_id, c.endpoint_id, c.event_id, c.due_at,
        coalesce(tenant.held, 0) + row_number() over (partition by c.distributor_id order by c.place, c.due_at) as place
    from candidate c
    left join (select distributor_id, sum(held) as held from busy group by distributor_id) tenant using (distributor_id)
    order by place, c.due_at
    limit 2 * $4
),
chosen as (
    select d.distributor_id, d.endpoint_id, d.event_id, d.was_interrupted
    from in_line
    -- One by one in that order, each looked at again under its lock, until there are enough. The coalesce keeps the
    -- planner off the index of due rows, which old statistics make look small: the key finds one row.
    cross join lateral (
        select d.distributor_id, d.endpoint_id, d.event_id, d.lease_until is not null as was_interrupted
        from webhook_deliveries d
        where d.distributor_id = in_line.distributor_id and d.endpoint_id = in_line.endpoint_id
            and d.event_id = in_line.event_id
            and coalesce(d.due_at, 'infinity') <= $1 and (d.lease_until is null or d.lease_until <= $1)
        for update skip locked
    ) d
    limit $4
),
due as (
    select chosen.*, row_number() over () as line from chosen
),
claimed as (
    update webhook_deliveries d
    set lease_until = $2, lease_token = $3, attempt_count = d.attempt_count + 1, updated_at = $1
    from due
    where d.distributor_id = due.distributor_id and d.endpoint_id = due.endpoint_id and d.event_id = due.event_id
    returning d.distributor_id, d.endpoint_id, d.event_id, d.attempt_count, d.schedule_position, d.lease_token,
        ($8::uuid[])[due.line] as attempt_id, due.was_interrupted
),
attempt as (
    insert into webhook_delivery_attempts (distributor_id, id, endpoint_id, event_id, number, started_at)
    select distributor_id, attempt_id, endpoint_id, event_id, attempt_count, $1 from claimed
)
select c.distributor_id, c.endpoint_id, c.event_id, c.attempt_id, c.schedule_position, c.lease_token,
    e.body::text as body, w.url, w.secrets_sealed, w.headers_sealed,
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
join webhook_events e on e.distributor_id = c.distributor_id and e.id = c.event_id
join webhook_endpoints w on w.distributor_id = c.distributor_id and w.id = c.endpoint_id;

-- name: settle_deliveries
-- Finishes attempts and moves their deliveries on; a lease that another worker took over settles its attempt only.
-- Where an answer disables the endpoint, the delivery moves on with it (delivery_log.settle_delivery), or not yet.
with result as (
    select *
    from jsonb_to_recordset($1::jsonb) as r(
        distributor_id uuid, endpoint_id uuid, event_id uuid, attempt_id uuid, lease_token uuid, finished_at timestamptz,
        outcome text, status_code int, error_class text, duration_ms int, response_excerpt text,
        status text, due_at timestamptz, schedule_position int, disables boolean
    )
),
attempt as (
    update webhook_delivery_attempts a
    set outcome = r.outcome, status_code = r.status_code, error_class = r.error_class, duration_ms = r.duration_ms,
        response_excerpt = r.response_excerpt
    from result r
    where a.distributor_id = r.distributor_id and a.endpoint_id = r.endpoint_id and a.event_id = r.event_id
        and a.id = r.attempt_id
)
update webhook_deliveries d
set status = r.status, due_at = r.due_at, schedule_position = r.schedule_position, lease_until = null, lease_token = null,
    updated_at = r.finished_at
from result r
where d.distributor_id = r.distributor_id and d.endpoint_id = r.endpoint_id and d.event_id = r.event_id
    -- Whatever was decided while the post was under way (cancelled, asked for again) took this token away, and stands.
    and d.lease_token = r.lease_token and not r.disables;
