// A receiver of signed webhooks: answers 204 where the signature holds, 400 otherwise.
//
//   WEBHOOK_SECRET=whsec_... PORT=8080 node receiver.mjs

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

async function handle(id, event) {
  // The same id can come again: keep the ids that you have dealt with, and skip those.
  console.log(id, event);
}

async function receive(request) {
  const body = await read(request);
  if (request.method !== "POST" || !body || !genuine(request.headers, body)) return 400;
  await handle(request.headers["webhook-id"], JSON.parse(body)); // where this fails, it is sent again
  return 204;
}

createServer(async (request, response) => {
  const status = await receive(request).catch(() => 500);
  response.writeHead(status).end();
}).listen(Number(process.env.PORT), "127.0.0.1");
