"""Drives the gateway with the anthropic SDK."""

import base64
import time

import anthropic
from anthropic.lib.credentials import AccessToken

import scene
from scene import GATEWAY, PNG, Key

step = scene.stepper(lambda err: err.body["error"].get("code", err.type) if getattr(err, "body", None) else None)
key = Key("platform-jobs")

TOOL = {"name": "e2e-tool", "input_schema": {"type": "object", "properties": {"said": {"type": "string"}}}}


class Renewing:
    """The SDK's credentials hook. The first token that it gives is one that doesn't work any more."""

    def __init__(self, stale):
        self.stale = stale
        self.asked = 0

    def __call__(self, **options):
        self.asked += 1
        if self.asked == 1:
            return AccessToken(token=self.stale, expires_at=int(time.time()) + 600)
        return AccessToken(token=key(), expires_at=int(key.expires))


def connect(**options):
    return anthropic.Anthropic(base_url=GATEWAY, **{"credentials": lambda **_: AccessToken(token=key(), expires_at=int(key.expires)), **options})


def ask(model, content="e2e-prompt", **options):
    return dict(model=model, max_tokens=100, messages=[{"role": "user", "content": content}], **options)


def message(model, content="e2e-prompt", client=None, **options):
    return (client or client_of_all).messages.create(**ask(model, content, **options)).content[0].text


def stream(model, **options):
    with client_of_all.messages.stream(**ask(model, **options)) as events:
        pieces = list(events.text_stream)
        usage = events.get_final_message().usage
    return {"text": "".join(pieces), "in_pieces": len(pieces) > 2, "usage": [usage.input_tokens, usage.output_tokens]}


def tool(model):
    answer = client_of_all.messages.create(**ask(model, "use the tool", tools=[TOOL]))
    return [answer.stop_reason, answer.content[0].name, answer.content[0].input]


def tool_streamed(model):
    with client_of_all.messages.stream(**ask(model, "use the tool", tools=[TOOL])) as events:
        answer = events.get_final_message()
    return [answer.stop_reason, answer.content[0].name, answer.content[0].input]


def tool_result(model):
    turns = [
        {"role": "user", "content": "use the tool"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_echo", "name": "e2e-tool", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_echo", "content": "e2e-result"}]},
    ]
    return client_of_all.messages.create(model=model, max_tokens=100, messages=turns, tools=[TOOL]).content[0].text


def image(model):
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    return message(model, [{"type": "text", "text": "e2e-prompt"}, {"type": "image", "source": source}])


def cached(model):
    system = [{"type": "text", "text": "e2e-system of words", "cache_control": {"type": "ephemeral"}}]
    usage = client_of_all.messages.create(**ask(model, system=system)).usage
    return [usage.cache_creation_input_tokens, usage.cache_read_input_tokens]


def count(model):
    return client_of_all.messages.count_tokens(model=model, messages=[{"role": "user", "content": "e2e-prompt"}]).input_tokens


client_of_all = connect()
impatient = connect(max_retries=0)

for model in ("claude-sonnet", "claude-vertex", "claude-aimock"):
    step(model, lambda: message(model))
    step(model + ", streamed", lambda: stream(model))
    step(model + ", a tool call", lambda: tool(model))
    step(model + ", a tool call, streamed", lambda: tool_streamed(model))
for model in ("claude-sonnet", "claude-vertex"):
    step(model + ", a tool's result", lambda: tool_result(model))
    step(model + ", an image", lambda: image(model))
    step(model + ", tokens counted", lambda: count(model))
    step(model + ", a prompt to cache", lambda: cached(model))
    step(model + ", the cached prompt", lambda: cached(model))

step("models", lambda: sorted(model.id for model in client_of_all.models.list() if model.id.startswith("claude-sonnet")))
step("a model", lambda: client_of_all.models.retrieve("claude-vertex").type)
step("a model that is forbidden", lambda: message("gpt-4o"))
step("a model that is unknown", lambda: message("claude-99"))
step("a model of another API", lambda: message("gpt-4-turbo"))

step("a bad token", lambda: message("claude-sonnet", client=connect(credentials=None, auth_token="e2e.bad.token")))
stale = scene.expired()
step("an expired token", lambda: message("claude-sonnet", client=connect(credentials=None, auth_token=stale)))
renewing = Renewing(stale)
renewed = connect(credentials=renewing)
step("an expired token, renewed", lambda: message("claude-sonnet", client=renewed))
step("the call after", lambda: message("claude-sonnet", client=renewed))
step("tokens asked for by both", lambda: renewing.asked)
step("a key", lambda: message("claude-sonnet", client=connect(credentials=None, api_key=key())))

step("a limited model", lambda: message("claude-limited", client=connect(max_retries=1)))
step("a failing model", lambda: message("claude-failing", client=impatient))
step("a faltering model", lambda: message("claude-faltering", client=impatient))
for time_ in ("once", "twice", "thrice"):
    step("a model with another target, " + time_, lambda: message("claude-anywhere", client=impatient))
step("a model that dies", lambda: message("claude-dying", client=impatient))
step("a model that dies, streamed", lambda: stream("claude-dying"))

scene.end()
