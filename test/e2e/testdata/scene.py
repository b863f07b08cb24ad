"""What the clients in Python share: tokens of Keycloak's, and the steps' results, a line of JSON each."""

import base64
import functools
import json
import os
import time
import urllib.parse
import urllib.request

GATEWAY = os.environ["GATEWAY_URL"]
ISSUER = os.environ["ISSUER"]

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


class Key:
    """What README advises: a callable key, which the SDK asks before every request, and which asks
    Keycloak by client credentials when the token it holds is about to expire."""

    issued = []

    def __init__(self, client_id):
        self.form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": "e2e-secret-of-" + client_id,
        }
        self.expires = 0

    def __call__(self):
        if time.time() > self.expires - 1:
            self.fetch()
        return self.token

    def fetch(self):
        body = urllib.parse.urlencode(self.form).encode()
        with urllib.request.urlopen(ISSUER + "/protocol/openid-connect/token", body) as answer:
            self.token = json.load(answer)["access_token"]
        claims = self.token.split(".")[1]
        self.expires = json.loads(base64.urlsafe_b64decode(claims + "=="))["exp"]
        Key.issued.append(self.token)
        return self.token


def expired():
    """A token that was good until now."""
    key = Key("data-pipeline")
    key.fetch()
    wait_for_expiry(key)
    return key.token


def wait_for_expiry(key):
    time.sleep(max(0, key.expires - time.time()) + 1.5)  # 1 s is the gateway's clock_skew


def stepper(code, status=lambda err: getattr(err, "status_code", None)):
    """Returns what takes a step and prints its result. An exception is told by its class, and by what
    code and status read from it."""
    return functools.partial(step, code, status)


def step(code, status, name, call):
    try:
        result = call()
    except Exception as err:
        body = getattr(err, "body", None) or getattr(err, "details", None) or str(err)
        result = {"raised": type(err).__name__, "status": status(err), "code": code(err), "body": body}
    print(json.dumps({"step": name, "result": result}), flush=True)


def end():
    print(json.dumps({"step": "tokens", "result": Key.issued}))
