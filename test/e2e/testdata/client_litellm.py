"""Drives the gateway with litellm as OpenAI's, Anthropic's and Google's client."""

import base64
import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it fetches its list of prices when it is imported

import litellm

import scene
from scene import GATEWAY, PNG, Key

litellm.suppress_debug_info = True
litellm.telemetry = False

step = scene.stepper(lambda err: None)
key = Key("platform-jobs")

BASES = {"openai": GATEWAY + "/v1", "anthropic": GATEWAY, "gemini": GATEWAY + "/v1beta"}


def complete(model, content="e2e-prompt", **options):
    provider, _ = model.split("/")
    options = {"api_key": key(), "num_retries": 0, "max_retries": 0, **options}
    return litellm.completion(model=model, api_base=BASES[provider], messages=[{"role": "user", "content": content}], **options)


def ask(model, *args, **options):
    return complete(model, *args, **options).choices[0].message.content


def stream(model):
    chunks = list(complete(model, stream=True, stream_options={"include_usage": True}))
    usage = chunks[-1].usage
    return {
        "text": "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices),
        "in_pieces": len(chunks) > 2,
        "usage": [usage.prompt_tokens, usage.completion_tokens],
    }


def tool(model):
    parameters = {"type": "object", "properties": {"said": {"type": "string"}}}
    answer = complete(model, "use the tool", tools=[{"type": "function", "function": {"name": "e2e-tool", "parameters": parameters}}])
    called = answer.choices[0].message.tool_calls[0].function
    return [called.name, json.loads(called.arguments)]


def image(model):
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    return ask(model, [{"type": "text", "text": "e2e-prompt"}, {"type": "image_url", "image_url": {"url": url}}])


for provider, model in ("openai", "gpt-4-turbo"), ("anthropic", "claude-sonnet"), ("gemini", "gemini-flash"):
    name = provider + "/" + model
    step(provider, lambda: ask(name))
    step(provider + ", streamed", lambda: stream(name))
    step(provider + ", a tool call", lambda: tool(name))
    step(provider + ", an image", lambda: image(name))
    step(provider + ", a forbidden model", lambda: ask(provider + "/gpt-4o"))
    step(provider + ", a bad token", lambda: ask(name, api_key="e2e.bad.token"))
    family = model.split("-")[0]
    step(provider + ", a limited model", lambda: ask(f"{provider}/{family}-limited"))
    step(provider + ", a failing model", lambda: ask(f"{provider}/{family}-failing"))
    step(provider + ", a model that dies", lambda: ask(f"{provider}/{family}-dying"))
    step(provider + ", a model that dies, streamed", lambda: stream(f"{provider}/{family}-dying"))

scene.end()
