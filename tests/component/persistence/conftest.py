from tests.support.stores import database, postgres, s3

__all__ = ["database", "postgres", "s3"]
