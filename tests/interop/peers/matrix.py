# The application of the matrix for flup.
import sys
import time

sys.path.insert(0, sys.argv[1])
from flup.server.fcgi import WSGIServer


def lines(keys):
    number = 0
    while "count" not in keys or number < int(keys["count"]):
        yield b"x" * (int(keys["width"]) - 1) + b"\n"
        time.sleep(int(keys["lines"]) / 1000)
        number += 1


def answer(environ, start_response):
    query = environ.get("QUERY_STRING", "")
    keys = dict((pair + "=").split("=", 2)[:2] for pair in query.split("&"))
    head = [("Content-Type", "text/plain")]
    if "location" in keys:
        head.append(("Location", keys["location"]))
    if "cookies" in keys:
        head += [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2")]
    if "stderr" in keys:
        environ["wsgi.errors"].write(keys["stderr"] + "\n")
        environ["wsgi.errors"].flush()
    status = keys.get("status", "200")
    start_response(status + " Status", head)
    if "lines" in keys:
        return lines(keys)
    if status in ("204", "304"):
        return []
    names = ["HTTP_COOKIE", "QUERY_STRING", "REQUEST_METHOD"]
    text = "".join("%s=%s\n" % (name, environ.get(name, "")) for name in names) + "\n"
    length = int(environ.get("CONTENT_LENGTH") or 0)
    return [text.encode(), environ["wsgi.input"].read(length)]


WSGIServer(answer).run()
