-- Tables that grow fast are range-partitioned by a UUIDv7 (RFC 9562), so by time: made ahead, retired whole.
-- Two functions of the owner do it, executable by the worker: it may neither create nor drop anything itself.

create function uuid7_floor(at timestamptz) returns uuid
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select rpad(lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0'), 32, '0')::uuid $$;
comment on function uuid7_floor(timestamptz) is 'The lowest UUIDv7 of that millisecond: a bound between earlier and later ids.';

create function uuid7_time(id uuid) returns timestamptz
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select to_timestamp(('x' || substr(replace(id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0) $$;
comment on function uuid7_time(uuid) is 'When a UUIDv7 was made, to the millisecond.';

create function new_uuid7() returns uuid
    language sql volatile parallel safe
    set search_path = pg_catalog, pg_temp
    as $$
    select overlay(
        overlay(gen_random_uuid()::text placing substr(public.uuid7_floor(clock_timestamp())::text, 1, 13) from 1 for 13)
        placing '7' from 15 for 1
    )::uuid
    $$;
comment on function new_uuid7() is 'A UUIDv7 of this moment, for rows that the database makes itself; all others get theirs from the program.';

-- What is partitioned, children before the tables they refer to, so that this is also the order of retiring. A table
-- that refers to a partitioned one is cut along the other's id: both lose the same time at once. `keep` is for all
-- tenants, since a partition goes as a whole: what is stored for evidence and repetition goes early, conversations after
-- two years, audits after seven. It stands here and not in the program, whose roles could ask for less.
create function partition_plan() returns table (
        place int, parent text, step text, ahead interval, keep interval, options text
    )
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$
    values
        (1, 'webhook_delivery_attempts', 'day', interval '7 days', interval '90 days', 'fillfactor = 80'),
        -- Claimed rows are updated twice: room on the page keeps those updates off the indexes, and vacuum comes early.
        (2, 'webhook_deliveries', 'month', interval '7 days', interval '90 days',
            'fillfactor = 75, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0'),
        (3, 'webhook_events', 'month', interval '7 days', interval '90 days', ''),
        (4, 'message_status_events', 'month', interval '7 days', interval '730 days', ''),
        (5, 'messages', 'month', interval '7 days', interval '730 days',
            'fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0'),
        (6, 'inbound_events', 'day', interval '7 days', interval '90 days', ''),
        (7, 'data_access_audit', 'month', interval '7 days', interval '2557 days', ''),
        (8, 'security_audit_log', 'month', interval '7 days', interval '2557 days', '')
    $$;
comment on function partition_plan() is 'What is partitioned and how: children before the tables they refer to, which is also the order of retiring.';

create function partitions_of(parent text) returns table (partition text, lower_bound timestamptz, upper_bound timestamptz)
    language sql stable
    set search_path = pg_catalog, public, pg_temp
    as $$
    select c.relname::text, uuid7_time(substring(b.bound from 'FROM \(''([^'']+)''\)')::uuid),
        uuid7_time(substring(b.bound from 'TO \(''([^'']+)''\)')::uuid)
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral (select pg_get_expr(c.relpartbound, c.oid) as bound) b
    where i.inhparent = to_regclass('public.' || quote_ident(parent))
    order by 3
    $$;
comment on function partitions_of(text) is 'A table''s partitions, oldest first; the first has no lower bound, so that no id is too old.';

create procedure attach_partition(parent text, name text, lower_id uuid, upper_id uuid, options text)
    language plpgsql
    set search_path = pg_catalog, public, pg_temp
    as $$
begin
    execute format(
        'create table public.%I (like public.%I including defaults including constraints including storage) %s',
        name, parent, case when options <> '' then 'with (' || options || ')' else '' end
    );
    -- A partition does not inherit its parent's protection: forced here as well, and granted to nobody.
    execute format('alter table public.%I enable row level security', name);
    execute format('alter table public.%I force row level security', name);
    -- The owner's own policy: without it detaching would find no row that still refers to this partition.
    execute format('create policy owner_all on public.%I for all to waystation_owner using (true) with check (true)', name);
    -- Attaching takes a lighter lock on the parent than creating a partition in place; on the tables that the parent
    -- refers to it stops writers all the same, so there is one partition to a transaction, and nobody waits for long.
    execute format(
        'alter table public.%I attach partition public.%I for values from (%s) to (%L)',
        parent, name, coalesce(quote_literal(lower_id), 'minvalue'), upper_id
    );
end
$$;

create function make_partition_at(moment timestamptz) returns boolean
    language plpgsql
    set search_path = pg_catalog, public, pg_temp
    set timezone = 'UTC'  -- a month is added to a moment in the session's zone
    set lock_timeout = '200ms'
    as $$
declare
    plan record;
    edge timestamptz;
    next_edge timestamptz;
begin
    if not pg_try_advisory_xact_lock(hashtext('waystation partitions')) then
        return false;  -- somebody is at it
    end if;
    for plan in select * from partition_plan() where to_regclass('public.' || quote_ident(parent)) is not null loop
        select max(p.upper_bound) into edge from partitions_of(plan.parent) p;
        continue when edge > moment + plan.ahead;
        -- Where nobody made any for a while, one partition spans the gap.
        next_edge := greatest(edge, date_trunc(plan.step, moment, 'UTC'));
        next_edge := date_trunc(plan.step, next_edge, 'UTC') + ('1 ' || plan.step)::interval;
        call attach_partition(
            plan.parent,
            plan.parent || '_' || coalesce(to_char(edge at time zone 'UTC', 'YYYYMMDD'), 'first'),
            uuid7_floor(edge), uuid7_floor(next_edge), plan.options
        );
        return true;
    end loop;
    return false;
end
$$;
comment on function make_partition_at(timestamptz) is 'make_partition() for a given moment; for tests of other days.';

create function make_partitions_at(moment timestamptz) returns int
    language plpgsql
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    made int := 0;
begin
    while make_partition_at(moment) loop
        made := made + 1;
    end loop;
    return made;
end
$$;
comment on function make_partitions_at(timestamptz) is
    'All that is missing at a moment, in one transaction: for an empty database and for tests. Gives back how many.';

create function make_partition() returns boolean
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$ select make_partition_at(clock_timestamp()) $$;
comment on function make_partition() is
    'Makes one partition of the coming days if one is missing, by this server''s clock; gives back whether. Waits 0.2 s for a lock.';

-- The oldest partition has no lower bound. When its neighbour goes, both go and an empty one takes their place, so that
-- no id is ever too old. Alone it goes if it was ever written to: its size is asked, for no policy shows its rows.
create function retire_partition_at(target text, moment timestamptz) returns boolean
    language plpgsql
    set search_path = pg_catalog, public, pg_temp
    set lock_timeout = '200ms'
    as $$
declare
    plan record;
    gone text[];
    edge timestamptz;
begin
    if not pg_try_advisory_xact_lock(hashtext('waystation partitions')) then
        return false;  -- somebody is at it
    end if;
    select * into strict plan from partition_plan() p where p.parent = target;
    select array_agg(p.partition order by p.upper_bound), max(p.upper_bound) into gone, edge
    from (select * from partitions_of(target) where upper_bound <= moment - plan.keep limit 2) p;
    if gone is null or (cardinality(gone) = 1 and pg_relation_size(to_regclass('public.' || quote_ident(gone[1]))) = 0) then
        return false;
    end if;
    for place in 1 .. cardinality(gone) loop
        -- Refused by PostgreSQL (foreign_key_violation) while rows of another table still refer to rows in it.
        execute format('alter table public.%I detach partition public.%I', target, gone[place]);
        execute format('drop table public.%I', gone[place]);
    end loop;
    call attach_partition(target, target || '_first', null, uuid7_floor(edge), plan.options);
    return true;
end
$$;
comment on function retire_partition_at(text, timestamptz) is 'retire_partition() at a given moment; for tests of other days.';

create function retire_partition(target text) returns boolean
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$ select retire_partition_at(target, clock_timestamp()) $$;
comment on function retire_partition(text) is
    'Drops a table''s oldest partition if all of it is past its time by partition_plan(); gives back whether. Children first. Waits 0.2 s for a lock.';

revoke execute on function make_partition(), make_partition_at(timestamptz), make_partitions_at(timestamptz),
    retire_partition(text), retire_partition_at(text, timestamptz) from public;
revoke execute on procedure attach_partition(text, text, uuid, uuid, text) from public;
grant execute on function make_partition(), retire_partition(text) to waystation_worker;
