-- Where the host signs people in (Supabase: auth.uid()), the signed-in person decides, and the settings of the
-- transaction count only while nobody is signed in. Applied after the migrations, each time: the host's schema may come
-- later than ours.
--
-- Both functions run as the owner, whose policy on user_profiles asks for no tenant: a policy that calls the function
-- that reads under it would never end. The owner may not use the host's schema, and on Supabase nobody may grant it that:
-- the login that migrates, which may, lends the owner (and nobody else) one function that asks who is signed in.

do $identity$
begin
    if not exists (select from pg_proc where pronamespace = to_regnamespace('auth') and proname = 'uid' and pronargs = 0) then
        return;
    end if;
    if not has_schema_privilege('auth', 'usage') then
        raise insufficient_privilege using message = format('%I may not use the schema auth', current_user),
            hint = format('GRANT USAGE ON SCHEMA auth TO %I, then migrate again', current_user);
    end if;
    if to_regprocedure('public.get_signed_in_user_id()') is null then
        create function public.get_signed_in_user_id() returns uuid
            language sql stable parallel safe security definer
            set search_path = pg_catalog, pg_temp
            as $$ select auth.uid() $$;
        revoke execute on function public.get_signed_in_user_id() from public;
        grant execute on function public.get_signed_in_user_id() to waystation_owner;
    end if;
    set local role waystation_owner;
    create or replace function public.get_current_user_id() returns uuid
        language sql stable parallel safe security definer
        set search_path = pg_catalog, pg_temp
        as $$
        select coalesce(public.get_signed_in_user_id(), nullif(current_setting('app.current_user_id', true), '')::uuid)
        $$;
    create or replace function public.get_current_distributor_id() returns uuid
        language sql stable parallel safe security definer
        set search_path = pg_catalog, pg_temp
        as $$
        select case
            when public.get_signed_in_user_id() is null
                then nullif(current_setting('app.current_distributor_id', true), '')::uuid
            else (
                select p.distributor_id from public.user_profiles p
                where p.id = public.get_signed_in_user_id() and p.status = 'ACTIVE'
            )
        end
        $$;
end
$identity$;
