"""One row of every model, with markup wherever a text comes from a client or an application."""

import uuid
from typing import Any

from django.db import models

from reconnect_channels import drift, publish, revoke
from reconnect_channels.dedup.database import process
from reconnect_channels.models import ClientSession, Node, NodeStream, SessionStream, StoredSnapshot
from reconnect_channels.protocol.frames import Message
from reconnect_channels.protocol.position import Position
from tests.admin.pages import MODELS

XSS = "<script>alert(1)</script>"


def make() -> dict[str, Any]:
    """As the live code writes them; then every text that fits becomes hostile."""
    message = Message(id=str(uuid.uuid4()), producer=str(uuid.uuid4()), n=1, stream="s", payload=XSS)
    process(lambda message: {"text": publish("s", message.payload).text}, message, f"user:{XSS}")
    drift.report("s", f"user:{XSS}", XSS, Position("e", 1, 1), None)
    revoke(f"user:{XSS}", stream="s")
    session = ClientSession.objects.create(key="k", identity=f"user:{XSS}", client_id=XSS, node="n")
    SessionStream.objects.create(session=session, stream="s")
    StoredSnapshot.objects.create(stream="s", seq=1, checksum=1, text=f'"{XSS}"')
    NodeStream.objects.create(node=Node.objects.create(name="n", host=XSS, pid=1), stream="s")
    return {name: model.objects.order_by("pk").first() for name, model in MODELS.items()}


def spoil(row: Any) -> list[str]:
    """Puts markup into every text of a row, whatever writes it; returns the columns."""
    spoilt = [
        field.name
        for field in row._meta.concrete_fields
        if isinstance(field, models.CharField | models.TextField) and (field.max_length or 999) >= len(XSS)
    ]
    for name in spoilt:
        setattr(row, name, XSS)
    if hasattr(row, "positions"):
        row.positions = {XSS: [XSS, 1]}
    row.save()
    return spoilt
