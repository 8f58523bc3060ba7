"""A server whose answer is the length of what it was asked."""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = json.loads((Path(os.environ["SM_MODEL_DIR"]) / "model.json").read_text())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if MODEL.get("waits") == "serve":
            print("serve is asked", flush=True)
            time.sleep(60)
        said = {
            "bytes": len(body),
            "type": self.headers["Content-Type"],
            "batch": os.environ["SAGEMAKER_BATCH"],
        }
        self.answer(MODEL.get("http_status", 200) if body == b"bad" else 200, json.dumps(said).encode())

    def answer(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


if MODEL.get("fails") == "serve":
    print("error: serve cannot load its model", file=sys.stderr)
    sys.exit(1)
print("serve is running", flush=True)
host = sys.argv[sys.argv.index("--host") + 1]
ThreadingHTTPServer((host, int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
