"""A time stamping authority (RFC 3161) over HTTP, which is OpenSSL's: tsa.py ADDRESS PORT FOLDER.

The folder has the configuration of `openssl ts`, tsa.cnf. Each request's Host and the caller's address are printed.
"""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

address, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])


class Handler(BaseHTTPRequestHandler):
    """Answers each POST with a time stamp."""

    def do_POST(self) -> None:
        query = folder / "query.tsq"
        query.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", query]
        reply = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE).stdout
        print(self.headers["Host"], *self.headers.get_all("Via", []), flush=True)
        self.send_response(200)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.end_headers()
        self.wfile.write(reply)


HTTPServer((address, port), Handler).serve_forever()
