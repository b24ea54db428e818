"""The durable truth: streams and their entries, and what was done with the messages of producers."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from .protocol.position import MODULUS


class Stream(models.Model):
    """A totally ordered log. Its row is the counter: whoever holds it may append (design 7.2)."""

    name = models.CharField(max_length=100, unique=True)
    epoch = models.CharField(max_length=64)
    head = models.BigIntegerField(default=0)
    checksum = models.BigIntegerField(default=0)
    floor = models.BigIntegerField(default=1)
    floor_checksum = models.BigIntegerField(default=0)
    clock = models.BigIntegerField(default=0)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        permissions: ClassVar = [("new_epoch_stream", "Can begin a new epoch of streams")]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="reconnect_stream_floor",
                condition=Q(head__gte=0, floor__gte=1, floor__lte=F("head") + 1),
            ),
            models.CheckConstraint(
                name="reconnect_stream_checksum",
                condition=Q(
                    checksum__gte=0, checksum__lt=MODULUS, floor_checksum__gte=0, floor_checksum__lt=MODULUS
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class StreamEntry(models.Model):
    """One entry; `text` is its payload, encoded once by the publisher."""

    # Only one index begins with the stream, so that a read has no choice: without statistics, PostgreSQL
    # took another, and filtered all entries of the stream.
    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="entries", db_index=False)
    seq = models.BigIntegerField()
    uid = models.CharField(max_length=36)
    checksum = models.BigIntegerField()
    clock = models.BigIntegerField()
    key = models.CharField(max_length=36, null=True)  # noqa: DJ001 - "no author" isn't an empty key
    text = models.TextField()
    # The identity of who wrote it; empty: nobody's. Nodes of the version before append without it.
    author = models.CharField(max_length=200, default="", db_default="")
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "stream entries"
        permissions: ClassVar = [
            ("view_payload", "Can view payloads"),
            ("erase_payload", "Can erase what somebody wrote"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["author"], name="reconnect_entry_author", condition=~Q(author="")),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stream", "seq"], name="reconnect_entry_seq"),
            models.UniqueConstraint(fields=["uid", "stream"], name="reconnect_entry_uid"),
            models.CheckConstraint(name="reconnect_entry_seq_positive", condition=Q(seq__gte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.stream_id}:{self.seq}"


class Producer(models.Model):
    """How far the server got with one outbox on one stream (design 8.5)."""

    identity = models.CharField(max_length=200)
    producer = models.CharField(max_length=36)
    stream = models.CharField(max_length=100)
    last_n = models.BigIntegerField(default=0)
    updated = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["identity", "producer", "stream"], name="reconnect_producer"),
        ]

    def __str__(self) -> str:
        return f"{self.producer} on {self.stream}"


class ProcessedMessage(models.Model):
    """What became of a message: the answer that its retries get (design 8.1)."""

    class Status(models.TextChoices):
        CLAIMED = "claimed"
        ACKED = "acked"
        REJECTED = "rejected"

    identity = models.CharField(max_length=200)
    stream = models.CharField(max_length=100)
    key = models.CharField(max_length=36)
    payload_hash = models.CharField(max_length=64)
    status = models.CharField(max_length=8, choices=Status.choices)
    token = models.CharField(max_length=32, default="")
    lease_until = models.DateTimeField(null=True)
    epoch = models.CharField(max_length=64, default="")
    seq = models.BigIntegerField(null=True)
    code = models.PositiveSmallIntegerField(default=0)
    reason = models.CharField(max_length=500, default="")
    result = models.TextField(default="null")
    created = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["identity", "stream", "key"], name="reconnect_message_key"),
        ]

    def __str__(self) -> str:
        return f"{self.key} on {self.stream}: {self.status}"


class DriftReport(models.Model):
    """A client whose history was not the server's; repeats count up (design 5.5)."""

    stream = models.CharField(max_length=100)
    identity = models.CharField(max_length=200)
    client_id = models.CharField(max_length=200)
    epoch = models.CharField(max_length=64)
    seq = models.BigIntegerField()
    client_checksum = models.BigIntegerField()
    server_checksum = models.BigIntegerField(null=True)
    trace_id = models.CharField(max_length=32, default="")  # of the connection where it was seen last
    count = models.PositiveIntegerField(default=1)
    first_seen = models.DateTimeField(default=timezone.now)
    last_seen = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["identity", "last_seen"], name="reconnect_drift_identity")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["stream", "identity", "client_id"], name="reconnect_drift_client"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.client_id} on {self.stream}"


