-- The words by which a tenant sorts its customers.

-- name: list_labels
select l.id, l.name, l.color, l.description, used.customers, l.created_at, l.updated_at
from customer_labels l
cross join lateral (
    select count(*) as customers from customer_label_assignments a
    where a.distributor_id = l.distributor_id and a.label_id = l.id
) used
where l.distributor_id = (select get_current_distributor_id()) and l.id < $1 and ($2::uuid is null or l.id = $2)
order by l.id desc
limit $3;

-- name: insert_label
insert into customer_labels (distributor_id, id, name, color, description, created_at, updated_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $5);

-- name: update_label
update customer_labels
set name = coalesce($2, name), color = coalesce($3, color), description = coalesce($4, description), updated_at = $5
where distributor_id = (select get_current_distributor_id()) and id = $1
returning id;

-- name: delete_label
delete from customer_labels where distributor_id = (select get_current_distributor_id()) and id = $1 returning id;

-- name: list_labels_of
select a.customer_id, l.id, l.name, l.color
from customer_label_assignments a
join customer_labels l on l.distributor_id = a.distributor_id and l.id = a.label_id
where a.distributor_id = (select get_current_distributor_id()) and a.customer_id = any($1::uuid[])
order by lower(l.name);

-- name: assign_label
-- Gives back 0 where there is no such customer or label. Both are held, so that neither goes meanwhile.
with wanted as (
    select c.id as customer_id, l.id as label_id
    from customers c
    join customer_labels l on l.distributor_id = c.distributor_id and l.id = $2
    where c.distributor_id = (select get_current_distributor_id()) and c.id = $1
    for key share
),
assigned as (
    insert into customer_label_assignments (distributor_id, customer_id, label_id, created_at)
    select get_current_distributor_id(), customer_id, label_id, $3 from wanted
    on conflict do nothing
)
select count(*) from wanted;

-- name: unassign_label
delete from customer_label_assignments
where distributor_id = (select get_current_distributor_id()) and customer_id = $1 and label_id = $2
returning label_id;
