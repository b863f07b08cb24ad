// Drives the gateway with the openai SDK as client_openai.py does.

import { all, end, expiry, issued, key, gateway as url, png, stepper } from "./scene.mjs";

const { default: OpenAI, toFile } = await import(process.env.SDK);

const gateway = url + "/v1";

const step = stepper((err) => err.code);

const openai = (apiKey) => new OpenAI({ baseURL: gateway, apiKey });

const messages = [{ role: "user", content: "e2e-prompt" }];

async function chat(client, model = "gpt-4-turbo") {
  const answer = await client.chat.completions.create({ model, messages });
  return answer.choices[0].message.content;
}

async function stream(client, options) {
  const chunks = await all(client.chat.completions.create({ model: "gpt-4-turbo", messages, stream: true, ...options }));
  return {
    text: chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? "")).join(""),
    in_pieces: chunks.length > 2,
    usage_chunks: chunks.filter((chunk) => chunk.choices.length === 0).length,
    usage: chunks.some((chunk) => chunk.usage),
  };
}

async function embed(client, options) {
  const answer = await client.embeddings.create({ model: "text-embedding-3-small", input: "e2e-input", ...options });
  return Array.from(answer.data[0].embedding);
}

const models = async (client) => (await all(client.models.list())).map((model) => model.id).sort();

const image = async (answer) => Buffer.from((await answer).data[0].b64_json, "base64").toString();

async function streamResponse(client) {
  const events = await all(client.responses.create({ model: "gpt-4-turbo", input: "e2e-prompt", stream: true }));
  const deltas = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  return { text: deltas.join(""), in_pieces: deltas.length > 2, last: events.at(-1).type };
}

async function tool(client) {
  const parameters = { type: "object", properties: { said: { type: "string" } } };
  const answer = await client.chat.completions.create({
    model: "gpt-4-turbo",
    messages: [{ role: "user", content: "use the tool" }],
    tools: [{ type: "function", function: { name: "e2e-tool", parameters } }],
  });
  const called = answer.choices[0].message.tool_calls[0].function;
  return [answer.choices[0].finish_reason, called.name, JSON.parse(called.arguments)];
}

async function see(client) {
  const content = [
    { type: "text", text: "e2e-prompt" },
    { type: "image_url", image_url: { url: "data:image/png;base64," + png } },
  ];
  const answer = await client.chat.completions.create({ model: "gpt-4-turbo", messages: [{ role: "user", content }] });
  return answer.choices[0].message.content;
}

async function transcribe(client, options) {
  const file = await bytes("e2e-\0\r\naudio", "a.wav");
  return (await client.audio.transcriptions.create({ model: "whisper-1", file, ...options })).text;
}

async function batchFile(client, ...models) {
  const lines = models.map((model, number) =>
    JSON.stringify({ custom_id: String(number), method: "POST", url: "/v1/chat/completions", body: { model, messages } }),
  );
  return client.files.create({ file: await toFile(Buffer.from(lines.join("\n")), "e2e.jsonl"), purpose: "batch" });
}

const ids = async (items) => (await all(items)).map((item) => item.id);
const state = async (stored) => `${(await stored).id} ${(await stored).status}`;
const bytes = (text, name) => toFile(Buffer.from(text), name);

const pipelineKey = key("data-pipeline");
const pipeline = openai(pipelineKey);
const nobody = openai(key("no-groups"));

await step("chat", () => chat(pipeline));
await step("streaming", () => stream(pipeline));
await step("streaming with usage", () => stream(pipeline, { stream_options: { include_usage: true } }));
await step("embeddings", () => embed(pipeline));
await step("models", () => models(pipeline));
await step("fine-tuning", () => pipeline.fineTuning.jobs.create({ model: "gpt-4-turbo", training_file: "file-e2e" }));
await step("a model that is forbidden", () => chat(pipeline, "gpt-4o"));
await step("a model that is unknown", () => chat(pipeline, "gpt-99"));
await step("chat without groups", () => chat(nobody));
await step("models without groups", () => models(nobody));

const former = await pipelineKey();
const before = issued.length;
await expiry(pipelineKey);
await step("an expired token", () => chat(openai(former)));
await step("the next call", () => chat(pipeline));
await step("the call after", () => chat(pipeline));
await step("tokens fetched for both", () => issued.length - before);

const client = openai(key("platform-jobs"));

await step("a completion", async () => (await client.completions.create({ model: "gpt-3.5-turbo-instruct", prompt: "e2e-prompt" })).choices[0].text);
await step("a moderation", async () => (await client.moderations.create({ model: "omni-moderation", input: "e2e-input" })).results[0].flagged);
await step("embeddings as floats", () => embed(client, { encoding_format: "float" }));

