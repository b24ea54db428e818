"""Does to the example's boards what lines of JSON on stdin ask for, and answers with lines of JSON.

Its hub isn't the server's, and the in-memory layer doesn't reach there: what it publishes is found by the
server's head check. `python -m tests.browser.writer`.
"""

import json
import sys
from typing import Any

import django

django.setup()

from example_project.board import cards  # noqa: E402
from example_project.board.models import Card  # noqa: E402
from reconnect_channels import Reject  # noqa: E402
from reconnect_channels.log import log_for  # noqa: E402


def dump(slug: str) -> dict[str, Any]:
    """The rows: cards in their order, and the stream's head."""
    stream = f"board:{slug}"
    position = log_for(stream).heads([stream])[stream].position
    return {
        "cards": [card.data() for card in Card.objects.filter(board__slug=slug)],
        "position": {"epoch": position.epoch, "seq": position.seq, "checksum": position.checksum},
    }


DO = {"create": cards.create, "edit": cards.edit, "move": cards.move, "delete": cards.delete, "dump": dump}

for line in sys.stdin:
    do, *arguments = json.loads(line)
    try:
        answer = DO[do](*arguments)
    except Reject as refusal:
        answer = {"refused": str(refusal.reason)}
    print(json.dumps(answer), flush=True)
