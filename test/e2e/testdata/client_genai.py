"""Drives the gateway with the google-genai SDK, in the mode of the Gemini API or in that of Vertex AI."""

import datetime
import sys

import google.auth.credentials
from google import genai
from google.genai import types

import scene
from scene import GATEWAY, PNG, Key

VERTEX = sys.argv[1] == "vertex"

step = scene.stepper(lambda err: getattr(err, "status", None), lambda err: getattr(err, "code", None))
key = Key("platform-jobs")


class Keycloak(google.auth.credentials.Credentials):
    """The hook of the libraries that speak to Google Cloud."""

    refreshed = 0

    def refresh(self, request):
        self.refreshed += 1
        self.token = key.fetch()
        self.expiry = datetime.datetime.fromtimestamp(key.expires, datetime.UTC).replace(tzinfo=None)


class Fixed(google.auth.credentials.Credentials):
    """Never asks for another token."""

    def __init__(self, token):
        super().__init__()
        self.token = token

    def refresh(self, request):
        raise AssertionError


def connect(token=None, **options):
    if VERTEX:
        return genai.Client(
            vertexai=True,
            project=options.pop("project", "acme"),
            location=options.pop("location", "europe-west4"),
            credentials=token or Keycloak(),
            http_options=types.HttpOptions(base_url=GATEWAY, **options),
        )
    return genai.Client(api_key=token or key(), http_options=types.HttpOptions(base_url=GATEWAY, api_version="v1beta", **options))


def bad(token):
    return connect(Fixed(token) if VERTEX else token)


def generate(model, contents="e2e-prompt", by=None, **config):
    return (by or client).models.generate_content(model=model, contents=contents, config=types.GenerateContentConfig(**config))


def text(model, *args, **options):
    return generate(model, *args, **options).text


def stream(model):
    chunks = list(client.models.generate_content_stream(model=model, contents="e2e-prompt"))
    usage = chunks[-1].usage_metadata
    return {
        "text": "".join(chunk.text or "" for chunk in chunks),
        "in_pieces": len(chunks) > 2,
        "usage": [usage.prompt_token_count, usage.candidates_token_count],
    }


SCHEMA = types.Schema(type="OBJECT", properties={"said": types.Schema(type="STRING")})
TOOLS = [types.Tool(function_declarations=[types.FunctionDeclaration(name="e2e-tool", parameters=SCHEMA)])]


def tool(model):
    call = generate(model, "use the tool", tools=TOOLS).function_calls[0]
    return [call.name, call.args]


def tool_streamed(model):
    chunks = client.models.generate_content_stream(
        model=model, contents="use the tool", config=types.GenerateContentConfig(tools=TOOLS)
    )
    return [[call.name, call.args] for chunk in chunks for call in chunk.function_calls or []]


def tool_result(model):
    turns = [
        types.UserContent("use the tool"),
        types.ModelContent(types.Part.from_function_call(name="e2e-tool", args={})),
        types.UserContent(types.Part.from_function_response(name="e2e-tool", response={"said": "e2e-result"})),
    ]
    return text(model, turns, tools=TOOLS)


def image(model):
    return text(model, [types.Part.from_text(text="e2e-prompt"), types.Part.from_bytes(data=PNG, mime_type="image/png")])


def cached(model):
    return generate(model, system_instruction="e2e-system of words").usage_metadata.cached_content_token_count


def think(model):
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=100)
    return generate(model, thinking_config=thinking).usage_metadata.thoughts_token_count


def count(model):
    return client.models.count_tokens(model=model, contents="e2e-prompt").total_tokens


def embed(model):
    return client.models.embed_content(model=model, contents="e2e-input").embeddings[0].values


client = connect()

for model in ["gemini-vertex"] if VERTEX else ["gemini-flash", "gemini-vertex", "gemini-aimock"]:
    step(model, lambda: text(model))
    step(model + ", streamed", lambda: stream(model))
    step(model + ", a tool call", lambda: tool(model))
    step(model + ", a tool call, streamed", lambda: tool_streamed(model))
for model in ["gemini-vertex"] if VERTEX else ["gemini-flash"]:
    step("a tool's result", lambda: tool_result(model))
    step("an image", lambda: image(model))
    step("a thought", lambda: think(model))
    step("a prompt to cache", lambda: cached(model))
    step("the cached prompt", lambda: cached(model))
    step("tokens counted", lambda: count(model))
    step("an embedding", lambda: embed(model))

step("a model that is forbidden", lambda: text("gpt-4o"))
step("a model that is unknown", lambda: text("gemini-99"))
step("a model of another API", lambda: text("gpt-4-turbo"))
if VERTEX:
    step("another's project", lambda: text("gemini-vertex", by=connect(project="other")))
    step("another location", lambda: text("gemini-vertex", by=connect(location="us-central1")))
    step("a model of another upstream", lambda: text("gemini-flash"))

step("a bad token", lambda: text(model, by=bad("e2e.bad.token")))
step("an expired token", lambda: text(model, by=bad(scene.expired())))
if VERTEX:
    credentials = Keycloak()
    refreshing = connect(credentials)
    step("a first token", lambda: text(model, by=refreshing))
    credentials.expiry = datetime.datetime(2020, 1, 1)
    step("a token refreshed", lambda: text(model, by=refreshing))
    step("the call after", lambda: text(model, by=refreshing))
    step("refreshed", lambda: credentials.refreshed)

prefix = "vertex-" if VERTEX else "gemini-"
step("a limited model", lambda: text(prefix + "limited", by=connect(retry_options=types.HttpRetryOptions(attempts=2, initial_delay=0.1))))
step("a limited model, by default", lambda: text(prefix + "limited"))
step("a failing model", lambda: text(prefix + "failing"))
step("a faltering model", lambda: text(prefix + "faltering"))
if not VERTEX:
    for time in ("once", "twice", "thrice"):
        step("a model with another target, " + time, lambda: text("gemini-anywhere"))
step("a model that dies", lambda: text(prefix + "dying"))
step("a model that dies, streamed", lambda: stream(prefix + "dying"))

scene.end()
