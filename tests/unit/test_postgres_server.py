"""The tests' own Postgres: each test has a database of its own, and a restart keeps what was committed."""

import psycopg
import pytest

from tests.postgres_server import PostgresServer


def test_each_test_has_an_empty_database_of_its_own(database_url, postgres):
    other = postgres.new_database()
    with psycopg.connect(database_url) as mine:
        mine.execute("CREATE TABLE thing (id int)")

    with psycopg.connect(other) as theirs:
        assert theirs.execute("SELECT to_regclass('thing')").fetchone() == (None,)
    postgres.drop_database(other)


@pytest.mark.slow
def test_a_restart_ends_connections_and_keeps_what_was_committed():
    server = PostgresServer()
    try:
        url = server.new_database()
        connection = psycopg.connect(url, autocommit=True)
        connection.execute("CREATE TABLE thing AS SELECT 7 AS id")

        server.stop()
        server.start()

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        with psycopg.connect(url) as again:
            assert again.execute("SELECT id FROM thing").fetchone() == (7,)
    finally:
        server.remove()
