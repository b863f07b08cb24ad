"""Drives the gateway with the openai SDK."""

import base64
import json

import openai

import scene
from scene import PNG, Key

GATEWAY = scene.GATEWAY + "/v1"

step = scene.stepper(lambda err: getattr(err, "code", None))


def chat(client, model="gpt-4-turbo"):
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "e2e-prompt"}])
    return answer.choices[0].message.content


def stream(client, model="gpt-4-turbo", **options):
    chunks = list(
        client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "e2e-prompt"}], stream=True, **options
        )
    )
    return {
        "text": "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices),
        "in_pieces": len(chunks) > 2,
        "usage_chunks": sum(not chunk.choices for chunk in chunks),
        "usage": any(chunk.usage for chunk in chunks),
    }


def embed(client, **options):
    answer = client.embeddings.create(model="text-embedding-3-small", input="e2e-input", **options)
    return answer.data[0].embedding


def fine_tune(client):
    return client.fine_tuning.jobs.create(model="gpt-4-turbo", training_file="file-e2e").id


def models(client):
    return sorted(model.id for model in client.models.list())


def complete(client):
    return client.completions.create(model="gpt-3.5-turbo-instruct", prompt="e2e-prompt").choices[0].text


def image(answer):
    return base64.b64decode(answer.data[0].b64_json).decode()


def transcribe(client, **options):
    return client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"e2e-\x00\r\naudio"), **options).text


def stream_response(client):
    events = list(client.responses.create(model="gpt-4-turbo", input="e2e-prompt", stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    return {"text": "".join(deltas), "in_pieces": len(deltas) > 2, "last": events[-1].type}


def batch_file(client, *models):
    lines = [
        {
            "custom_id": str(number),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": "e2e-prompt"}]},
        }
        for number, model in enumerate(models)
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    return client.files.create(file=("e2e.jsonl", text.encode()), purpose="batch")


def state(stored):
    return stored.id + " " + stored.status


def tool(client, model="gpt-4-turbo"):
    function = {"name": "e2e-tool", "parameters": {"type": "object", "properties": {"said": {"type": "string"}}}}
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "use the tool"}], tools=[{"type": "function", "function": function}]
    )
    called = answer.choices[0].message.tool_calls[0].function
    return [answer.choices[0].finish_reason, called.name, json.loads(called.arguments)]


def see(client):
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    content = [{"type": "text", "text": "e2e-prompt"}, {"type": "image_url", "image_url": {"url": url}}]
    return client.chat.completions.create(model="gpt-4-turbo", messages=[{"role": "user", "content": content}]).choices[0].message.content


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
scene.wait_for_expiry(key)
step("an expired token", lambda: chat(openai.OpenAI(base_url=GATEWAY, api_key=former)))
step("the next call", lambda: chat(pipeline))
step("the call after", lambda: chat(pipeline))
step("tokens fetched for both", lambda: len(Key.issued) - issued)

client = openai.OpenAI(base_url=GATEWAY, api_key=Key("platform-jobs"))

step("a completion", lambda: complete(client))
step("a moderation", lambda: client.moderations.create(model="omni-moderation", input="e2e-input").results[0].flagged)
step("embeddings as floats", lambda: embed(client, encoding_format="float"))

step("an image", lambda: image(client.images.generate(model="gpt-image-1", prompt="e2e-prompt")))
step("an edited image", lambda: image(client.images.edit(model="gpt-image-1", image=[("a.png", b"e2e-image"), ("b.png", b"e2e-image")], prompt="e2e-prompt")))
step("speech", lambda: client.audio.speech.create(model="tts-1", voice="alloy", input="e2e-input").read().decode())
step("a transcription", lambda: transcribe(client, timestamp_granularities=["word", "segment"]))
step("a translation", lambda: client.audio.translations.create(model="whisper-1", file=("a.wav", b"e2e-\r\n--audio")).text)