class Node(models.Model):
    """A server process that holds sockets. One that is silent is dead: its sessions are reaped."""

    name = models.CharField(max_length=12, unique=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    channel = models.CharField(max_length=200, default="")  # of the layer; left behind by a kill
    draining = models.BooleanField(default=False)
    live = models.PositiveIntegerField(default=0)  # sessions; this and what follows: as of its heartbeat
    published = models.FloatField(default=0.0)  # entries a second
    delivered = models.FloatField(default=0.0)  # entries a second, to live sockets
    returned = models.FloatField(default=0.0)  # clients a second that came back
    outage = models.FloatField(default=0.0)  # seconds; the longest of those clients
    breakers = models.CharField(max_length=100, default="")  # the names of open ones, with commas
    started = models.DateTimeField(default=timezone.now)
    seen = models.DateTimeField(default=timezone.now, db_index=True)
    clock = models.DateTimeField(null=True)  # the node's own, when it was seen by the database's
    reaped = models.DateTimeField(null=True)  # when somebody began to clear up after it

    class Meta:
        permissions: ClassVar = [("view_metrics", "Can read metrics")]

    def __str__(self) -> str:
        return f"{self.name} ({self.host}:{self.pid})"


class NodeStream(models.Model):
    """A stream that a node's channel follows: the layer's group to take it out of after a kill."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="streams")
    stream = models.CharField(max_length=100)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["node", "stream"], name="reconnect_node_stream"),
        ]

    def __str__(self) -> str:
        return f"{self.stream} on {self.node_id}"


class ClientSession(models.Model):
    """One client of one identity over all its reconnects; written behind (design 10.4)."""

    class State(models.TextChoices):
        LIVE = "live"
        AWAY = "away"  # its socket ended; it is expected back
        ENDED = "ended"

    class Drift(models.TextChoices):
        DIVERGED = "diverged"  # its history isn't the server's
        LAGGING = "lagging"  # it acknowledges too little of what it was sent

    key = models.CharField(max_length=32, unique=True)  # a hash of identity and client_id
    identity = models.CharField(max_length=200)
    client_id = models.CharField(max_length=200)
    socket = models.CharField(max_length=16)  # the `session` of the WELCOME that it got last
    node = models.CharField(max_length=12, db_index=True)
    term = models.BigIntegerField(default=0)
    attempt = models.BigIntegerField(default=0)
    state = models.CharField(max_length=5, choices=State.choices, default=State.LIVE)
    positions = models.JSONField(default=dict)  # stream -> [epoch, seq] that the client acknowledged
    environment = models.CharField(max_length=16, default="other")
    connects = models.PositiveIntegerField(default=1)
    outage_ms = models.BigIntegerField(default=0)  # the last one: from a socket's end to the next WELCOME
    close_code = models.PositiveSmallIntegerField(null=True)
    drift = models.CharField(max_length=8, choices=Drift.choices, default="")
    flight = models.TextField(default="")  # the last events, one JSON array a line
    created = models.DateTimeField(default=timezone.now)
    connected = models.DateTimeField(default=timezone.now)
    seen = models.DateTimeField(default=timezone.now)  # of one that isn't live: when its socket ended

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["state", "seen"], name="reconnect_session_state"),
            models.Index(fields=["identity"], name="reconnect_session_identity"),
            models.Index(fields=["drift"], name="reconnect_session_drift", condition=Q(drift__gt="")),
        ]
        permissions: ClassVar = [
            ("disconnect_clientsession", "Can disconnect client sessions"),
            ("resync_clientsession", "Can have client sessions resynced"),
        ]

    def __str__(self) -> str:
        return f"{self.client_id} of {self.identity}"


class SessionStream(models.Model):
    """A session that is on a stream: who is there."""

    session = models.ForeignKey(ClientSession, on_delete=models.CASCADE, related_name="streams")
    stream = models.CharField(max_length=100)
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stream", "session"], name="reconnect_session_stream"),
        ]

    def __str__(self) -> str:
        return f"{self.session_id} on {self.stream}"


class Revocation(models.Model):
    """A right that ended while sockets may live on it; a row, because the layer may drop it (design 10.5).

    What is empty means "whichever".
    """

    class Cause(models.TextChoices):
        REVOKED = "revoked"
        LOGOUT = "logged out"
        PASSWORD = "password changed"
        DEACTIVATED = "deactivated"
        DELETED = "deleted"
        CHECK = "check"  # something changed that hooks may ask for: ask them again
        DISCONNECT = "disconnect"  # an operator's orders for one session, with its key: this one comes back
        DISMISS = "dismiss"  # and this one doesn't by itself
        RESYNC = "resync"
        ERASED = "erased"  # payloads that were blanked: what is in memory of any is forgotten

    identity = models.CharField(max_length=200, default="")
    session = models.CharField(max_length=64, default="")  # hashed: the key of a Django session is a secret
    auth = models.CharField(max_length=64, default="")  # hashed: sessions with this auth hash live on
    stream = models.CharField(max_length=100, default="")
    cause = models.CharField(max_length=16, choices=Cause.choices, default=Cause.REVOKED)
    created = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.identity or self.session or 'everybody'} on {self.stream or 'every stream'}"


class StoredSnapshot(models.Model):
    """The state of a stream at a position, folded from its log by `reduce` (design 7.7).

    It holds in every epoch whose log has this checksum at this seq. The stream is named, not linked: its
    log may be elsewhere.
    """

    stream = models.CharField(max_length=100)
    version = models.PositiveIntegerField(default=1)
    seq = models.BigIntegerField()
    checksum = models.BigIntegerField()
    text = models.TextField()
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stream", "version", "seq"], name="reconnect_snapshot_position"),
        ]

    def __str__(self) -> str:
        return f"{self.stream}:{self.seq}"
