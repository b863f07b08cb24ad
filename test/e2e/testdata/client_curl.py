"""Drives the gateway with curl, as each API's documentation shows it, but for the address."""

import base64
import json
import subprocess

import scene
from scene import GATEWAY, PNG, Key

key = Key("platform-jobs")


def code(err):
    """The code of the error that came at last, be it the answer or an event of it."""
    lines = [line for line in err.output.splitlines() if "error" in line]
    error = json.loads(lines[-1].removeprefix("data: "))["error"] if lines else {}
    return error.get("code") if isinstance(error.get("code"), str) else error.get("status", error.get("type"))


# curl raises by its exit code: 22 is an error's status, 18 an answer that breaks off.
step = scene.stepper(code, lambda err: err.returncode)


def curl(path, body=None, *headers):
    command = ["curl", "--silent", "--no-buffer", "--fail-with-body", GATEWAY + path]
    for header in headers or ["Authorization: Bearer " + key()]:
        command += ["--header", header]
    if body is not None:
        command += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        err = subprocess.CalledProcessError(done.returncode, "curl", done.stdout)
        err.body = done.stdout
        raise err
    return done.stdout


def answer(*args):
    return json.loads(curl(*args))


def events(*args):
    return [line.removeprefix("data: ") for line in curl(*args).splitlines() if line.startswith("data: ")]


def chat(model="gpt-4-turbo", content="e2e-prompt", **options):
    return "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": content}], **options}


def message(model="claude-sonnet", content="e2e-prompt", **options):
    return "/v1/messages", {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": content}], **options}


def content(*parts):
    return {"contents": [{"role": "user", "parts": list(parts) or [{"text": "e2e-prompt"}]}]}


def gemini(call, body=None):
    return "/v1beta/models/" + call, body or content()


def vertex(call, body=None):
    return "/v1/projects/acme/locations/europe-west4/publishers/google/models/" + call, body or content()


def anthropic(token=None):
    return "x-api-key: " + (token or key()), "anthropic-version: 2023-06-01"


def google(token=None):
    return "x-goog-api-key: " + (token or key())


def said(chunks):
    return "".join(part.get("text", "") for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"])


PNG_BASE64 = base64.b64encode(PNG).decode()
PARAMETERS = {"type": "object", "properties": {"said": {"type": "string"}}}
FUNCTION = {"name": "e2e-tool", "parameters": PARAMETERS}

step("chat", lambda: answer(*chat())["choices"][0]["message"]["content"])
step("chat with api-key", lambda: answer(*chat(), "api-key: " + key())["choices"][0]["message"]["content"])
step("chat, streamed", lambda: events(*chat(stream=True))[-1])
step("chat, a tool call", lambda: answer(*chat(content="use the tool", tools=[{"type": "function", "function": FUNCTION}]))["choices"][0]["message"]["tool_calls"][0]["function"]["name"])
step("a message", lambda: answer(*message(), *anthropic())["content"][0]["text"])
step("a message, streamed", lambda: json.loads(events(*message(stream=True), *anthropic())[-1]))
step("a message, a tool call", lambda: answer(*message(content="use the tool", tools=[{"name": "e2e-tool", "input_schema": PARAMETERS}]), *anthropic())["content"][0]["input"])
step("content", lambda: said([answer(*gemini("gemini-flash:generateContent"), google())]))
step("content, streamed", lambda: said(map(json.loads, events(*gemini("gemini-flash:streamGenerateContent?alt=sse"), google()))))
step("content, streamed as an array", lambda: said(answer(*gemini("gemini-flash:streamGenerateContent"), google())))
step("content with an image", lambda: said([answer(*gemini("gemini-flash:generateContent", content({"text": "e2e-prompt"}, {"inline_data": {"mime_type": "image/png", "data": PNG_BASE64}})))]))
step("an embedding", lambda: answer(*gemini("gemini-flash:embedContent", {"content": {"parts": [{"text": "e2e-input"}]}}), google())["embedding"]["values"])
step("Vertex AI's content", lambda: said([answer(*vertex("gemini-vertex:generateContent"))]))
step("Vertex AI's content, streamed as an array", lambda: said(answer(*vertex("gemini-vertex:streamGenerateContent"))))
step("Vertex AI's prediction", lambda: answer(*vertex("gemini-vertex:predict", {"instances": [{"content": "e2e-input"}]}))["predictions"][0]["embeddings"]["values"])

step("a token in the query", lambda: answer("/v1beta/models/gemini-flash:generateContent?key=" + key(), content()))
for api, call, headers in (
    ("chat", chat, lambda token: ["Authorization: Bearer " + token]),
    ("a message", message, anthropic),
    ("content", lambda model="gemini-flash": gemini(model + ":generateContent"), lambda token: [google(token)]),
):
    step(api + ", a bad token", lambda: answer(*call(), *headers("e2e.bad.token")))
    step(api + ", a model that is forbidden", lambda: answer(*call("gpt-4o"), *headers(key())))
    step(api + ", a model that is unknown", lambda: answer(*call("model-99"), *headers(key())))
    family = {"chat": "gpt", "a message": "claude", "content": "gemini"}[api]
    for trouble in ("limited", "failing", "dying"):
        step(f"{api}, a {trouble} model", lambda: answer(*call(f"{family}-{trouble}"), *headers(key())))
step("chat, a dying model, streamed", lambda: events(*chat("gpt-dying", stream=True)))
step("a message, a dying model, streamed", lambda: events(*message("claude-dying", stream=True), *anthropic()))
step("content, a dying model, streamed", lambda: events(*gemini("gemini-dying:streamGenerateContent?alt=sse"), google()))
step("content, a dying model, streamed as an array", lambda: events(*gemini("gemini-dying:streamGenerateContent"), google()))

scene.end()
