"""Drives the gateway with the openai SDK, and prints what each step came to as a line of JSON."""

import base64
import json
import os
import time
import urllib.parse
import urllib.request

import openai

GATEWAY = os.environ["GATEWAY_URL"] + "/v1"
ISSUER = os.environ["ISSUER"]


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
            body = urllib.parse.urlencode(self.form).encode()
            with urllib.request.urlopen(ISSUER + "/protocol/openid-connect/token", body) as answer:
                self.token = json.load(answer)["access_token"]
            claims = self.token.split(".")[1]
            self.expires = json.loads(base64.urlsafe_b64decode(claims + "=="))["exp"]
            Key.issued.append(self.token)
        return self.token


def step(name, call):
    try:
        result = call()
    except openai.APIStatusError as err:
        result = {"raised": type(err).__name__, "status": err.status_code, "code": err.code, "body": err.body}
    print(json.dumps({"step": name, "result": result}), flush=True)


def chat(client, model="gpt-4-turbo"):
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "e2e-prompt"}])
    return answer.choices[0].message.content


def stream(client, **options):
    chunks = list(
        client.chat.completions.create(
            model="gpt-4-turbo", messages=[{"role": "user", "content": "e2e-prompt"}], stream=True, **options
        )
    )
    return {
        "text": "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices),
        "in_pieces": len(chunks) > 2,
        "usage_chunks": sum(not chunk.choices for chunk in chunks),
        "usage": any(chunk.usage for chunk in chunks),
    }


def embed(client):
    answer = client.embeddings.create(model="text-embedding-3-small", input="e2e-input")
    return answer.data[0].embedding


def fine_tune(client):
    return client.fine_tuning.jobs.create(model="gpt-4-turbo", training_file="file-e2e").id


def models(client):
    return sorted(model.id for model in client.models.list())


def wait_for_expiry(key):
    time.sleep(max(0, key.expires - time.time()) + 1.5)  # 1 s is the gateway's clock_skew


key = Key("data-pipeline")
pipeline = openai.OpenAI(base_url=GATEWAY, api_key=key)
nobody = openai.OpenAI(base_url=GATEWAY, api_key=Key("no-groups"))

step("chat", lambda: chat(pipeline))
step("streaming", lambda: stream(pipeline))
step("streaming with usage", lambda: stream(pipeline, stream_options={"include_usage": True}))
step("embeddings", lambda: embed(pipeline))
step("models", lambda: models(pipeline))
step("fine-tuning", lambda: fine_tune(pipeline))
step("a model that is forbidden", lambda: chat(pipeline, "gpt-4o"))
step("a model that is unknown", lambda: chat(pipeline, "gpt-99"))
step("chat without groups", lambda: chat(nobody))
step("models without groups", lambda: models(nobody))

key()
former, issued = key.token, len(Key.issued)
wait_for_expiry(key)
step("an expired token", lambda: chat(openai.OpenAI(base_url=GATEWAY, api_key=former)))
step("the next call", lambda: chat(pipeline))
step("the call after", lambda: chat(pipeline))
step("tokens fetched for both", lambda: len(Key.issued) - issued)

print(json.dumps({"step": "tokens", "result": Key.issued}))
