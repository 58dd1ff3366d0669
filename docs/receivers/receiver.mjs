// A webhook receiver in Node (18 or later, nothing to install):   WEBHOOK_SECRET=… PORT=3000 node receiver.mjs
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const SECRET = process.env.WEBHOOK_SECRET;
if (!SECRET) throw new Error('WEBHOOK_SECRET is not set');
const TOLERANCE_S = 300;

const same = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

// X-Webhook-Signature: sha256=<hex>, over the body, keyed with the secret as it is written.
function bodySignature(body) {
  return 'sha256=' + createHmac('sha256', SECRET).update(body).digest('hex');
}

// webhook-signature: v1,<base64>, over id.timestamp.body; the key is what follows whsec_ in base64.
function standardSignature(id, timestamp, body) {
  const key = SECRET.startsWith('whsec_') ? Buffer.from(SECRET.slice(6), 'base64') : SECRET;
  return 'v1,' + createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64');
}

function isGenuine(headers, body) {
  const timestamp = headers['webhook-timestamp'] ?? '';
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= TOLERANCE_S)) return false; // an old message, sent again by a stranger
  const expected = standardSignature(headers['webhook-id'] ?? '', timestamp, body);
  const signatures = (headers['webhook-signature'] ?? '').split(' ');
  // While the secret is rotated there are two, and X-Webhook-Signature is made with the new secret.
  const isRotating = signatures.length > 1;
  return signatures.some((one) => same(one, expected))
    && (isRotating || same(headers['x-webhook-signature'] ?? '', bodySignature(body)));
}

const seen = new Set(); // a real receiver asks its database

const server = createServer(async (request, response) => {
  const chunks = [];
  try {
    for await (const chunk of request) chunks.push(chunk);
  } catch {
    return; // the sender hung up in the middle of the body; uncaught, it would end this process
  }
  const body = Buffer.concat(chunks); // the bytes as they came: the signatures are over these
  if (!isGenuine(request.headers, body)) return response.writeHead(401).end('invalid signature');

  const { event, webhook_id, data } = JSON.parse(body);
  response.writeHead(204).end(); // answer first, work afterwards
  if (seen.has(webhook_id)) return;
  seen.add(webhook_id);
  console.log(event, webhook_id, JSON.stringify(data));
});

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
