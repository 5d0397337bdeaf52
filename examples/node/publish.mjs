// Shows: a job published from Node, with a NATS client and nothing of Fleet's, and its result as one line of JSON.
// Needs: a running fleet (`make up` in another terminal), and `npm install` once in examples/node.
// Run:   node examples/node/publish.mjs nats://127.0.0.1:4222 demo "Katapu: The meeting with Vuhis was smooth."
import { connect, headers } from "@nats-io/transport-node";
import { randomUUID } from "node:crypto";

const [servers, tenant, text] = process.argv.slice(2);
const nc = await connect({ servers });
const id = randomUUID();
const lane = "standard";
const results = nc.subscribe(`results.${tenant}.${id}`, { max: 1 }); // subscribe before publishing

const h = headers();
h.set("Nats-Msg-Id", `${tenant}.${id}`); // a second publish of it changes nothing
const job = { id, task: "classify.sentiment", request: { messages: [{ role: "user", content: text }] } };
const reply = await nc.request(`jobs.${lane}.${tenant}`, JSON.stringify(job), { headers: h, timeout: 5000 });
const stored = reply.json();
if (stored.stream !== "JOBS") throw new Error(`not stored: ${JSON.stringify(stored)}`);

for await (const message of results) console.log(JSON.stringify(message.json()));
await nc.close();
