-- Where the host signs people in (Supabase: auth.uid()), the signed-in person decides, and the settings of the
-- transaction count only while nobody is signed in. Applied after the migrations, each time: the host's schema may come
-- later than ours. Both functions run as the owner, whose policy on user_profiles asks for no tenant: a policy that
-- calls the function that reads under it would never end.

do $identity$
begin
    if to_regprocedure('auth.uid()') is null then
        return;
    end if;
    if not has_schema_privilege('auth', 'usage') then
        raise insufficient_privilege using message = 'waystation_owner may not use the schema auth',
            hint = 'GRANT USAGE ON SCHEMA auth TO waystation_owner, then migrate again';
    end if;
    create or replace function public.get_current_user_id() returns uuid
        language sql stable security definer
        set search_path = pg_catalog
        as $$ select coalesce(auth.uid(), nullif(current_setting('app.current_user_id', true), '')::uuid) $$;
    create or replace function public.get_current_distributor_id() returns uuid
        language sql stable security definer
        set search_path = pg_catalog
        as $$
        select case
            when auth.uid() is null then nullif(current_setting('app.current_distributor_id', true), '')::uuid
            else (select p.distributor_id from public.user_profiles p where p.id = auth.uid() and p.status = 'ACTIVE')
        end
        $$;
end
$identity$;
