from tests.support.stores import connection, database, postgres

__all__ = ["connection", "database", "postgres"]
