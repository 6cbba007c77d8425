-- What a tenant used in a month; it is recounted in upkeep.sql.

-- name: read_usage
select period, customers, messages_in, messages_out, orders, ai_requests, ai_tokens, ai_cost_micro_usd, counted_at
from distributor_usage
where distributor_id = (select get_current_distributor_id()) and period = $1;
