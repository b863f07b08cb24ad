"""Drives the gateway with langchain-openai."""

import base64

import scene
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from scene import GATEWAY, PNG, Key

step = scene.stepper(lambda err: getattr(err, "code", None))
key = Key("platform-jobs")


def model(name, **options):
    return ChatOpenAI(model=name, base_url=GATEWAY + "/v1", **{"api_key": key, **options})


def stream(name):
    pieces = list(model(name, max_retries=0, stream_usage=True).stream("e2e-prompt"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    usage = whole.usage_metadata or {}
    return {"text": whole.content, "in_pieces": len(pieces) > 2, "usage": [usage.get("input_tokens"), usage.get("output_tokens")]}


TOOL = {"name": "e2e-tool", "description": "e2e", "parameters": {"type": "object", "properties": {"said": {"type": "string"}}}}


def tool():
    call = model("gpt-4-turbo").bind_tools([TOOL]).invoke("use the tool").tool_calls[0]
    return [call["name"], call["args"]]


def tool_streamed():
    pieces = list(model("gpt-4-turbo").bind_tools([TOOL]).stream("use the tool"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return [whole.tool_calls[0]["name"], whole.tool_calls[0]["args"]]


def image():
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    content = [{"type": "text", "text": "e2e-prompt"}, {"type": "image_url", "image_url": {"url": url}}]
    return model("gpt-4-turbo").invoke([HumanMessage(content)]).content


def embed():
    embeddings = OpenAIEmbeddings(
        model="text-embedding-3-small", base_url=GATEWAY + "/v1", api_key=key, check_embedding_ctx_length=False
    )
    return embeddings.embed_query("e2e-input")


def ask(name, **options):
    return model(name, **options).invoke("e2e-prompt").content


step("chat", lambda: ask("gpt-4-turbo"))
step("streaming", lambda: stream("gpt-4-turbo"))
step("a tool call", lambda: tool())
step("a tool call, streamed", lambda: tool_streamed())
step("an image to see", lambda: image())
step("a response", lambda: model("gpt-4-turbo", use_responses_api=True).invoke("e2e-prompt").text)
step("an embedding", lambda: embed())

step("a model that is forbidden", lambda: ask("gpt-4o"))
step("a model that is unknown", lambda: ask("gpt-99"))
step("a bad token", lambda: ask("gpt-4-turbo", api_key="e2e.bad.token"))
step("an expired token", lambda: ask("gpt-4-turbo", api_key=scene.expired()))
pipeline = Key("data-pipeline")
renewing = model("gpt-4-turbo", api_key=pipeline)
step("a first token", lambda: renewing.invoke("e2e-prompt").content)
scene.wait_for_expiry(pipeline)
step("the next token", lambda: renewing.invoke("e2e-prompt").content)

step("a limited model", lambda: ask("gpt-limited", max_retries=1))
step("a failing model", lambda: ask("gpt-failing", max_retries=0))
step("a faltering model", lambda: ask("gpt-faltering", max_retries=0))
step("a model with another target", lambda: ask("gpt-anywhere", max_retries=0))
step("a model that dies", lambda: ask("gpt-dying", max_retries=0))
step("a model that dies, streamed", lambda: stream("gpt-dying"))

scene.end()
