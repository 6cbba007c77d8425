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
-- that refers to a partitioned one is cut along the other's id: both lose the same time at once.
create function partition_plan() returns table (place int, parent text, step text, ahead interval, options text)
    language sql immutable
    set search_path = pg_catalog, pg_temp
    as $$
    values
        (1, 'webhook_delivery_attempts', 'day', interval '7 days', 'fillfactor = 80'),
        -- Claimed rows are updated twice: room on the page keeps those updates off the indexes, and vacuum comes early.
        (2, 'webhook_deliveries', 'month', interval '7 days',
            'fillfactor = 75, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0'),
        (3, 'webhook_events', 'month', interval '7 days', ''),
        (4, 'message_status_events', 'month', interval '7 days', ''),
        (5, 'messages', 'month', interval '7 days',
            'fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0'),
        (6, 'inbound_events', 'day', interval '7 days', ''),
        (7, 'data_access_audit', 'month', interval '7 days', ''),
        (8, 'security_audit_log', 'month', interval '7 days', '')
    $$;
comment on function partition_plan() is 'What is partitioned and how: children before the tables they refer to, which is also the order of retiring.';

create function partitions_of(parent text) returns table (partition text, lower_bound timestamptz, upper_bound timestamptz)
    language sql stable
    set search_path = public, pg_catalog, pg_temp
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
    set search_path = public, pg_catalog, pg_temp
    as $$
begin
    execute format(
        'create table %I (like %I including defaults including constraints including storage) %s',
        name, parent, case when options <> '' then 'with (' || options || ')' else '' end
    );
    -- A partition does not inherit its parent's protection: forced here as well, and granted to nobody.
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    -- The owner's own policy: without it detaching would find no row that still refers to this partition.
    execute format('create policy owner_all on %I for all to waystation_owner using (true) with check (true)', name);
    -- Attaching a table takes a lighter lock on the parent than creating a partition in place.
    execute format(
        'alter table %I attach partition %I for values from (%s) to (%L)',
        parent, name, coalesce(quote_literal(lower_id), 'minvalue'), upper_id
    );
end
$$;

create function make_partitions_at(moment timestamptz) returns int
    language plpgsql
    set search_path = public, pg_catalog, pg_temp
    set timezone = 'UTC'  -- a month is added to a moment in the session's zone
    set lock_timeout = '2s'
    as $$
declare
    plan record;
    edge timestamptz;
    next_edge timestamptz;
    made int := 0;
begin
    perform pg_advisory_xact_lock(hashtext('waystation partitions'));
    for plan in select * from partition_plan() where to_regclass('public.' || quote_ident(parent)) is not null loop
        select max(p.upper_bound) into edge from partitions_of(plan.parent) p;
        while edge is null or edge <= moment + plan.ahead loop
            -- Where nobody made any for a while, one partition spans the gap.
            next_edge := greatest(edge, date_trunc(plan.step, moment, 'UTC'));
            next_edge := date_trunc(plan.step, next_edge, 'UTC') + ('1 ' || plan.step)::interval;
            call attach_partition(
                plan.parent,
                plan.parent || '_' || coalesce(to_char(edge at time zone 'UTC', 'YYYYMMDD'), 'first'),
                uuid7_floor(edge), uuid7_floor(next_edge), plan.options
            );
            edge := next_edge;
            made := made + 1;
        end loop;
    end loop;
    return made;
end
$$;
comment on function make_partitions_at(timestamptz) is 'make_partitions() for a given moment; for tests of other days.';

create function make_partitions() returns int
    language sql security definer
    set search_path = public, pg_catalog, pg_temp
    set timezone = 'UTC'
    as $$ select make_partitions_at(clock_timestamp()) $$;
comment on function make_partitions() is 'Makes the partitions of the coming days where they are missing, by this server''s clock; gives back how many.';

create function retire_partitions_at(target text, moment timestamptz, keep interval) returns int
    language plpgsql
    set search_path = public, pg_catalog, pg_temp
    set timezone = 'UTC'  -- a month is added to a moment in the session's zone
    set lock_timeout = '2s'
    as $$
declare
    plan record;
    old record;
    edge timestamptz;
    retired int := 0;
begin
    select * into strict plan from partition_plan() p where p.parent = target;
    perform pg_advisory_xact_lock(hashtext('waystation partitions'));
    for old in select * from partitions_of(target) where upper_bound <= moment - keep loop
        continue when old.lower_bound is null and not retire_first(old.partition, moment - keep, target);
        -- Refused by PostgreSQL (foreign_key_violation) while rows of another table still refer to rows in it.
        execute format('alter table %I detach partition %I', target, old.partition);
        execute format('drop table %I', old.partition);
        edge := old.upper_bound;
        retired := retired + 1;
    end loop;
    if edge is not null then
        call attach_partition(target, target || '_first', null, uuid7_floor(edge), plan.options);
    end if;
    return retired;
end
$$;
comment on function retire_partitions_at(text, timestamptz, interval) is 'retire_partitions() for a given moment; for tests of other days.';

-- The oldest partition has no lower bound. It goes when it was ever written to, or when its neighbour goes, too; an
-- empty one alone would only be made again. Its size is asked, not its rows: no policy shows those to anybody.
create function retire_first(first_partition text, before timestamptz, target text) returns boolean
    language sql stable
    set search_path = public, pg_catalog, pg_temp
    as $$
    select pg_relation_size(to_regclass('public.' || quote_ident(first_partition))) > 0
        or (select count(*) > 1 from partitions_of(target) p where p.upper_bound <= before)
    $$;
comment on function retire_first(text, timestamptz, text) is 'Whether the oldest partition, which has no lower bound, goes as well.';

create function retire_partitions(target text, keep interval) returns int
    language plpgsql security definer
    set search_path = public, pg_catalog, pg_temp
    set timezone = 'UTC'
    as $$
begin
    if keep < interval '30 days' then
        raise exception 'at least 30 days are kept' using errcode = 'invalid_parameter_value';
    end if;
    return retire_partitions_at(target, clock_timestamp(), keep);
end
$$;
comment on function retire_partitions(text, interval) is
    'Drops the partitions of a table that ended longer ago than that, at least 30 days; gives back how many. Children first.';

revoke execute on function make_partitions(), make_partitions_at(timestamptz), retire_partitions(text, interval),
    retire_partitions_at(text, timestamptz, interval), retire_first(text, timestamptz, text) from public;
revoke execute on procedure attach_partition(text, text, uuid, uuid, text) from public;
grant execute on function make_partitions(), retire_partitions(text, interval) to waystation_worker;
