-- name: insert_distributor
insert into distributors (id, name, time_zone, locale, currency, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $6);

-- name: read_tenant
select id, name, time_zone, locale, currency, auto_reply, ai_confidence_threshold, catalogue_version,
    created_at, updated_at
from distributors where id = (select get_current_distributor_id());

-- name: lock_tenant
select id, name, time_zone, locale, currency, auto_reply, ai_confidence_threshold, catalogue_version,
    created_at, updated_at
from distributors where id = (select get_current_distributor_id()) for no key update;

-- name: update_tenant
update distributors
set name = $1, time_zone = $2, locale = $3, currency = $4, auto_reply = $5, ai_confidence_threshold = $6, updated_at = $7
where id = (select get_current_distributor_id());

-- name: bump_catalogue_version
update distributors set catalogue_version = catalogue_version + 1, updated_at = $1
where id = (select get_current_distributor_id())
returning catalogue_version;
