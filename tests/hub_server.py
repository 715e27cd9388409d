"""A stand-in for the Hugging Face Hub on the loopback interface, with faults to order.

It answers what the real client asks: repository information with checksums
(`/api/{type}s/{id}/revision/{revision}`) and files (`…/resolve/{revision}/{path}`, HEAD and GET
with Range). It takes uploads of small files, which the client sends in the commit itself.
"""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LOOPBACK = "127.0.0.1,localhost"
"""What NO_PROXY says, so that a proxy is not asked for it."""
SIGNATURE = "signed-for-one-hour"


@dataclass
class Repo:
    """One repository: `files` at `commit`, which `refs` (branches, tags) point to."""

    commit: str
    files: dict[str, bytes]
    refs: tuple[str, ...] = ("main",)
    lfs: tuple[str, ...] = ()

    def has(self, revision: str) -> bool:
        return revision == self.commit or revision in self.refs


@dataclass
class Fault:
    """What goes wrong with the next `times` answers about `name` ("info": repository lookups).

    One of: `status` with `headers` instead of the answer; `cut` the body after so many bytes;
    `stall` after so many, silently; `flip` its first byte; `body` in its place; answer after
    `delay` seconds.
    """

    name: str
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    stall: int = 0
    flip: bool = False
    body: bytes = b""
    delay: float = 0.0


@dataclass
class HubServer:
    """Start with `with HubServer() as server`; `server.url` is the endpoint.

    Where it is `gated`, only files ask for the token, as the Hub does until terms are accepted.
    With `elsewhere`, another server that has the same repositories, large files are redirected
    there, to an address that is signed. Stalled and late answers end with the server.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    token: str | None = None
    gated: bool = False
    elsewhere: "HubServer | None" = None
    ranges: bool = True
    visible: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "HubServer":
        handler = type("Handler", (_Handler,), {"hub": self})
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.httpd.daemon_threads = True
        self.thread = threading.Thread(
            target=self.httpd.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.httpd.server_address[1]}"

    def gets(self, name: str) -> list[dict[str, str]]:
        """Return the headers of all GET requests for a file."""
        return [
            headers
            for method, path, headers in self.requests
            if method == "GET" and path.endswith(f"/{name}")
        ]

    def fault(self, name: str) -> Fault | None:
        for fault in self.faults:
            if fault.name == name and fault.times:
                fault.times -= 1
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, dict(self.headers.items())))
        if self.hub.token and self.headers["Authorization"] != f"Bearer {self.hub.token}":
            return self._send(401, b"", {"X-Error-Message": "Invalid username or password."})
        answer: dict[str, object] = {}
        if path == "/api/repos/create":
            told = json.loads(sent)
            name = f"{told['organization']}/{told['name']}"
            self.hub.repos.setdefault(f"models/{name}", Repo("0" * 40, {}))
            self.hub.visible[name] = told["visibility"]
            answer = {"url": f"{self.hub.url}/{name}"}
        elif "/preupload/" in path:
            kept = {"uploadMode": "regular", "shouldIgnore": False}
            answer = {"files": [{**kept, "path": f["path"]} for f in json.loads(sent)["files"]]}
        elif "/commit/" in path:
            key = path.removeprefix("/api/").partition("/commit/")[0]
            lines = [json.loads(line) for line in sent.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            self.hub.repos[key].files |= {f["path"]: base64.b64decode(f["content"]) for f in files}
            address = f"{self.hub.url}/{key.removeprefix('models/')}/commit/{'1' * 40}"
            answer = {"commitUrl": address, "commitOid": "1" * 40, "success": True}
        return self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        # Clients write names of headers as they like.
        headers = {name.title(): value for name, value in self.headers.items()}
        self.hub.requests.append((self.command, path, headers))
        given = self.headers["Authorization"]
        if self.hub.token and given != f"Bearer {self.hub.token}":
            if self.hub.gated and "/resolve/" in path:
                return self._send(403 if given else 401, b"", {"X-Error-Code": "GatedRepo"})
            if not self.hub.gated:
                answer = {"X-Error-Message": "Invalid username or password."}
                return self._send(401, b"", answer)
        for key, repo in self.hub.repos.items():
            info, resolve = f"/api/{key}/revision/", f"/{key.removeprefix('models/')}/resolve/"
            if path.startswith(info):
                return self._info(repo, path.removeprefix(info))
            if path.startswith(resolve):
                revision, _, name = path.removeprefix(resolve).partition("/")
                return self._file(repo, revision, name)
        return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _info(self, repo: Repo, revision: str) -> None:
        fault = self.hub.fault("info")
        if fault and (fault.status or fault.body):
            return self._send(fault.status or 200, fault.body, fault.headers)
        self.hub.ended.wait(fault.delay if fault else 0)
        if not repo.has(revision):
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        siblings = []
        for name, body in repo.files.items():
            entry = {"rfilename": name, "size": len(body), "blobId": git_blob(body)}
            if name in repo.lfs:
                digest = hashlib.sha256(body).hexdigest()
                entry["lfs"] = {"size": len(body), "sha256": digest, "pointerSize": 134}
            siblings.append(entry)
        answer = {"id": "any/repo", "sha": repo.commit, "siblings": siblings}
        return self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, repo: Repo, revision: str, name: str) -> None:
        if not repo.has(revision) or name not in repo.files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        body = repo.files[name]
        headers = {"ETag": f'"{git_blob(body)}"', "X-Repo-Commit": repo.commit}
        if name in repo.lfs:
            digest = hashlib.sha256(body).hexdigest()
            headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(body))}
        if self.hub.elsewhere and name in repo.lfs:
            address = f"{self.hub.elsewhere.url}{self.path}?Signature={SIGNATURE}"
            return self._send(302, b"", {**headers, "Location": address})
        fault = (self.hub.fault(name) if self.command == "GET" else None) or Fault(name)
        if fault.status:
            return self._send(fault.status, b"", fault.headers)
        self.hub.ended.wait(fault.delay)
        if fault.flip:
            body = bytes([body[0] ^ 1]) + body[1:]
        status, first = 200, 0
        if self.headers["Range"] and self.hub.ranges:
            first = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            status = 206
        return self._send(status, body[first:], headers, fault.cut or fault.stall, fault.stall > 0)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], end: int = 0, stall: bool = False
    ) -> None:
        """Answer; `end` is after how many bytes the body breaks off, at once or to `stall`."""
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[:end] if end else body)
            if stall:
                self.wfile.flush()
                self.hub.ended.wait()
        except ConnectionError:
            self.close_connection = True  # The client has given up waiting.
        if end:
            self.close_connection = True


def git_blob(body: bytes) -> str:
    """Return the id that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
