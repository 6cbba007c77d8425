-- The catalogue of the schema public as the documents need it: logical tables only, no partition, no ledger.

-- name: tables
-- In the order in which they were made, so that what others refer to comes first.
select c.relname as name, obj_description(c.oid, 'pg_class') as comment, pg_get_partkeydef(c.oid) as partition_key
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and c.relname <> 'schema_migrations'
order by c.oid;

-- name: columns
select c.relname as table_name, a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
    a.attgenerated <> '' as generated, pg_get_expr(d.adbin, d.adrelid) as default_value,
    col_description(c.oid, a.attnum) as comment
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and c.relname <> 'schema_migrations'
order by c.relname, a.attnum;

-- name: constraints
-- Primary keys, unique keys, foreign keys and checks. The copies that PostgreSQL makes for partitions are left out.
select c.relname as table_name, k.contype::text as kind, pg_get_constraintdef(k.oid) as definition, p.relname as parent,
    array(
        select a.attname::text from unnest(k.conkey) with ordinality u(number, place)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.number order by u.place
    ) as columns,
    array(
        select a.attname::text from unnest(k.confdelsetcols) with ordinality u(number, place)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.number order by u.place
    ) as forgotten,
    k.confdeltype::text as on_delete
from pg_constraint k
join pg_class c on c.oid = k.conrelid
left join pg_class p on p.oid = k.confrelid
where c.relnamespace = 'public'::regnamespace and not c.relispartition and c.relname <> 'schema_migrations'
    and k.contype in ('p', 'u', 'f', 'c') and k.conparentid = 0
order by c.relname, k.contype, k.conname;

-- name: indexes
-- Those made by themselves; the index of a key is told with the key.
select c.relname as table_name, i.relname as name, pg_get_indexdef(i.oid) as definition, x.indisunique as is_unique
from pg_index x
join pg_class c on c.oid = x.indrelid
join pg_class i on i.oid = x.indexrelid
where c.relnamespace = 'public'::regnamespace and not c.relispartition and c.relname <> 'schema_migrations'
    and not exists (select from pg_constraint k where k.conindid = i.oid and k.contype in ('p', 'u'))
order by c.relname, i.relname;

-- name: policies
select p.tablename as table_name, p.cmd as command, r.role::text as role, p.qual is not distinct from 'true' as sees_all,
    p.with_check is not distinct from 'true' as writes_all
from pg_policies p
cross join lateral unnest(p.roles) as r(role)
where p.schemaname = 'public'
order by p.tablename, r.role, p.cmd;

-- name: grants
-- Rights on whole tables (columns is empty) and on columns.
select c.relname as table_name, r.rolname as role, g.privilege_type as command, '{}'::text[] as columns
from pg_class c
cross join lateral aclexplode(c.relacl) g
join pg_roles r on r.oid = g.grantee
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and r.rolname in ('waystation_app', 'waystation_worker')
union all
select c.relname, r.rolname, g.privilege_type, array_agg(a.attname::text order by a.attnum)
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
cross join lateral aclexplode(a.attacl) g
join pg_roles r on r.oid = g.grantee
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and r.rolname in ('waystation_app', 'waystation_worker')
group by c.relname, r.rolname, g.privilege_type
order by 1, 2, 3;

-- name: functions
select p.proname as name, pg_get_function_identity_arguments(p.oid) as arguments,
    obj_description(p.oid, 'pg_proc') as comment, p.prosecdef as runs_as_owner,
    array(
        select r.role from unnest(array['waystation_app', 'waystation_worker']) as r(role)
        where has_function_privilege(r.role, p.oid, 'execute') order by r.role
    ) as callers
from pg_proc p
where p.pronamespace = 'public'::regnamespace and p.prokind = 'f'
order by p.proname;

-- name: partitions
select parent as table_name, step, extract(day from ahead)::int as days_ahead, extract(day from keep)::int as days_kept, place from partition_plan() order by place;

-- name: migrations
select version, name from schema_migrations order by version;
