-- What a clock starts: partitions, retention, recounts. The work on rows is in functions of the schema.

-- name: read_time
select clock_timestamp();

-- name: make_partition
select make_partition();

-- name: list_partitioned
select parent from partition_plan() order by place;

-- name: retire_partition
select retire_partition($1);

-- name: delete_orphans
select delete_orphans($1);

-- name: list_tenants
select id from distributors where id > $1 order by id limit $2;

-- name: list_endpoints
-- Also those that were deleted: their log is still there.
select id from webhook_endpoints where distributor_id = $1 order by id;

-- name: expire_payloads
select looked, held, expired, last_id from expire_payloads($1, $2, $3);

-- name: expire_evidence
select looked, held, expired, last_id, last_number from expire_evidence($1, $2, $3, $4, $5);

-- name: list_lapsed_customers
-- Whose status says more than the time since their last order still does (the edges are those of customer_figures()), and
-- whose spending was counted in another currency than the tenant's present one.
select id
from customers
where distributor_id = get_current_distributor_id()
    and (
        (status = 'ORDERING' and last_ordered_at < $1::timestamptz - interval '30 days')
        or (status = 'AT_RISK' and last_ordered_at < $1::timestamptz - interval '90 days')
        or currency <> (select d.currency from distributors d where d.id = (select get_current_distributor_id()))
    )
order by id
limit $2;

-- name: refresh_customers
select refresh_customers($1, $2);

-- name: refresh_usage
select refresh_usage($1, $2);

-- name: refresh_ai_usage
select refresh_ai_usage($1);
