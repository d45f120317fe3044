"""A server to play with: psql in a database with the extension, beside a receiver that notes what arrives."""

import http.server
import pathlib
import signal
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))

from harness.cluster import BIN, Cluster, Database  # noqa: E402


def receiver(path):
    """Answers 204 and writes each request down. Its address."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            with path.open("a") as file:
                file.write(f"POST {self.path}\n{self.headers}{body}\n\n")
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/"


def main():
    server = Cluster("shell", log_min_messages="info").start()
    try:
        Database(server, "shell").close()
        requests = server.folder / "requests"
        url = receiver(requests)
        print(f"The server's log is {server.log}, and what {url} receives is in {requests}.")
        print(f"Try: SELECT webhook_create('hook', '{url}', 'some_table')", flush=True)
        psql = [BIN / "psql", "-h", server.folder, "-p", str(server.port), "-U", "postgres", "-v", f"url={url}", "shell"]
        # It is for psql, which cancels a statement.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return subprocess.call(psql)
    finally:
        server.destroy()


if __name__ == "__main__":
    sys.exit(main())
