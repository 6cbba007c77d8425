-- What a person is known by: a number and the provider's id, either of which may be shown late or change.

-- name: move_contact
-- The person is who has the old user id; or the old number, unless that has become somebody else's. A move that was told before
-- is not made again: meanwhile the old number may be another person's.
with told as (
    select *
    from jsonb_to_record($1::jsonb) as i(
        distributor_id uuid, channel_account_id uuid, provider_key text, channel text, old_address text, old_user_id text,
        new_address text, new_user_id text
    )
),
person as (
    select t.*, c.id,
        coalesce(t.new_address, case when c.address = t.old_user_id then t.new_user_id end, c.address) as address,
        coalesce(t.new_user_id, c.provider_user_id) as user_id
    from told t
    cross join lateral (
        select c.id, c.address, c.provider_user_id
        from customer_contacts c
        where c.distributor_id = t.distributor_id and c.channel = t.channel
            and (
                c.provider_user_id = t.old_user_id
                or (c.address = t.old_address and (c.provider_user_id is null or t.old_user_id is null))
            )
        order by c.provider_user_id = t.old_user_id desc nulls last
        limit 1
    ) c
    where not exists (
        select from external_message_mappings x
        where x.distributor_id = t.distributor_id and x.channel_account_id = t.channel_account_id
            and x.provider_key = t.provider_key
    )
)
update customer_contacts c
set address = p.address, provider_user_id = p.user_id
from person p
where c.distributor_id = p.distributor_id and c.id = p.id
    and not exists (
        select from customer_contacts o
        where o.distributor_id = p.distributor_id and o.channel = p.channel and o.id <> p.id
            and (o.address = p.address or o.provider_user_id = p.user_id)
    );

-- name: learn_identities
-- Messages that show a number beside the provider's id of their sender: the contact that was known by the id alone gets the
-- number, if nobody has it; else the one that has the number gets the id, if nobody has that.
with shown as (
    select distinct on (i.distributor_id, i.channel, i.address) i.*
    from (
        select distinct on (distributor_id, channel, user_id) *
        from jsonb_to_recordset($1::jsonb) as i(ordinal int, distributor_id uuid, channel text, address text, user_id text)
        order by distributor_id, channel, user_id, ordinal
    ) i
    order by i.distributor_id, i.channel, i.address, i.ordinal desc
),
numbered as (
    update customer_contacts c
    set address = s.address
    from shown s
    where c.distributor_id = s.distributor_id and c.channel = s.channel and c.provider_user_id = s.user_id
        and c.address = s.user_id
        and not exists (
            select from customer_contacts o
            where o.distributor_id = s.distributor_id and o.channel = s.channel and o.address = s.address
        )
)
update customer_contacts c
set provider_user_id = s.user_id
from shown s
where c.distributor_id = s.distributor_id and c.channel = s.channel and c.address = s.address
    and c.provider_user_id is distinct from s.user_id
    and not exists (
        select from customer_contacts o
        where o.distributor_id = s.distributor_id and o.channel = s.channel and o.provider_user_id = s.user_id
    );
