-- The tree of shelves. Whoever changes its shape holds the tenant's row, so that no two changes make a circle.

-- name: list_categories
select c.id, c.parent_id, c.name, c.position, up.path, stock.products, c.created_at, c.updated_at
from product_categories c
cross join lateral (
    with recursive step as (
        select c.name, c.parent_id, 0 as height
        union all
        select p.name, p.parent_id, s.height + 1
        from step s
        join product_categories p on p.distributor_id = (select get_current_distributor_id()) and p.id = s.parent_id
    )
    select array_agg(name order by height desc) as path from step
) up
cross join lateral (
    select count(*) as products from products p where p.distributor_id = c.distributor_id and p.category_id = c.id
) stock
where c.distributor_id = (select get_current_distributor_id()) and c.id < $1 and ($2::uuid is null or c.id = $2)
order by c.id desc
limit $3;

-- name: list_ancestors
-- The category itself, its parent, and so on to the top; none where there is no such category.
with recursive step as (
    select c.id, c.parent_id, 0 as height
    from product_categories c
    where c.distributor_id = (select get_current_distributor_id()) and c.id = $1
    union all
    select p.id, p.parent_id, s.height + 1
    from step s
    join product_categories p on p.distributor_id = (select get_current_distributor_id()) and p.id = s.parent_id
)
select id from step order by height;

-- name: insert_category
insert into product_categories (distributor_id, id, parent_id, name, position, created_at, updated_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $5);

-- name: update_category
update product_categories set parent_id = $2, name = $3, position = $4, updated_at = $5
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: delete_category
-- Those below it move to the top, its products have no category any more.
delete from product_categories where distributor_id = (select get_current_distributor_id()) and id = $1 returning id;
