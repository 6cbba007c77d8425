-- Texts with named variables that are used again.

-- name: list_templates
select id, name, language, channel, body, variables, provider_template_id, approval, active, created_at, updated_at
from message_templates
where distributor_id = (select get_current_distributor_id()) and id < $1 and ($2::uuid is null or id = $2)
order by id desc
limit $3;

-- name: insert_template
insert into message_templates
    (distributor_id, id, name, language, channel, body, variables, provider_template_id, approval, active, created_at, updated_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10);

-- name: update_template
-- Nulls change nothing, but for provider_template_id where $7 says that it is given. What was approved were other words: unless
-- the approval is given, new ones have none.
update message_templates
set name = coalesce($2, name), language = coalesce($3, language), body = coalesce($4, body), variables = coalesce($5, variables),
    provider_template_id = case when $7 then $6 else provider_template_id end,
    approval = coalesce($8, case when coalesce($4, body) <> body then 'NONE' else approval end),
    active = coalesce($9, active), updated_at = $10
where distributor_id = (select get_current_distributor_id()) and id = $1
returning id;

-- name: delete_template
delete from message_templates where distributor_id = (select get_current_distributor_id()) and id = $1 returning id;

-- name: find_template
-- One for the conversation's channel goes before one for every channel; where no language is asked for, one in the
-- conversation's before one in the tenant's. A language stands for those of its countries, too.
select c.channel, a.provider, t.name, t.language, t.body, t.provider_template_id, t.approval
from conversations c
join channel_accounts a on a.distributor_id = c.distributor_id and a.id = c.channel_account_id
join distributors d on d.id = c.distributor_id
left join message_templates t on t.distributor_id = c.distributor_id and t.name = $2 and t.active
    and (t.channel is null or t.channel = c.channel)
    and case
        when $3::text is null then split_part(t.language, '_', 1) in (c.language, d.locale)
        else $3 in (t.language, split_part(t.language, '_', 1))
    end
where c.distributor_id = get_current_distributor_id() and c.id = $1
order by coalesce(t.language = $3, false) desc, coalesce(split_part(t.language, '_', 1) = c.language, false) desc,
    t.channel nulls last, t.language
limit 1;
