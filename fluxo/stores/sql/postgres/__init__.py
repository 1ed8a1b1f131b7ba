"""
The store on PostgreSQL.

Owns: what PostgreSQL needs around the common schema. Psycopg 3 runs the statements, on connections that are held;
loaded when such a store is made.
"""

from fluxo.stores.sql.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
