-- What was refused, written apart from the transaction that was refused.

-- name: record_denials
select record_denials($1::jsonb);

-- name: record_refusal
select record_denials(jsonb_build_array(jsonb_build_object('type', 'database.refused', 'detail', $1::text)));

-- name: list_security_events
select id, type, subject_id, detail, occurrences, first_at, occurred_at
from security_audit_log
where distributor_id = (select get_current_distributor_id()) and id < $1 and ($2::text is null or type = $2)
order by id desc
limit $3;
