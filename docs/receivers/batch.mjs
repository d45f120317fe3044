// A receiver of signed batches: answers 204 where the signature holds and all events are dealt with, 422 where one of them
// is refused, 400 otherwise.
//
//   WEBHOOK_SECRET=whsec_... PORT=8080 node batch.mjs

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const TOLERANCE = 5 * 60; // seconds
const LONGEST = 32 * 1024 * 1024; // bytes
const key = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
if (key.length === 0) throw new Error("WEBHOOK_SECRET is not a secret");

function genuine(headers, body) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"];
  const signatures = headers["webhook-signature"];
  if (!id || !signatures || !/^\d{1,12}$/.test(timestamp)) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) return false;
  const mac = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body);
  const expected = Buffer.from(`v1,${mac.digest("base64")}`);
  // While a secret is being rotated there are two, and one that holds is enough.
  return signatures.split(" ").some((signature) => {
    const given = Buffer.from(signature);
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

async function read(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= LONGEST) chunks.push(chunk);
  }
  return length <= LONGEST ? Buffer.concat(chunks) : null; // the bytes as they came
}

class Refused extends Error {} // an event that will never be taken, however often it comes

const seen = new Set(); // better a table, written in the transaction of what you do with the event

async function handle(event) {
  const id = event["webhook-id"] ?? event.id; // CloudEvents have their own
  // The same event can come again, in this batch or in another one.
  if (seen.has(id)) return;
  if ("body" in event && Object.keys(event).length === 2) throw new Refused("its body is no object");
  console.log(id, event);
  seen.add(id);
}

function parse(body, mediaType) {
  const text = body.toString();
  if (mediaType !== "application/x-ndjson") return JSON.parse(text);
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

async function receive(request) {
  const body = await read(request);
  if (request.method !== "POST" || !body || !genuine(request.headers, body)) return 400;
  try {
    for (const event of parse(body, request.headers["content-type"])) await handle(event);
  } catch (error) {
    if (error instanceof Refused) return 422; // the batch is sent in halves, until the one that is refused is alone
    throw error; // all of it is sent again
  }
  return 204;
}

createServer(async (request, response) => {
  const status = await receive(request).catch(() => 500);
  response.writeHead(status).end();
}).listen(Number(process.env.PORT), "127.0.0.1");
