"""A slot that is read with pgoutput, as Debezium, Sequin and subscribers read it."""

import dataclasses
import struct


@dataclasses.dataclass(frozen=True)
class Change:
    """A changed row: `I`, `U` or `D`, with the transaction and the first column of what it says of the row."""

    kind: str
    xid: int
    key: int


class Slot:
    """A slot and the tables of a publication, by whoever may read slots."""

    def __init__(self, judge, name, publication):
        self.judge, self.name, self.publication = judge, name, publication
        judge.run("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", name)

    def read(self):
        """Takes what there is."""
        xid, changes = None, []
        for (message,) in self.judge.rows(
            "SELECT data FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1', 'publication_names', %s)",
            self.name, self.publication,
        ):
            kind = chr(message[0])
            if kind == "B":
                # its LSN and its time come first
                [xid] = struct.unpack_from("!I", message, 17)
            elif kind in "IUD":
                changes.append(Change(kind, xid, key(message)))
        return changes


def key(message):
    """The first column: after the kind, the relation, what tuple follows (`N`, `K` or `O`) and how many columns it has."""
    assert message[8:9] == b"t", message
    [length] = struct.unpack_from("!i", message, 9)
    return int(message[13:13 + length])
