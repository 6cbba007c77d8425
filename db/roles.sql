-- Roles of the cluster, made by `waystation migrate` as the administrator's login before the first migration.
-- Re-running is safe. None of the three roles can log in. The run-time login is a member of app and worker only and
-- inherits nothing, so that each of its connections names the role it works in.

do $$
declare
    wanted text;
begin
    foreach wanted in array array['waystation_owner', 'waystation_app', 'waystation_worker', 'waystation_login'] loop
        begin
            execute format('create role %I noinherit', wanted);
        exception when duplicate_object or unique_violation then
            null;  -- another process or another database of this cluster made it
        end;
        continue when wanted = 'waystation_login';
        -- A CREATEROLE login cannot SET ROLE to what it made until it is granted to itself.
        if not pg_has_role(current_user, wanted, 'member') then
            execute format('grant %I to current_user', wanted);
        end if;
    end loop;
    alter role waystation_login login;
    grant waystation_app, waystation_worker to waystation_login;
end
$$;

grant usage, create on schema public to waystation_owner;
grant usage on schema public to waystation_app, waystation_worker;
