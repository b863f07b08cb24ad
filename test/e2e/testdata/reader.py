"""Reads bodies, one a line in base64, as an upstream in Python would, and prints the model and the
stream flag of each, or null where it would refuse. With the argument "first", the first of repeated
names counts, as it does to some readers, and not the last."""

import base64
import json
import sys

hook = (lambda members: dict(reversed(members))) if "first" in sys.argv else None

for line in sys.stdin:
    try:
        body = json.loads(base64.b64decode(line), object_pairs_hook=hook)
        read = {"model": body["model"], "stream": body.get("stream") is True}
        if not isinstance(body["model"], str):
            read = None
    except Exception:
        read = None
    print(json.dumps(read))