step("a response", lambda: client.responses.create(model="gpt-4-turbo", input="e2e-prompt").output_text)
step("a response, streamed", lambda: stream_response(client))
step("a response in the background", lambda: state(client.responses.create(model="o4-mini", input="e2e-prompt", background=True)))
step("the response", lambda: state(client.responses.retrieve("resp-1", include=["reasoning.encrypted_content"])))
step("what it answers", lambda: client.responses.input_items.list("resp-1").data[0].content[0].text)
step("the response, cancelled", lambda: state(client.responses.cancel("resp-1")))
step("the response, deleted", lambda: client.responses.delete("resp-1"))
step("the response that was deleted", lambda: state(client.responses.retrieve("resp-1")))

step("a file", lambda: client.files.create(file=("e2e-ü.txt", b"e2e-\r\n\x00file"), purpose="user_data").id)
step("files", lambda: [file.id for file in client.files.list(limit=2, order="asc")])
step("the file", lambda: client.files.retrieve("file-1").filename)
step("its content", lambda: client.files.content("file-1").read().decode())
step("the file, deleted", lambda: client.files.delete("file-1").deleted)

step("an upload", lambda: state(client.uploads.create(bytes=12, filename="e2e.txt", mime_type="text/plain", purpose="user_data")))
step("its first part", lambda: client.uploads.parts.create("upload-1", data=b"e2e-up").id)
step("its second part", lambda: client.uploads.parts.create("upload-1", data=b"-load\n").id)
step("the upload, completed", lambda: client.uploads.complete("upload-1", part_ids=["part-1", "part-2"]).file.id)
step("another upload", lambda: state(client.uploads.create(bytes=1, filename="e2e.txt", mime_type="text/plain", purpose="user_data")))
step("the other upload, cancelled", lambda: state(client.uploads.cancel("upload-2")))
step("an upload for a batch", lambda: client.uploads.create(bytes=1, filename="e2e.txt", mime_type="text/plain", purpose="batch").id)

step("a batch file", lambda: batch_file(client, "o4-mini", "o4-mini").id)
step("a batch file, one line denied", lambda: batch_file(client, "o4-mini", "gpt-4o").id)
step("the models in the batch file", lambda: [json.loads(line)["body"]["model"] for line in client.files.content("file-3").iter_lines()])
step("a batch", lambda: state(client.batches.create(input_file_id="file-3", endpoint="/v1/chat/completions", completion_window="24h")))
step("batches", lambda: [batch.id for batch in client.batches.list()])
step("the batch", lambda: client.batches.retrieve("batch-1").request_counts.total)
step("the batch, cancelled", lambda: state(client.batches.cancel("batch-1")))

jobs = client.fine_tuning.jobs
step("a job", lambda: state(jobs.create(model="o4-mini", training_file="file-2")))
step("jobs", lambda: [job.id for job in jobs.list()])
step("the job", lambda: jobs.retrieve("ftjob-1").model)
step("its events", lambda: list(jobs.list_events("ftjob-1")))
step("its checkpoints", lambda: list(jobs.checkpoints.list("ftjob-1")))
step("the job, paused", lambda: state(jobs.pause("ftjob-1")))
step("the job, resumed", lambda: state(jobs.resume("ftjob-1")))
step("the job, cancelled", lambda: state(jobs.cancel("ftjob-1")))

step("a tool call", lambda: tool(client))
step("an image to see", lambda: see(client))
for model in ("gpt-azure", "gpt-azure-with-a-key", "gemini-as-openai"):
    step(model, lambda: chat(client, model))
    step(model + ", streamed", lambda: stream(client, model))
step("a model of another API", lambda: chat(client, "claude-sonnet"))

impatient = client.with_options(max_retries=0)
step("a bad token", lambda: chat(openai.OpenAI(base_url=GATEWAY, api_key="e2e.bad.token")))
step("a limited model", lambda: chat(client.with_options(max_retries=1), "gpt-limited"))
step("a failing model", lambda: chat(impatient, "gpt-failing"))
step("a faltering model", lambda: chat(impatient, "gpt-faltering"))
for time in ("once", "twice", "thrice"):
    step("a model with another target, " + time, lambda: chat(impatient, "gpt-anywhere"))
step("a model that dies", lambda: chat(impatient, "gpt-dying"))
step("a model that dies, streamed", lambda: stream(impatient, "gpt-dying"))

scene.end()
