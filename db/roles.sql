-- Roles of the cluster, made by `waystation migrate` as the administrator's login before the first migration.
-- Re-running is safe. None of the three roles can log in. The run-time login is a member of app and worker only and
-- inherits nothing, so that each of its connections names the role it works in. There is one login per master key
-- (its name is in the setting waystation.login): while a key is rotated, and where two databases of one cluster have
-- keys of their own, each process finds the login of the key it holds.

do $$
declare
    wanted text;
    login text := current_setting('waystation.login');
    -- A CREATEROLE login cannot SET ROLE to what it made until it is granted to itself. From PostgreSQL 16 on it is a
    -- member of it from the start, so being one says nothing.
    may_become text := case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end;
begin
    foreach wanted in array array['waystation_owner', 'waystation_app', 'waystation_worker', login] loop
        begin
            execute format('create role %I noinherit', wanted);
        exception when duplicate_object or unique_violation then
            null;  -- another process or another database of this cluster made it
        end;
        continue when wanted = login;
        if not pg_has_role(current_user, wanted, may_become) then
            execute format('grant %I to current_user', wanted);
        end if;
    end loop;
    execute format('alter role %I login', login);
    execute format('grant waystation_app, waystation_worker to %I', login);
end
$$;

-- The job library's tables lie apart from ours.
create schema if not exists jobs authorization waystation_owner;

-- A database that comes from PostgreSQL 14 or older lets everybody create in public; our functions look there.
do $$
begin
    revoke create on schema public from public;
exception when insufficient_privilege then
    raise warning 'CREATE on schema public stays granted to PUBLIC: revoke it as its owner';
end
$$;

grant usage, create on schema public to waystation_owner;
grant usage on schema public to waystation_app, waystation_worker;
