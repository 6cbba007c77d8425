-- Work that is due: claimed in batches, fair over tenants, nothing locked while it is done. Deliveries: delivery_lane.sql.
-- Parameters everywhere: $1 now, $2 lease until, $3 lease token, $4 batch, $5 share of one tenant (what it
-- has under lease counts), $6 shard, $7 number of shards (by tenant). Of the candidates each tenant's
-- oldest comes first, then each one's second, and so on: a backlog waits for itself only. Which tenants have
-- anything due is read off the index of what is due, one step for each of them: those without work cost nothing.

-- name: claim_turns
-- (select $1) keeps the moment from the planner. With statistics from before a burst it would think that nothing is due, and
-- sort all that is at every step.
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
                -- One conversation's messages leave in the order in which they were written. As a comparison of rows: by the id
                -- alone it would choose among partitions while it locks (see lock_messages()).
                and not exists (
                    select from messages older
                    where older.distributor_id = m.distributor_id and older.conversation_id = m.conversation_id
                        and older.send_due_at is not null
                        and (older.conversation_id, older.id) < (m.conversation_id, m.id)
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
