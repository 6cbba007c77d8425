"""Files go with the messages that they were of."""

from datetime import timedelta
from uuid import UUID

from db import media
from handlers.media_store import MediaStore
from handlers.runtime import Runtime
from handlers.upkeep import each_tenant

_BATCH = 1_000
# A file is in the store before its row says so; and it may be stored again for a new message at this moment, which counts
# as put now.
_LEAST_AGE = timedelta(days=1)


async def delete_unused_files(runtime: Runtime, store: MediaStore) -> int:
    """Deletes the files that no message has any more, a day after they were last put; gives back how many. Raises
    StoreUnavailable: the next run goes on.

    Only tenants that are in this database are looked at: a bucket that two installations share by mistake loses nothing.
    """
    deleted = 0
    async for tenant in each_tenant(runtime):
        deleted += await _delete_unused(runtime, store, tenant)
    return deleted


async def _delete_unused(runtime: Runtime, store: MediaStore, tenant: UUID) -> int:
    deleted, after = 0, ""
    latest = runtime.clock() - _LEAST_AGE
    while files := await store.list_files(tenant, after, _BATCH):
        after = files[-1].key
        old = [file.key for file in files if file.put_at < latest]
        async with runtime.database.tenant(tenant) as connection:
            kept = await media.list_kept_keys(connection, old)
        for key in old:
            # One that was put again since it was listed is a new message's, whose row may have come after the look.
            if key not in kept and await store.delete_older(key, latest):
                deleted += 1
    return deleted
