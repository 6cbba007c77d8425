-- name: list_products
select id, sku, name, unit, unit_price, brand, aliases, pack_size, max_quantity, active, category_id, created_at,
    updated_at
from products
where distributor_id = (select get_current_distributor_id()) and id < $1
    and ($2::boolean is null or active = $2)
    and ($3::text is null
        or position(lower($3) in lower(concat_ws(' ', sku, name, brand, array_to_string(aliases, ' ')))) > 0)
    -- A shelf and those on it; union, so that it would end in a circle, too.
    and ($4::uuid is null or category_id in (
        with recursive shelf as (
            select $4::uuid as id
            union
            select c.id from shelf s
            join product_categories c on c.distributor_id = (select get_current_distributor_id()) and c.parent_id = s.id
        )
        select id from shelf))
order by id desc
limit $5;

-- name: read_product
select id, sku, name, unit, unit_price, brand, aliases, pack_size, max_quantity, active, category_id, created_at,
    updated_at
from products
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: insert_product
insert into products
    (distributor_id, id, sku, name, unit, unit_price, brand, aliases, pack_size, max_quantity, active, category_id, created_at,
     updated_at)
values (get_current_distributor_id(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: update_product
update products
set sku = $2, name = $3, unit = $4, unit_price = $5, brand = $6, aliases = $7, pack_size = $8, max_quantity = $9,
    active = $10, category_id = $11, updated_at = $12
where distributor_id = (select get_current_distributor_id()) and id = $1;

-- name: delete_product
delete from products where distributor_id = (select get_current_distributor_id()) and id = $1 returning id;

-- name: upsert_products
-- A field that a row does not name keeps its stored value. The caller holds the tenant's row, so that no parallel
-- import changes what is read here.
with wanted as (
    select w.*, given.value as given
    from jsonb_array_elements($1::jsonb) as given(value)
    cross join lateral jsonb_to_record(given.value) as w(
        id uuid, sku text, name text, unit text, unit_price numeric, brand text, aliases text[], pack_size int,
        max_quantity numeric, active boolean)
),
stored as (
    insert into products
        (distributor_id, id, sku, name, unit, unit_price, brand, aliases, pack_size, max_quantity, active, created_at, updated_at)
    select get_current_distributor_id(), w.id, w.sku, w.name, w.unit,
        case when w.given ? 'unit_price' then w.unit_price else p.unit_price end,
        case when w.given ? 'brand' then w.brand else p.brand end,
        case when w.given ? 'aliases' then w.aliases else coalesce(p.aliases, '{}') end,
        case when w.given ? 'pack_size' then w.pack_size else p.pack_size end,
        case when w.given ? 'max_quantity' then w.max_quantity else p.max_quantity end,
        case when w.given ? 'active' then w.active else coalesce(p.active, true) end,
        $2, $2
    from wanted w
    left join products p on p.distributor_id = (select get_current_distributor_id()) and p.sku = w.sku
    order by w.id
    on conflict (distributor_id, sku) do update
    set name = excluded.name, unit = excluded.unit, unit_price = excluded.unit_price, brand = excluded.brand,
        aliases = excluded.aliases, pack_size = excluded.pack_size, max_quantity = excluded.max_quantity,
        active = excluded.active, updated_at = excluded.updated_at
    returning (xmax = 0) as is_new
)
select count(*) filter (where is_new) as created, count(*) filter (where not is_new) as updated from stored;
