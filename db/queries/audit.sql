-- What was refused, written apart from the transaction that was refused.

-- name: record_denials
insert into security_audit_log (distributor_id, id, type, subject_id, detail, occurrences, first_at, occurred_at)
select get_current_distributor_id(), d.id, d.type, d.subject_id, d.detail, d.occurrences, d.first_at, d.occurred_at
from jsonb_to_recordset($1::jsonb) as d(
    id uuid, type text, subject_id uuid, detail text, occurrences bigint, first_at timestamptz, occurred_at timestamptz
);

-- name: record_refusal
insert into security_audit_log (distributor_id, id, type, detail, first_at, occurred_at)
values (get_current_distributor_id(), new_uuid7(), 'database.refused', $1, clock_timestamp(), clock_timestamp());

-- name: list_security_events
select id, type, subject_id, detail, occurrences, first_at, occurred_at
from security_audit_log
where distributor_id = (select get_current_distributor_id()) and id < $1 and ($2::text is null or type = $2)
order by id desc
limit $3;
