"""
The store on MongoDB.

Owns: what MongoDB needs: a replica set, majority and journal, transactions where several documents change. PyMongo
talks to the server; loaded when such a store is made.
"""

from fluxo.stores.mongo.store import MongoStore

__all__ = ["MongoStore"]
