"""One connection, and short ways to ask it."""


class Session:
    """A connection, with what tests ask all the time."""

    def __init__(self, connection):
        self.connection = connection

    def run(self, statement, *arguments):
        return self.connection.execute(statement, arguments or None)

    def rows(self, statement, *arguments):
        return self.run(statement, *arguments).fetchall()

    def value(self, statement, *arguments):
        row = self.run(statement, *arguments).fetchone()
        return row and row[0]

    def job(self, call, *arguments):
        """What a job comes to that `call` asks for, at its end."""
        number = self.value(f"SELECT {call}", *arguments)
        return self.value("SELECT webhook_wait(%s)", number)
