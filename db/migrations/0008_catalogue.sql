-- What the tenant sells, with the words customers use for it.

create table product_categories (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    parent_id uuid,
    name text not null check (name <> ''),
    position int not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id),
    check (parent_id <> id),
    foreign key (distributor_id, parent_id) references product_categories (distributor_id, id) on delete set null (parent_id)
);
comment on table product_categories is '[5 Catalogue] A tree of shelves to find products by; a category without a parent is at the top.';
comment on column product_categories.name is 'Unique under one parent, whatever the case.';
create unique index product_categories_name on product_categories (distributor_id, parent_id, lower(name)) nulls not distinct;
call protect_tenant_table('product_categories');
grant select, insert, delete on product_categories to waystation_app;
grant update (parent_id, name, position, updated_at) on product_categories to waystation_app;

create table products (
    distributor_id uuid not null references distributors (id) on delete cascade,
    id uuid not null,
    sku text not null check (sku <> ''),
    name text not null check (name <> ''),
    unit text not null check (unit <> ''),
    unit_price numeric(14, 4) check (unit_price >= 0),
    brand text,
    category_id uuid,
    aliases text[] not null default '{}',
    pack_size int check (pack_size > 0),
    max_quantity numeric(12, 3) check (max_quantity > 0),
    active boolean not null default true,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id, category_id) references product_categories (distributor_id, id) on delete set null (category_id)
);
comment on table products is
    '[5 Catalogue] A product in its sale unit. pack_size is the number of single pieces in one sale unit; inactive ones are never matched.';
comment on column products.unit_price is 'Per sale unit in the tenant''s currency; NULL: none, so its lines count as 0.';
comment on column products.brand is 'Helps to tell products of one kind apart.';
comment on column products.pack_size is 'Single pieces in one sale unit: 24 bottles are one caja.';
comment on column products.max_quantity is 'More than that in one line is doubted.';
create index products_category on products (distributor_id, category_id);
create unique index products_sku on products (distributor_id, sku);
call protect_tenant_table('products');
grant select, insert, delete on products to waystation_app;
grant update (sku, name, unit, unit_price, brand, category_id, aliases, pack_size, max_quantity, active, updated_at) on products to waystation_app;

create table product_variants (
    distributor_id uuid not null,
    id uuid not null,
    product_id uuid not null,
    kind text not null check (kind in ('SIZE', 'COLOR', 'VOLUME', 'WEIGHT', 'FLAVOR', 'STYLE')),
    name text not null check (name <> ''),
    sku text check (sku <> ''),
    unit_price numeric(14, 4) check (unit_price >= 0),
    aliases text[] not null default '{}',
    active boolean not null default true,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (distributor_id, id),
    foreign key (distributor_id, product_id) references products (distributor_id, id) on delete cascade
);
comment on table product_variants is
    '[5 Catalogue] A form of a product with its own words and price. Coming: matching will read it, so that "the small one" finds its size.';
comment on column product_variants.kind is 'In what respect it differs.';
comment on column product_variants.name is 'Unique among the variants of one kind.';
comment on column product_variants.unit_price is 'NULL: the product''s.';
create unique index product_variants_name on product_variants (distributor_id, product_id, kind, lower(name));
create unique index product_variants_sku on product_variants (distributor_id, sku) where sku is not null;
call protect_tenant_table('product_variants');
