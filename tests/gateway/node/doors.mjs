// What a Node service does with OpenAI's unmodified SDK; prints what it saw as JSON.
// node doors.mjs BASE_URL, with a webhook {body, headers, secret} as JSON on stdin

import OpenAI, { toFile } from "openai";
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";

const webhook = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const input = "I love the new calendar.";
const asked = { model: "auto", messages: [{ role: "user", content: input }] };
const endpoint = "/v1/chat/completions";

async function ended(look) {
  for (;;) {
    const found = await look();
    if (!["queued", "validating", "in_progress", "finalizing"].includes(found.status)) return found;
    await setTimeout(10);
  }
}

async function chat() {
  const done = await client.chat.completions.create(asked);
  return done.choices[0].message.content;
}

async function streamedChat() {
  const chunks = [];
  const stream = await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) chunks.push(chunk);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  return [text, chunks.at(-1).usage.total_tokens];
}

async function batch() {
  const rows = ["row-1", "row-2"].map((custom_id) => JSON.stringify({ custom_id, method: "POST", url: endpoint, body: asked }));
  const file = await client.files.create({ file: await toFile(Buffer.from(rows.join("\n")), "rows.jsonl"), purpose: "batch" });
  const made = await client.batches.create({ input_file_id: file.id, endpoint, completion_window: "24h" });
  const done = await ended(() => client.batches.retrieve(made.id));
  const output = await (await client.files.content(done.output_file_id)).text();
  const answers = output.trim().split("\n").map((line) => JSON.parse(line));
  return [done.status, Object.fromEntries(answers.map((row) => [row.custom_id, row.response.body.choices[0].message.content]))];
}

async function background() {
  const begun = await client.responses.create({ model: "auto", input, background: true });
  const done = await ended(() => client.responses.retrieve(begun.id));
  return [begun.status, done.status, done.output_text];
}

// The events of a stream that breaks behind each of them in turn, and is taken up again.
async function brokenStreams() {
  const streams = [];
  for (let cut = 1; cut <= (streams[0]?.length ?? 1); cut++) {
    const seen = [];
    for await (const event of await client.responses.create({ model: "auto", input, background: true, stream: true })) {
      seen.push(event);
      if (seen.length === cut) break;
    }
    const after = { stream: true, starting_after: seen.at(-1).sequence_number };
    for await (const event of await client.responses.retrieve(seen[0].response.id, after)) seen.push(event);
    streams.push(seen.map((event) => [event.sequence_number, event.type]));
  }
  return streams;
}

async function unwrapped(secret) {
  try {
    return (await client.webhooks.unwrap(webhook.body, webhook.headers, secret)).type;
  } catch (error) {
    return error.constructor.name;
  }
}

console.log(JSON.stringify({
  chat: await chat(),
  streamedChat: await streamedChat(),
  batch: await batch(),
  background: await background(),
  brokenStreams: await brokenStreams(),
  webhooks: [await unwrapped(webhook.secret), await unwrapped(webhook.secret.replace(/.{8}$/, "AAAAAAA="))],
}));
