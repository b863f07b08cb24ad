// Drives the gateway with the anthropic SDK as client_anthropic.py does.

import { all, end, expired, gateway, key, png, stepper } from "./scene.mjs";

const { default: Anthropic } = await import(process.env.SDK);

const step = stepper((err) => err.error?.error?.code ?? err.error?.error?.type);
const token = key("platform-jobs");

const credentials = async () => ({ token: await token(), expiresAt: token.expires });
const connect = (options) => new Anthropic({ baseURL: gateway, credentials, ...options });
const client = connect();
const impatient = connect({ maxRetries: 0 });

const tools = [{ name: "e2e-tool", input_schema: { type: "object", properties: { said: { type: "string" } } } }];

const ask = (model, content = "e2e-prompt", options = {}) => ({ model, max_tokens: 100, messages: [{ role: "user", content }], ...options });

const message = async (model, content, by = client, options) => (await by.messages.create(ask(model, content, options))).content[0].text;

async function stream(model) {
  const events = client.messages.stream(ask(model));
  const pieces = [];
  events.on("text", (text) => pieces.push(text));
  const { usage } = await events.finalMessage();
  return { text: pieces.join(""), in_pieces: pieces.length > 2, usage: [usage.input_tokens, usage.output_tokens] };
}

const called = (answer) => [answer.stop_reason, answer.content[0].name, answer.content[0].input];
const tool = async (model) => called(await client.messages.create(ask(model, "use the tool", { tools })));
const toolStreamed = async (model) => called(await client.messages.stream(ask(model, "use the tool", { tools })).finalMessage());

async function toolResult(model) {
  const messages = [
    { role: "user", content: "use the tool" },
    { role: "assistant", content: [{ type: "tool_use", id: "toolu_echo", name: "e2e-tool", input: {} }] },
    { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_echo", content: "e2e-result" }] },
  ];
  return (await client.messages.create({ model, max_tokens: 100, messages, tools })).content[0].text;
}

const image = (model) =>
  message(model, [
    { type: "text", text: "e2e-prompt" },
    { type: "image", source: { type: "base64", media_type: "image/png", data: png } },
  ]);

async function cached(model) {
  const system = [{ type: "text", text: "e2e-system of words", cache_control: { type: "ephemeral" } }];
  const { usage } = await client.messages.create(ask(model, undefined, { system }));
  return [usage.cache_creation_input_tokens, usage.cache_read_input_tokens];
}

const count = async (model) => (await client.messages.countTokens({ model, messages: ask(model).messages })).input_tokens;

for (const model of ["claude-sonnet", "claude-vertex", "claude-aimock"]) {
  await step(model, () => message(model));
  await step(model + ", streamed", () => stream(model));
  await step(model + ", a tool call", () => tool(model));
  await step(model + ", a tool call, streamed", () => toolStreamed(model));
}
for (const model of ["claude-sonnet", "claude-vertex"]) {
  await step(model + ", a tool's result", () => toolResult(model));
  await step(model + ", an image", () => image(model));
  await step(model + ", tokens counted", () => count(model));
  await step(model + ", a prompt to cache", () => cached(model));
  await step(model + ", the cached prompt", () => cached(model));
}

await step("models", async () => (await all(client.models.list())).map((model) => model.id).filter((id) => id.startsWith("claude-sonnet")).sort());
await step("a model", async () => (await client.models.retrieve("claude-vertex")).type);
await step("a model that is forbidden", () => message("gpt-4o"));
await step("a model that is unknown", () => message("claude-99"));
await step("a model of another API", () => message("gpt-4-turbo"));

const fixed = (authToken) => connect({ credentials: null, authToken });
await step("a bad token", () => message("claude-sonnet", undefined, fixed("e2e.bad.token")));
const stale = await expired();
await step("an expired token", () => message("claude-sonnet", undefined, fixed(stale)));
let asked = 0; // of the SDK's credentials hook, whose first token is one that doesn't work any more
const renewed = connect({ credentials: async () => (++asked === 1 ? { token: stale, expiresAt: Date.now() / 1000 + 600 } : credentials()) });
await step("an expired token, renewed", () => message("claude-sonnet", undefined, renewed));
await step("the call after", () => message("claude-sonnet", undefined, renewed));
await step("tokens asked for by both", () => asked);
await step("a key", () => message("claude-sonnet", undefined, connect({ credentials: null, apiKey: token })));

await step("a limited model", () => message("claude-limited", undefined, connect({ maxRetries: 1 })));
await step("a failing model", () => message("claude-failing", undefined, impatient));
await step("a faltering model", () => message("claude-faltering", undefined, impatient));
for (const time of ["once", "twice", "thrice"]) {
  await step("a model with another target, " + time, () => message("claude-anywhere", undefined, impatient));
}
await step("a model that dies", () => message("claude-dying", undefined, impatient));
await step("a model that dies, streamed", () => stream("claude-dying"));

end();
