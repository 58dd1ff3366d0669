"""A webhook receiver in Python (3.9 or later, nothing to install):   WEBHOOK_SECRET=… PORT=3000 python3 receiver.py"""

import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["WEBHOOK_SECRET"]
TOLERANCE_S = 300


def body_signature(body: bytes) -> str:
    """X-Webhook-Signature: over the body, keyed with the secret as it is written."""
    return "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def standard_signature(webhook_id: str, timestamp: str, body: bytes) -> str:
    """webhook-signature: over id.timestamp.body; the key is what follows whsec_ in base64."""
    key = base64.b64decode(SECRET[6:]) if SECRET.startswith("whsec_") else SECRET.encode()
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def is_genuine(headers, body: bytes) -> bool:
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return False  # an old message, sent again by a stranger
    expected = standard_signature(headers.get("webhook-id", ""), timestamp, body)
    signatures = headers.get("webhook-signature", "").split(" ")
    # While the secret is rotated there are two, and X-Webhook-Signature is made with the new secret.
    is_rotating = len(signatures) > 1
    return any(same(one, expected) for one in signatures) and (
        is_rotating or same(headers.get("x-webhook-signature", ""), body_signature(body))
    )


def same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode())


seen = set()  # a real receiver asks its database


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))  # the bytes as they came
        if not is_genuine(self.headers, body):
            return self.answer(401)
        message = json.loads(body)
        self.answer(204)  # answer first, work afterwards
        if message["webhook_id"] not in seen:
            seen.add(message["webhook_id"])
            print(message["event"], message["webhook_id"], json.dumps(message["data"]), flush=True)

    def answer(self, status: int):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 3000))), Receiver)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
