-- Mails that leave: the thread that they are of, and the names that replies know them by.

-- name: find_thread
-- What the headers of a mail of ours are made from.
select c.thread_key, c.subject, coalesce(c.language, d.locale) as language, d.name as tenant, m.mail_message_id,
    m.turn_message_id is not null as automatic, m.created_at
from messages m
join conversations c on c.distributor_id = m.distributor_id and c.id = m.conversation_id
join distributors d on d.id = m.distributor_id
where m.distributor_id = get_current_distributor_id() and m.id = $1;

-- name: list_thread_ids
-- The mails that were there when ours was queued ($3), in their order: the first, which names the thread, and the last $4. What
-- comes or leaves later changes nothing, so that a second try sends the same mail.
with mail as (
    select id, mail_message_id, direction = 'INBOUND' as inbound
    from messages
    where distributor_id = get_current_distributor_id() and conversation_id = $1 and id <> $2 and mail_message_id is not null
        and case direction when 'INBOUND' then created_at else sent_at end <= $3
)
select mail_message_id, inbound
from (
    (select * from mail order by id limit 1)
    union
    (select * from mail order by id desc limit $4)
) chain
order by id;

-- name: name_mail
update messages
set mail_message_id = $2
where distributor_id = get_current_distributor_id() and id = $1 and mail_message_id is distinct from $2;
