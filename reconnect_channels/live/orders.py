"""What operators order: rows beside the revocations, found by every node as these are (design 10.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.codes import Close, Resync
from ..revocation import Cause, Cut

if TYPE_CHECKING:
    from .hub import Hub

REASON = "by an operator"
COME_BACK = (1_000, 3_000)  # ms


def obey(hub: Hub, cut: Cut) -> None:
    """Carries an order out, as far as it is about this node.

    Sockets that were greeted after it are spared: the order may be heard twice, or late.
    """
    if cut.cause == Cause.ERASED:
        hub.erase()
        return
    connection = hub.roster.connection(cut.session, cut.created)
    if connection is None:
        return
    if cut.cause == Cause.DISCONNECT:
        connection.end(Close.RESYNC, REASON, COME_BACK)
    elif cut.cause == Cause.DISMISS:
        connection.end(Close.FORBIDDEN, REASON, (0, 0))
    elif cut.cause == Cause.RESYNC:
        connection.resync(Resync.OPERATOR)
