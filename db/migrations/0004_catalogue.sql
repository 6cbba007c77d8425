-- What the tenant sells, with the words customers use for it.

create table products (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    sku text not null check (sku <> ''),
    name text not null check (name <> ''),
    unit text not null check (unit <> ''),
    unit_price numeric(14, 4) check (unit_price >= 0),
    brand text,
    aliases text[] not null default '{}',
    pack_size int check (pack_size > 0),
    max_quantity numeric(12, 3) check (max_quantity > 0),
    active boolean not null default true,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id)
);
comment on table products is 'A product in its sale unit. pack_size is the number of single pieces in one sale unit; inactive ones are never matched.';
create unique index products_sku on products (distributor_id, sku);
call protect_tenant_table('products');
grant select, insert, delete on products to waystation_app;
grant update (sku, name, unit, unit_price, brand, aliases, pack_size, max_quantity, active, updated_at) on products to waystation_app;