await step("an image", () => image(client.images.generate({ model: "gpt-image-1", prompt: "e2e-prompt" })));
await step("an edited image", async () => image(client.images.edit({ model: "gpt-image-1", image: [await bytes("e2e-image", "a.png"), await bytes("e2e-image", "b.png")], prompt: "e2e-prompt" })));
await step("speech", async () => (await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "e2e-input" })).text());
await step("a transcription", () => transcribe(client, { timestamp_granularities: ["word", "segment"] }));
await step("a translation", async () => (await client.audio.translations.create({ model: "whisper-1", file: await bytes("e2e-\r\n--audio", "a.wav") })).text);

await step("a response", async () => (await client.responses.create({ model: "gpt-4-turbo", input: "e2e-prompt" })).output_text);
await step("a response, streamed", () => streamResponse(client));
await step("a response in the background", () => state(client.responses.create({ model: "o4-mini", input: "e2e-prompt", background: true })));
await step("the response", () => state(client.responses.retrieve("resp-1", { include: ["reasoning.encrypted_content"] })));
await step("what it answers", async () => (await client.responses.inputItems.list("resp-1")).data[0].content[0].text);
await step("the response, cancelled", () => state(client.responses.cancel("resp-1")));
await step("the response, deleted", async () => void (await client.responses.delete("resp-1"))); // as the SDK declares it
await step("the response that was deleted", () => state(client.responses.retrieve("resp-1")));

await step("a file", async () => (await client.files.create({ file: await bytes("e2e-\r\n\0file", "e2e-ü.txt"), purpose: "user_data" })).id);
await step("files", () => ids(client.files.list({ limit: 2, order: "asc" })));
await step("the file", async () => (await client.files.retrieve("file-1")).filename);
await step("its content", async () => (await client.files.content("file-1")).text());
await step("the file, deleted", async () => (await client.files.delete("file-1")).deleted);

const upload = { filename: "e2e.txt", mime_type: "text/plain", purpose: "user_data" };
await step("an upload", () => state(client.uploads.create({ ...upload, bytes: 12 })));
await step("its first part", async () => (await client.uploads.parts.create("upload-1", { data: await bytes("e2e-up", "part") })).id);
await step("its second part", async () => (await client.uploads.parts.create("upload-1", { data: await bytes("-load\n", "part") })).id);
await step("the upload, completed", async () => (await client.uploads.complete("upload-1", { part_ids: ["part-1", "part-2"] })).file.id);
await step("another upload", () => state(client.uploads.create({ ...upload, bytes: 1 })));
await step("the other upload, cancelled", () => state(client.uploads.cancel("upload-2")));
await step("an upload for a batch", () => client.uploads.create({ ...upload, bytes: 1, purpose: "batch" }));

await step("a batch file", async () => (await batchFile(client, "o4-mini", "o4-mini")).id);
await step("a batch file, one line denied", () => batchFile(client, "o4-mini", "gpt-4o"));
await step("the models in the batch file", async () => (await (await client.files.content("file-3")).text()).split("\n").map((line) => JSON.parse(line).body.model));
await step("a batch", () => state(client.batches.create({ input_file_id: "file-3", endpoint: "/v1/chat/completions", completion_window: "24h" })));
await step("batches", () => ids(client.batches.list()));
await step("the batch", async () => (await client.batches.retrieve("batch-1")).request_counts.total);
await step("the batch, cancelled", () => state(client.batches.cancel("batch-1")));

const jobs = client.fineTuning.jobs;
await step("a job", () => state(jobs.create({ model: "o4-mini", training_file: "file-2" })));
await step("jobs", () => ids(jobs.list()));
await step("the job", async () => (await jobs.retrieve("ftjob-1")).model);
await step("its events", () => all(jobs.listEvents("ftjob-1")));
await step("its checkpoints", () => all(jobs.checkpoints.list("ftjob-1")));
await step("the job, paused", () => state(jobs.pause("ftjob-1")));
await step("the job, resumed", () => state(jobs.resume("ftjob-1")));
await step("the job, cancelled", () => state(jobs.cancel("ftjob-1")));

await step("a tool call", () => tool(client));
await step("an image to see", () => see(client));
for (const model of ["gpt-azure", "gpt-azure-with-a-key", "gemini-as-openai"]) {
  await step(model, () => chat(client, model));
  await step(model + ", streamed", () => stream(client, { model }));
}
await step("a model of another API", () => chat(client, "claude-sonnet"));

const impatient = client.withOptions({ maxRetries: 0 });
await step("a bad token", () => chat(openai("e2e.bad.token")));
await step("a limited model", () => chat(client.withOptions({ maxRetries: 1 }), "gpt-limited"));
await step("a failing model", () => chat(impatient, "gpt-failing"));
await step("a faltering model", () => chat(impatient, "gpt-faltering"));
for (const time of ["once", "twice", "thrice"]) {
  await step("a model with another target, " + time, () => chat(impatient, "gpt-anywhere"));
}
await step("a model that dies", () => chat(impatient, "gpt-dying"));
await step("a model that dies, streamed", () => stream(impatient, { model: "gpt-dying" }));

end();
