-- People of a tenant: profiles, invitations, sessions, what each role may; and who may change a role.

create table user_profiles (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    email text not null check (email = lower(email) and email <> ''),
    display_name text not null default '',
    role text not null default 'OPERATOR' check (role in ('OWNER', 'ADMIN', 'MANAGER', 'OPERATOR')),
    status text not null default 'PENDING' check (status in ('PENDING', 'ACTIVE', 'SUSPENDED')),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id),
    unique (distributor_id, email)
);
comment on table user_profiles is
    '[1 Tenancy & authentication] A person of the tenant''s staff with one role. Where the host signs people in (auth.uid()), their ACTIVE profile selects the tenant. Coming: the API for users will write and read it; today set_user_role() changes it and identity.sql reads it.';
comment on column user_profiles.role is 'Changed by set_user_role() alone: no run-time role may write it.';
comment on column user_profiles.status is 'Only an ACTIVE profile selects a tenant or may give roles.';
comment on column user_profiles.display_name is 'How colleagues see the person.';
comment on column user_profiles.id is 'The signed-in identity''s id. One identity belongs to one tenant, so it is unique by itself.';
create unique index user_profiles_id on user_profiles (id);
call protect_tenant_table('user_profiles');
-- Where people sign in to the database themselves they work in this role: whoever may write a profile's status or
-- identity could shut an OWNER out. Nothing writes here but the owner and set_user_role().
grant select on user_profiles to waystation_app;

create table user_invitations (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    email text not null check (email = lower(email) and email <> ''),
    role text not null check (role in ('ADMIN', 'MANAGER', 'OPERATOR')),
    token_hash bytea not null unique,
    invited_by uuid,
    status text not null default 'PENDING' check (status in ('PENDING', 'ACCEPTED', 'EXPIRED', 'REVOKED')),
    expires_at timestamptz not null,
    closed_at timestamptz,
    created_at timestamptz not null,
    primary key (distributor_id, id),
    check ((status = 'PENDING') = (closed_at is null)),
    foreign key (distributor_id, invited_by) references user_profiles (distributor_id, id) on delete set null (invited_by)
);
comment on table user_invitations is
    '[1 Tenancy & authentication] An offer to join with a role, accepted by its token (stored as a hash). Coming: the API for users will write and read it.';
comment on column user_invitations.role is 'What the person will be; never OWNER.';
comment on column user_invitations.status is 'EXPIRED is set by a job; the token stops at expires_at all the same.';
create unique index user_invitations_pending on user_invitations (distributor_id, email) where status = 'PENDING';
create index user_invitations_inviter on user_invitations (distributor_id, invited_by);
call protect_tenant_table('user_invitations');

create table user_sessions (
    distributor_id uuid not null,
    id uuid not null,
    user_id uuid not null,
    token_hash bytea not null unique,
    ip_address inet,
    user_agent text,
    created_at timestamptz not null,
    last_seen_at timestamptz not null,
    expires_at timestamptz not null,
    revoked_at timestamptz,
    primary key (distributor_id, id),
    foreign key (distributor_id, user_id) references user_profiles (distributor_id, id) on delete cascade
);
comment on table user_sessions is
    '[1 Tenancy & authentication] A sign-in of a person on a device; its token is stored as a hash. Coming: signing in to the console will write and read it.';
comment on column user_sessions.ip_address is 'Of the sign-in.';
comment on column user_sessions.user_agent is 'Of the sign-in, to name the device to its owner.';
comment on column user_sessions.last_seen_at is 'When it was last used.';
create index user_sessions_user on user_sessions (distributor_id, user_id, last_seen_at desc);
call protect_tenant_table('user_sessions');

create table role_permissions (
    distributor_id uuid not null references distributors (id) on delete cascade,
    role text not null check (role in ('ADMIN', 'MANAGER', 'OPERATOR')),
    permission text not null check (permission ~ '^[a-z_]+\.[a-z_]+$'),
    scope text not null default 'all' check (scope in ('all', 'team', 'own', 'none')),
    updated_at timestamptz not null,
    primary key (distributor_id, role, permission)
);
comment on table role_permissions is
    '[1 Tenancy & authentication] Where a tenant departs from the rights that the code gives a role; an OWNER always has all. Coming: the check of each operation will read it.';
comment on column role_permissions.permission is 'resource.action, from the list in the code.';
comment on column role_permissions.scope is 'How far the right reaches; none takes away what the code gives.';
call protect_tenant_table('role_permissions');

-- Who asks: the signed-in identity where the host knows it, else the person whom the service names in this transaction.
create function get_current_user_id() returns uuid
    language sql stable parallel safe
    set search_path = pg_catalog, pg_temp
    as $$ select nullif(current_setting('app.current_user_id', true), '')::uuid $$;
comment on function get_current_user_id() is
    'The person for whom this transaction works, as set by set_config(''app.current_user_id'', …, true); NULL when unset.';

-- The only way to another role. An OWNER may give every role, an ADMIN those below ADMIN to those below ADMIN; nobody
-- changes the own role, and a tenant keeps an OWNER.
create function set_user_role(target_id uuid, new_role text) returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    tenant uuid := get_current_distributor_id();
    asker user_profiles;
    target user_profiles;
begin
    -- Both rows in one order, so that two people who change each other wait for one another and do not lock up.
    perform from user_profiles p
        where p.distributor_id = tenant and p.id in (target_id, get_current_user_id()) order by p.id for update;
    select * into asker from user_profiles p where p.distributor_id = tenant and p.id = get_current_user_id();
    select * into target from user_profiles p where p.distributor_id = tenant and p.id = target_id;
    if asker.id is null or asker.status <> 'ACTIVE' or asker.id = target_id
        or not (asker.role = 'OWNER' or (asker.role = 'ADMIN' and new_role in ('MANAGER', 'OPERATOR')
            and coalesce(target.role in ('MANAGER', 'OPERATOR'), true)))
    then
        raise exception 'this person may not give that role' using errcode = 'insufficient_privilege';
    end if;
    if target.id is null then
        raise exception 'no such person' using errcode = 'no_data_found';
    end if;
    update user_profiles p set role = new_role, updated_at = clock_timestamp()
    where p.distributor_id = tenant and p.id = target_id;
    insert into security_audit_log (distributor_id, id, type, subject_id, detail, first_at, occurred_at)
    values (tenant, new_uuid7(), 'role.changed', target_id, target.role || ' -> ' || new_role || ' by ' || asker.id, clock_timestamp(), clock_timestamp());
end
$$;
comment on function set_user_role(uuid, text) is
    'Changes a person''s role if the person who asks (get_current_user_id()) may: insufficient_privilege (42501) if not, no_data_found for nobody of this tenant.';
revoke execute on function set_user_role(uuid, text) from public;
grant execute on function set_user_role(uuid, text) to waystation_app;
