"""The door to a connection."""

from uuid import uuid4

from db.tenant import Database


async def test_no_tenant_no_rows(database: Database):
    async with database.tenant(uuid4()) as connection:
        assert await connection.fetch("select * from distributors") == []
        assert await connection.fetchval("select current_user") == "waystation_app"
