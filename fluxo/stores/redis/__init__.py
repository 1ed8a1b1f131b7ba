"""
The store on Redis.

Owns: what Redis needs: one Lua script per method, all keys of a shard under one hash tag. redis-py talks to the server;
loaded when such a store is made.
"""

from fluxo.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
