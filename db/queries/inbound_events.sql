-- Stored posts, for `waystation replay`.

-- name: find_event
-- By an operator, who may not know whose it is: on the closed list of db/tenant.py. What waits for its message is no post: that has a row of its own.
select distributor_id, channel_account_id, id, kind, method, target, headers, body, received_at
from inbound_events
where id = $1 and ($2::uuid is null or distributor_id = $2) and parked_item is null;

-- name: list_known
-- Which keys of the dedupe an account has, with the messages that they made, as they are stored.
select k.provider_key, m.id as message_id, m.type, m.text, m.metadata, m.reply_to_provider_id,
    (
        select coalesce(
            jsonb_agg(jsonb_build_object('url', a.url, 'content_type', a.content_type, 'filename', a.filename) order by a.position),
            '[]'
        )
        from attachments a
        where a.distributor_id = m.distributor_id and a.message_id = m.id
    ) as attachments
from external_message_mappings k
left join messages m on m.distributor_id = k.distributor_id and m.id = k.message_id and m.direction = 'INBOUND'
where k.distributor_id = (select get_current_distributor_id()) and k.channel_account_id = $1
    and k.provider_key = any($2::text[]);
