// A job from Node, with nothing but a NATS client:  node client.mjs nats://127.0.0.1:4222 acme "All went well."
import { connect, headers } from "@nats-io/transport-node";
import { randomUUID } from "node:crypto";

const [servers, tenant, note] = process.argv.slice(2);
const nc = await connect({ servers });
const id = randomUUID();
const answer = nc.subscribe(`results.${tenant}.${id}`, { max: 1 }); // subscribe before publishing

const h = headers();
h.set("Nats-Msg-Id", `${tenant}.${id}`); // a second publish of it changes nothing
const job = { id, task: "classify.sentiment", request: { messages: [{ role: "user", content: note }] } };
const stored = await nc.request(`jobs.interactive.${tenant}`, JSON.stringify(job), { headers: h, timeout: 5000 });
if (stored.json().error) throw new Error(stored.json().error.description);

for await (const message of answer) console.log(JSON.stringify(message.json()));
await nc.close();
