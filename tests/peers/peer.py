"""An independent party for the hub's Shared Signals: a receiver and a transmitter.

It shares no code with the hub: JOSE is joserfc's, HTTP is the standard library's. It reads a JSON
object from standard input (`hub`, `admin`) and prints one line a check: `ok NAME` or
`not ok NAME: WHY`. The shapes of other vendors' SETs are stand-ins written after their public
documents, not recordings.
"""

import hashlib
import http.server
import json
import queue
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

from joserfc import jws
from joserfc.jwk import ECKey, KeySet, RSAKey

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
REVOKED = CAEP + "session-revoked"
PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"
JWT = "application/secevent+jwt"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.raw = status, headers, body
        try:
            self.body = json.loads(body)
        except ValueError:
            self.body = None


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


def call(method, url, token=None, data=None, media="application/json", basic=None, timeout=90):
    """One request. `data` is sent as it is when it is bytes, as JSON otherwise."""
    headers = {}
    if data is not None:
        headers["Content-Type"] = media
        if not isinstance(data, bytes):
            data = json.dumps(data).encode()
    if token:
        headers["Authorization"] = "Bearer " + token
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    if basic:
        import base64

        pair = base64.b64encode(":".join(basic).encode()).decode()
        request.add_header("Authorization", "Basic " + pair)
    try:
        with OPENER.open(request, timeout=timeout) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def refuses_oversize(url, token, media):
    """Whether 10 MB are refused: by a 413, which may be lost when the rest is still being sent."""
    try:
        return call("POST", url, token, b"a" * (10 << 20), media).status == 413
    except (urllib.error.URLError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        return isinstance(reason, (BrokenPipeError, ConnectionResetError))


FAILED = []


def check(name, holds, why=""):
    if holds:
        print(f"ok {name}", flush=True)
    else:
        FAILED.append(name)
        print(f"not ok {name}: {why}", flush=True)


class Hub:
    """The hub as anyone outside sees it."""

    def __init__(self, base, admin):
        self.base, self.admin = base, admin
        self.metadata = call("GET", base + "/.well-known/ssf-configuration").body

    def operator(self, method, path, body=None):
        return call(method, self.base + path, self.admin, body)

    def client(self, aud, scopes=("ssf.read", "ssf.manage")):
        ask = {"name": aud, "aud": aud, "scopes": list(scopes)}
        return self.operator("POST", "/v1/services", ask).body

    def token(self, client, scope=None):
        form = {"grant_type": "client_credentials"}
        if scope:
            form["scope"] = scope
        data = urllib.parse.urlencode(form).encode()
        basic = (client["client_id"], client["client_secret"])
        media = "application/x-www-form-urlencoded"
        return call("POST", self.base + "/oauth/token", None, data, media, basic)

    def bearer(self, client, scope=None):
        return self.token(client, scope).body["access_token"]

    def session(self, token, subject, session, **more):
        body = {"subject": subject, "session_id": session, "kind": "web",
                "auth_time": int(time.time() * 1000), **more}
        answer = call("POST", self.base + "/v1/sessions", token, body)
        assert answer.status == 201, answer.raw
        return answer.body["seq"]

    def alive(self, token, subject, session, seq):
        query = urllib.parse.urlencode({"subject": subject, "session": session, "issued_seq": seq})
        return call("GET", f"{self.base}/v1/check?{query}", token).status == 204

    def sign_out(self, subject, reason=None):
        body = {"subject": subject, **({"reason": reason} if reason else {})}
        answer = self.operator("POST", "/v1/sign-out", body)
        assert answer.status == 200, answer.raw
        return answer.body["txn"]

    def keys(self):
        jwks = call("GET", self.metadata["jwks_uri"]).body
        usable = [key for key in jwks["keys"] if key["kty"] == "RSA"]
        return KeySet.import_key_set({"keys": usable})

    def believe(self, compact, aud):
        """What a strict receiver checks of a SET. Gives its claims."""
        read = jws.deserialize_compact(compact, self.keys(), algorithms=["RS256"])
        head, claims = read.headers(), json.loads(read.payload)
        assert head["typ"] == "secevent+jwt" and head["alg"] == "RS256", head
        assert claims["iss"] == self.metadata["issuer"], claims
        assert claims["aud"] == aud and len(claims["events"]) == 1, claims
        assert "sub" not in claims and "exp" not in claims and "sub_id" in claims, claims
        assert abs(claims["iat"] - time.time()) < 120, claims
        return claims

    def audited(self, action):
        rows = self.operator("GET", "/v1/audit?limit=10000").raw.decode().splitlines()
        return [row for row in map(json.loads, rows) if row["action"] == action]


class Receiver:
    """A receiver's hold on its stream."""

    def __init__(self, hub, aud):
        self.hub, self.aud = hub, aud
        self.credentials = hub.client(aud)
        self.bearer = hub.bearer(self.credentials)
        self.stream = None

    def at(self, endpoint, method, body=None, query="", token=None):
        url = self.hub.metadata[endpoint] + query
        return call(method, url, token or self.bearer, body)

    def create(self, **wishes):
        answer = self.at("configuration_endpoint", "POST", wishes)
        if answer.status == 201:
            self.stream = answer.body["stream_id"]
        return answer

    def status(self, status, reason=None):
        body = {"stream_id": self.stream, "status": status}
        if reason:
            body["reason"] = reason
        return self.at("status_endpoint", "POST", body)

    def poll(self, **ask):
        ask.setdefault("returnImmediately", True)
        url = self.hub.base + "/ssf/poll/" + self.stream
        answer = call("POST", url, self.bearer, ask)
        assert answer.status == 200, (answer.status, answer.raw)
        return answer.body

    def drain(self):
        """Everything that waits, believed, acknowledged, in order of issue."""
        claims = []
        while True:
            sets = self.poll()["sets"]
            if not sets:
                return claims
            claims += [self.hub.believe(sets[jti], self.aud) for jti in sorted(sets)]
            self.poll(maxEvents=0, ack=list(sets))


class Inbox:
    """A push endpoint on loopback."""

    def __init__(self, answers=()):
        self.got, self.answers = queue.Queue(), list(answers)
        inbox = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, reply = inbox.answers.pop(0) if inbox.answers else (202, b"")
                self.send_response(status)
                if reply:
                    self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)
                inbox.got.put((status, self.headers, body.decode()))

            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(inbox.jwks).encode())

            def log_message(self, *_):
                pass

        self.jwks = {"keys": []}
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/in"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def next(self, timeout=30):
        return self.got.get(timeout=timeout)


def event(claims, event_type):
    return claims["events"].get(event_type)


def transmitter(hub):
    """The hub transmits, and this is the receiver: metadata, configuration, status, verification,
    and poll delivery."""
    meta = hub.metadata
    schemes = [one["spec_urn"] for one in meta["authorization_schemes"]]
    check("metadata_names_every_endpoint_and_method",
          meta["spec_version"] == "1_0" and meta["issuer"] == hub.base
          and set(meta["delivery_methods_supported"]) == {PUSH, POLL}
          and "urn:ietf:rfc:6749" in schemes and meta["default_subjects"] == "ALL"
          and "critical_subject_members" not in meta
          and all(meta[f"{name}_endpoint"].startswith(hub.base) for name in
                  ("configuration", "status", "add_subject", "remove_subject", "verification")),
          meta)
    keys = [key for key in call("GET", meta["jwks_uri"]).body["keys"] if key["kty"] == "RSA"]
    check("jwks_has_an_rs256_key_of_2048_bits_and_no_private_part",
          len(keys) == 1 and keys[0]["alg"] == "RS256" and len(keys[0]["n"]) >= 342
          and not {"d", "p", "q"} & set(keys[0]), keys)

    rp = Receiver(hub, "https://rp.example")
    streams = "configuration_endpoint"
    check("list_without_streams_is_empty", rp.at(streams, "GET").body == [])
    for name, token, want in (("without_token", None, 401), ("with_a_bad_token", "nonsense", 401)):
        statuses = [call("GET", meta[streams], token).status,
                    call("POST", meta[streams], token, {}).status,
                    call("DELETE", meta[streams] + "?stream_id=x", token).status,
                    call("GET", meta["status_endpoint"] + "?stream_id=x", token).status,
                    call("POST", meta["verification_endpoint"], token, {}).status,
                    call("POST", hub.base + "/ssf/poll/x", token, {}).status]
        check(f"every_call_{name}_is_{want}", set(statuses) == {want}, statuses)
    low = hub.bearer(rp.credentials, "ssf.read")
    statuses = [call("POST", meta[streams], low, {}).status,
                call("PATCH", meta[streams], low, {"stream_id": "x"}).status,
                call("DELETE", meta[streams] + "?stream_id=x", low).status,
                call("POST", meta["status_endpoint"], low,
                     {"stream_id": "x", "status": "paused"}).status,
                call("POST", hub.base + "/v1/sessions", low, {}).status]
    check("managing_with_scope_ssf_read_is_403", set(statuses) == {403}, statuses)
    check("reading_with_scope_ssf_read_is_200", call("GET", meta[streams], low).status == 200)
    none = hub.client("https://none.example", [])
    check("a_client_without_scopes_is_403_and_may_not_ask_for_them",
          call("GET", meta[streams], hub.bearer(none)).status == 403
          and hub.token(none, "ssf.manage").body["error"] == "invalid_scope")
    token = hub.token(rp.credentials).body
    check("tokens_live_at_most_an_hour", 0 < token["expires_in"] <= 3600, token)

    check("create_with_broken_json_is_400",
          rp.at(streams, "POST", b'{"delivery": ').status == 400)
    for body in ([], "x", {"delivery": 7}, {"events_requested": "all"}):
        check(f"create_with_{type(body).__name__}_{len(str(body))}_is_400",
              rp.at(streams, "POST", body).status == 400)
    for name in ("stream_id", "iss", "aud", "events_supported", "events_delivered",
                 "min_verification_interval"):
        check(f"create_with_the_transmitters_{name}_is_400", rp.create(**{name: "x"}).status == 400)
    check("create_with_an_unknown_delivery_method_is_400",
          rp.create(delivery={"method": "urn:carrier-pigeon"}).status == 400)
    made = rp.create(events_requested=[REVOKED, "urn:unknown"], description="first",
                     x_unknown_member=True)
    check("create_without_delivery_is_a_poll_stream",
          made.status == 201 and made.body["delivery"]["method"] == POLL
          and made.body["delivery"]["endpoint_url"].startswith(hub.base)
          and made.body["iss"] == hub.base and made.body["aud"] == rp.aud
          and made.body["events_delivered"] == [REVOKED]
          and REVOKED in made.body["events_supported"], made.raw)
    check("duplicate_create_is_409", rp.create().status == 409)
    query = "?stream_id=" + rp.stream
    check("read_gives_the_stream_as_created", rp.at(streams, "GET", query=query).body == made.body)
    check("list_gives_every_stream", rp.at(streams, "GET").body == [made.body])

    other = Receiver(hub, "https://other.example")
    other.create()
    for name, which in (("an_unknown_stream", "nonsense"), ("anothers_stream", other.stream)):
        at = "?stream_id=" + which
        statuses = [rp.at(streams, "GET", query=at).status,
                    rp.at(streams, "PATCH", {"stream_id": which}).status,
                    rp.at(streams, "PUT", {"stream_id": which}).status,
                    rp.at(streams, "DELETE", query=at).status,
                    rp.at("status_endpoint", "GET", query=at).status,
                    rp.at("status_endpoint", "POST",
                          {"stream_id": which, "status": "paused"}).status,
                    rp.at("verification_endpoint", "POST", {"stream_id": which}).status,
                    rp.at("add_subject_endpoint", "POST",
                          {"stream_id": which, "subject": {}}).status,
                    call("POST", hub.base + "/ssf/poll/" + which, rp.bearer,
                         {"returnImmediately": True}).status]
        check(f"every_call_about_{name}_is_404", set(statuses) == {404}, statuses)

    patched = rp.at(streams, "PATCH", {"stream_id": rp.stream, "description": "second"})
    check("patch_changes_what_it_names_and_keeps_the_rest",
          patched.status == 200 and patched.body["description"] == "second"
          and patched.body["events_requested"] == [REVOKED, "urn:unknown"], patched.raw)
    check("patch_of_the_transmitters_members_is_400",
          rp.at(streams, "PATCH", {"stream_id": rp.stream, "aud": "x"}).status == 400)
    put = rp.at(streams, "PUT", {**patched.body, "exeunt_subject_in_event": True})
    check("put_of_what_was_read_is_taken", put.status == 200, put.raw)
    put = rp.at(streams, "PUT", {"stream_id": rp.stream, "exeunt_subject_in_event": True})
    check("put_deletes_what_it_leaves_out",
          put.status == 200 and "description" not in put.body
          and "events_requested" not in put.body, put.raw)

    verify = {"stream_id": rp.stream, "state": "state-1"}
    answered = rp.at("verification_endpoint", "POST", verify)
    check("verification_is_204_and_empty", answered.status == 204 and answered.raw == b"")
    first = rp.poll(returnImmediately=False)
    claims = [hub.believe(one, rp.aud) for one in first["sets"].values()]
    check("the_verification_event_follows_with_its_state_about_the_stream",
          len(claims) == 1 and event(claims[0], SSF + "verification") == {"state": "state-1"}
          and claims[0]["sub_id"] == {"format": "opaque", "id": rp.stream}, claims)
    check("verification_within_the_least_interval_is_429",
          rp.at("verification_endpoint", "POST", verify).status == 429)
    check("what_is_not_acknowledged_comes_again_byte_for_byte",
          rp.poll()["sets"] == first["sets"])
    acked = rp.poll(maxEvents=0, ack=list(first["sets"]))
    check("ack_only_answers_no_sets", acked["sets"] == {})
    check("what_was_acknowledged_does_not_come_again", rp.poll()["sets"] == {})

    app = hub.bearer(rp.credentials)
    seq = hub.session(app, {"format": "email", "email": "ann@corp.example"}, "s-1")
    late = {}

    def wait():
        late["answer"] = rp.poll(returnImmediately=False)
        late["at"] = time.monotonic()

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.3)
    held = waiter.is_alive()
    pressed = time.monotonic()
    txn = hub.sign_out("ann@corp.example", "left the company")
    waiter.join(30)
    check("a_long_poll_is_held_until_the_event", held and len(late["answer"]["sets"]) == 1, late)
    check("a_long_poll_answers_soon_after_the_sign_out", late["at"] - pressed < 10)
    claims = hub.believe(next(iter(late["answer"]["sets"].values())), rp.aud)
    body = event(claims, REVOKED)
    check("session_revoked_is_about_every_session_of_the_user",
          claims["sub_id"] == {"format": "complex",
                               "user": {"format": "email", "email": "ann@corp.example"}}, claims)
    check("session_revoked_carries_txn_seconds_initiator_and_reason",
          claims["txn"] == txn and abs(body["event_timestamp"] - time.time()) < 120
          and body["initiating_entity"] == "admin"
          and body["reason_admin"] == {"en": "left the company"}, claims)
    check("the_subject_is_also_in_the_event_where_that_was_asked",
          body["subject"] == {"format": "email", "email": "ann@corp.example"}, body)
    check("the_revoked_session_is_refused_at_the_check",
          not hub.alive(app, "ann@corp.example", "s-1", seq))
    other_claims = other.drain()
    check("each_stream_gets_the_event_once_under_its_own_audience_and_jti",
          len(other_claims) == 1 and other_claims[0]["txn"] == txn
          and other_claims[0]["jti"] != claims["jti"], other_claims)
    errs = {claims["jti"]: {"err": "invalid_request", "description": "no"}}
    rp.poll(maxEvents=0, setErrs=errs)
    check("a_refused_set_is_gone_and_audited",
          rp.poll()["sets"] == {} and len(hub.audited("stream-set-refused")) == 1)

    people = [f"p{n}@corp.example" for n in range(4)]
    for n, person in enumerate(people):
        hub.session(app, {"format": "email", "email": person}, f"p-{n}")
    for person in people[:3]:
        hub.sign_out(person)
    part = rp.poll(maxEvents=2)
    check("max_events_bounds_an_answer_and_more_available_says_so",
          len(part["sets"]) == 2 and part["moreAvailable"] is True, part)
    rest = rp.poll(maxEvents=2, ack=list(part["sets"]))
    check("poll_and_ack_in_one_request_gives_the_rest",
          len(rest["sets"]) == 1 and rest["moreAvailable"] is False
          and not set(rest["sets"]) & set(part["sets"]), rest)
    rp.poll(maxEvents=0, ack=list(rest["sets"]))

    gone = {"stream_id": rp.stream, "subject": {"format": "email", "email": people[3]}}
    check("removing_a_subject_is_204",
          rp.at("remove_subject_endpoint", "POST", gone).status == 204)
    hub.sign_out(people[3])
    check("a_removed_subject_is_not_heard_of", rp.poll()["sets"] == {})
    check("adding_a_subject_is_200", rp.at("add_subject_endpoint", "POST", gone).status == 200)
    hub.sign_out(people[3])
    check("an_added_subject_is_heard_of", len(rp.drain()) == 1)
    nobody = {"stream_id": rp.stream, "subject": {"format": "complex"}}
    check("a_subject_that_names_nobody_is_400",
          rp.at("add_subject_endpoint", "POST", nobody).status == 400)

    status = rp.at("status_endpoint", "GET", query="?stream_id=" + rp.stream)
    check("status_is_enabled_at_first", status.body["status"] == "enabled", status.raw)
    check("an_unknown_status_is_400", rp.status("asleep").status == 400)
    paused = rp.status("paused", "maintenance")
    check("pausing_is_200_with_the_status", paused.status == 200
          and paused.body == {"stream_id": rp.stream, "status": "paused",
                              "reason": "maintenance"}, paused.raw)
    claims = rp.drain()
    check("stream_updated_says_paused_and_why",
          [event(one, SSF + "stream-updated") for one in claims]
          == [{"status": "paused", "reason": "maintenance"}], claims)
    txns = [hub.sign_out(people[0]), hub.sign_out(people[1]), hub.sign_out(people[0])]
    check("a_paused_stream_delivers_nothing", rp.poll()["sets"] == {})
    rp.status("enabled")
    claims = rp.drain()
    check("a_stream_enabled_again_says_so_and_delivers_what_it_held",
          sorted(one["txn"] for one in claims if event(one, REVOKED)) == sorted(txns)
          and sum(event(one, SSF + "stream-updated") == {"status": "enabled"}
                  for one in claims) == 1, claims)
    held = [one["txn"] for one in claims if event(one, REVOKED)
            and one["sub_id"]["user"]["email"] == people[0]]
    check("the_order_of_one_subjects_events_is_kept", held == [txns[0], txns[2]], held)
    rp.status("disabled")
    hub.sign_out(people[0])
    rp.status("enabled")
    claims = rp.drain()
    check("a_disabled_stream_drops", not any(event(one, REVOKED) for one in claims)
          and {event(one, SSF + "stream-updated")["status"] for one in claims}
          == {"disabled", "enabled"}, claims)

    check("delete_is_204", rp.at(streams, "DELETE", query="?stream_id=" + rp.stream).status == 204)
    check("a_deleted_stream_is_404",
          rp.at(streams, "GET", query="?stream_id=" + rp.stream).status == 404)
    check("a_stream_can_be_created_anew", rp.create().status == 201)
    check("a_body_of_10_mb_is_refused",
          refuses_oversize(meta[streams], rp.bearer, "application/json"))
    check("a_wrong_content_type_is_415",
          call("POST", meta[streams], rp.bearer, b"{}", "text/plain").status == 415)


def push(hub):
    """The hub pushes, and this is the receiver."""
    header = "Bearer " + uuid.uuid4().hex
    refusal = json.dumps({"err": "invalid_request", "description": "no"}).encode()
    inbox = Inbox([(500, b""), (200, b""), (202, b"")])
    rp = Receiver(hub, "https://push.example")
    for name, url in (("a_private_address", "http://10.1.2.3/in"),
                      ("the_cloud_metadata_address", "http://169.254.169.254/latest"),
                      ("a_public_address_in_the_clear", "http://93.184.216.34/in"),
                      ("the_hub_itself", hub.base + "/v1/sign-out"),
                      ("a_private_address_by_tls", "https://10.1.2.3/in"),
                      ("a_file_url", "file:///etc/passwd"),
                      ("credentials_in_the_url", "http://a:b@127.0.0.1:1/in")):
        answer = rp.create(delivery={"method": PUSH, "endpoint_url": url})
        check(f"push_to_{name}_is_400", answer.status == 400, answer.raw)
    bad = {"method": PUSH, "endpoint_url": inbox.url, "authorization_header": "a\r\nX-Evil: 1"}
    check("a_header_that_injects_another_is_400", rp.create(delivery=bad).status == 400)
    check("push_without_an_endpoint_is_400", rp.create(delivery={"method": PUSH}).status == 400)
    made = rp.create(delivery={"method": PUSH, "endpoint_url": inbox.url,
                               "authorization_header": header})
    check("a_push_stream_is_created", made.status == 201, made.raw)
    check("a_push_stream_is_not_polled",
          call("POST", hub.base + "/ssf/poll/" + rp.stream, rp.bearer, {}).status == 400)

    hub.session(rp.bearer, {"format": "email", "email": "bo@corp.example"}, "b-1")
    txn = hub.sign_out("bo@corp.example")
    tries = [inbox.next() for _ in range(3)]
    check("a_push_is_tried_again_until_exactly_202",
          [status for status, _, _ in tries] == [500, 200, 202])
    check("every_attempt_is_the_same_set", len({body for _, _, body in tries}) == 1)
    _, headers, body = tries[-1]
    claims = hub.believe(body, rp.aud)
    check("the_push_is_a_session_revoked_of_that_cause",
          claims["txn"] == txn and event(claims, REVOKED)["reason_admin"]["en"], claims)
    check("the_push_has_the_media_types_of_the_rfc",
          headers["Content-Type"] == JWT and headers["Accept"] == "application/json", headers)
    check("the_push_carries_the_authorization_header", headers["Authorization"] == header, headers)

    inbox.answers = [(400, refusal)]
    answered = rp.at("verification_endpoint", "POST", {"stream_id": rp.stream, "state": "s"})
    status, _, body = inbox.next()
    check("a_verification_is_pushed", answered.status == 204 and status == 400
          and event(hub.believe(body, rp.aud), SSF + "verification") == {"state": "s"})
    hub.sign_out("bo@corp.example")
    status, _, body = inbox.next()
    check("a_set_that_was_refused_for_good_does_not_block_the_next",
          status == 202 and event(hub.believe(body, rp.aud), REVOKED) is not None)
    bare = rp.at("configuration_endpoint", "PATCH",
                 {"stream_id": rp.stream, "delivery": {"method": PUSH, "endpoint_url": inbox.url}})
    hub.sign_out("bo@corp.example")
    _, headers, _ = inbox.next()
    check("a_push_without_authorization_header_carries_none",
          bare.status == 200 and "Authorization" not in headers, headers)
    rp.status("paused")
    _, _, body = inbox.next()
    check("stream_updated_is_pushed_before_the_pause",
          event(hub.believe(body, rp.aud), SSF + "stream-updated") == {"status": "paused"})


def receiver(hub):
    """The hub receives, and this is the transmitter."""
    rsa, ec = RSAKey.generate_key(2048, private=True), ECKey.generate_key("P-256", private=True)
    issuer = "https://idp.example"

    def public(key):
        return {**key.as_dict(private=False), "kid": key.thumbprint()}

    def register(issuer, **more):
        body = {"issuer": issuer, "jwks": {"keys": [public(rsa), public(ec)]},
                "may_speak_about": {"issuers": [issuer], "domains": ["corp.example"]}, **more}
        return hub.operator("POST", "/v1/transmitters", body)

    check("a_transmitter_is_registered_by_operators_only",
          call("POST", hub.base + "/v1/transmitters", "nonsense", {}).status == 401)
    check("a_transmitter_without_bounds_is_400",
          register("https://x.example", may_speak_about={}).status == 400)
    check("a_transmitter_may_not_purge",
          register("https://x.example", tier_ceiling="purge").status == 403)
    check("a_transmitter_without_usable_keys_is_400",
          register("https://x.example", jwks={"keys": [{"kty": "oct", "k": "AAAA"}]}).status == 400)
    private = {"jwks": None, "jwks_uri": "http://10.0.0.1/jwks.json"}
    check("keys_at_a_private_address_are_400",
          register("https://x.example", **private).status == 400)
    made = register(issuer)
    check("a_transmitter_is_registered", made.status == 201, made.raw)
    check("an_issuer_is_registered_once", register(issuer).status == 409)
    door = made.body["endpoint_url"]

    def claims(event_type, body, sub_id=None, **more):
        it = {"iss": issuer, "aud": hub.metadata["issuer"], "jti": uuid.uuid4().hex,
              "iat": int(time.time()), "events": {event_type: body}, **more}
        if sub_id:
            it["sub_id"] = sub_id
        return it

    def sign(it, key=rsa, alg="RS256", **head):
        header = {"alg": alg, "typ": "secevent+jwt", "kid": key.thumbprint(), **head}
        return jws.serialize_compact(header, json.dumps(it), key, algorithms=[alg])

    def send(compact, url=None, token=None, media=JWT):
        if isinstance(compact, str):
            compact = compact.encode()
        return call("POST", url or door, token, compact, media)

    app = hub.client("https://app.example")
    token = hub.bearer(app)

    def signed_in(subject, key, **more):
        session = uuid.uuid4().hex
        return key, session, hub.session(token, subject, session, **more)

    def alive(session):
        return hub.alive(token, *session)

    def refused(answer, err):
        return answer.status == 400 and answer.body["err"] == err and "description" in answer.body

    def email(name):
        return {"format": "email", "email": f"{name}@corp.example"}

    ann = signed_in(email("ann"), "ann@corp.example")
    bystander = signed_in(email("bystander"), "bystander@corp.example")
    assert alive(ann) and alive(bystander)
    set_ = sign(claims(REVOKED, {"event_timestamp": int(time.time())}, email("ann")))
    answer = send(set_)
    check("session_revoked_is_answered_by_exactly_202_and_nothing",
          answer.status == 202 and answer.raw == b"", (answer.status, answer.raw))
    check("session_revoked_ends_the_subjects_sessions_before_the_answer", not alive(ann))
    ann = signed_in(email("ann"), "ann@corp.example")
    check("a_repeat_is_202_and_does_nothing", send(set_).status == 202 and alive(ann))
    twice = claims(REVOKED, {}, email("ann"))
    txns = len(hub.audited("sign-out"))
    statuses = [send(sign(twice)).status, send(sign(twice, ec, "ES256")).status]
    check("a_jti_counts_once_even_under_another_signature",
          statuses == [202, 202] and len(hub.audited("sign-out")) == txns + 1, statuses)

    # Shapes of vendors: stand-ins of ours.
    def ends(name, subject, key, event_type, body, sub_id=None):
        session = signed_in(subject, key)
        answer = send(sign(claims(event_type, body, sub_id)))
        check(name, answer.status == 202 and not alive(session) and alive(bystander),
              (answer.status, answer.raw))

    user = {"format": "iss_sub", "iss": issuer, "sub": "00u1"}
    ends("okta_in_event_subject_without_format_and_milliseconds", user, f"{issuer}|00u1", REVOKED,
         {"event_timestamp": int(time.time() * 1000), "initiating_entity": "policy",
          "reason_admin": {"en": "session ended"},
          "subject": {"user": {"iss": issuer, "sub": "00u1"},
                      "device": {"iss": issuer, "sub": "guo1"}, "tenant": {"id": "00o1"}}})
    ends("keycloak_session_all_is_every_session_of_that_user", user, f"{issuer}|00u1", REVOKED,
         {"event_timestamp": int(time.time()), "initiating_entity": "user"},
         {"format": "complex", "user": user, "session": {"format": "opaque", "id": "ALL"}})
    ends("google_subject_type_with_hyphen", user, f"{issuer}|00u1", RISC + "sessions-revoked",
         {"subject": {"subject_type": "iss-sub", "iss": issuer, "sub": "00u1"}})
    for name in ("account-disabled", "account-purged", "credential-compromise"):
        ends("risc_" + name.replace("-", "_"), email("cy"), "cy@corp.example", RISC + name,
             {"reason": "hijacking"}, email("cy"))
    for kind in ("revoke", "delete"):
        ends(f"credential_change_{kind}", email("cy"), "cy@corp.example", CAEP + "credential-change",
             {"credential_type": "password", "change_type": kind}, email("cy"))
    cy = signed_in(email("cy"), "cy@corp.example")
    other = sign(claims(CAEP + "credential-change",
                        {"credential_type": "password", "change_type": "create"}, email("cy")))
    check("credential_change_create_is_202_and_ends_nothing",
          send(other).status == 202 and alive(cy))
    check("an_unknown_event_is_202_and_ends_nothing",
          send(sign(claims("urn:unknown", {}, email("cy")))).status == 202 and alive(cy))

    here = signed_in(email("dee"), "dee@corp.example", idp_sid="key-1")
    there = signed_in(email("dee"), "dee@corp.example", idp_sid="key-2")
    hashed = {"format": "complex", "user": email("dee"), "session": {
        "format": "opaque", "id": hashlib.sha256(b"key-1").hexdigest()}}
    answer = send(sign(claims(REVOKED, {"subject": hashed})))
    check("authentik_hashed_session_ends_that_session_and_no_other",
          answer.status == 202 and not alive(here) and alive(there), answer.raw)
    before = len(hub.audited("signal-unresolved"))
    hashed["session"]["id"] = hashlib.sha256(b"key-9").hexdigest()
    answer = send(sign(claims(REVOKED, {"subject": hashed})))
    check("a_session_that_is_not_known_ends_nobody_and_is_audited",
          answer.status == 202 and alive(there)
          and len(hub.audited("signal-unresolved")) == before + 1)

    # Nobody, and never everyone.
    for name, about in (
            ("no_subject", None), ("an_empty_complex_subject", {"format": "complex"}),
            ("a_session_all_without_user",
             {"format": "complex", "session": {"format": "opaque", "id": "ALL"}}),
            ("a_tenant_only", {"format": "complex", "tenant": {"format": "opaque", "id": "t"}}),
            ("an_unknown_format", {"format": "everyone", "id": "*"}),
            ("aliases_of_which_one_is_unknown",
             {"format": "aliases",
              "identifiers": [email("ann"), {"format": "everyone", "id": "*"}]})):
        answer = send(sign(claims(REVOKED, {}, about)))
        check(f"{name}_is_refused_and_ends_nobody",
              refused(answer, "invalid_request") and alive(bystander) and alive(cy), answer.raw)
    before = len(hub.audited("signal-unresolved"))
    answer = send(sign(claims(REVOKED, {}, email("stranger"))))
    check("a_subject_unknown_here_is_202_and_audited_as_unresolved",
          answer.status == 202 and len(hub.audited("signal-unresolved")) == before + 1)
    before = len(hub.audited("signal-refused"))
    outside = [{"format": "email", "email": "ceo@other.example"},
               {"format": "iss_sub", "iss": "https://other.example", "sub": "1"},
               {"format": "opaque", "id": "alice"}]
    answers = [send(sign(claims(REVOKED, {}, about))) for about in outside]
    check("a_subject_that_it_may_not_speak_about_is_refused_and_audited",
          all(refused(answer, "access_denied") for answer in answers)
          and len(hub.audited("signal-refused")) == before + 3, [a.raw for a in answers])

    # Verification and stream-updated.
    verification = SSF + "verification"
    stream = {"format": "opaque", "id": "stream-1"}
    check("an_unsolicited_verification_without_state_is_202",
          send(sign(claims(verification, {}, stream))).status == 202)
    check("a_state_that_nobody_asked_for_is_invalid_state",
          refused(send(sign(claims(verification, {"state": "x"}, stream))), "invalid_state"))
    expect = f"/v1/transmitters/{made.body['id']}/expect"
    assert hub.operator("POST", expect, {"state": "mine"}).status == 204
    check("a_wrong_state_is_invalid_state",
          refused(send(sign(claims(verification, {"state": "yours"}, stream))), "invalid_state"))
    check("the_state_that_was_asked_for_is_202",
          send(sign(claims(verification, {"state": "mine"}, stream))).status == 202)
    check("stream_updated_is_202", send(sign(claims(
        SSF + "stream-updated", {"status": "paused", "reason": "r"}, stream))).status == 202)

    # Hostile.
    about = email("cy")
    it = claims(REVOKED, {}, about)
    import base64

    def b64(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def forged(alg, mac=b""):
        header = {"alg": alg, "typ": "secevent+jwt", "kid": rsa.thumbprint()}
        text = b64(json.dumps(header).encode()) + "." + b64(json.dumps(it).encode())
        if mac:
            import hmac

            return text + "." + b64(hmac.new(mac, text.encode(), hashlib.sha256).digest())
        return text + "."

    pem = rsa.as_pem(private=False)
    hostile = {
        "algorithm_none": (forged("none"), ("invalid_request", "invalid_key")),
        "hs256_with_the_public_key_as_secret":
            (forged("HS256", pem), ("invalid_key", "invalid_request")),
        "a_stranger's_key_under_a_known_name": (
            sign(it, RSAKey.generate_key(2048, private=True), kid=rsa.thumbprint()),
            ("authentication_failed",)),
        "an_unknown_key": (sign(it, RSAKey.generate_key(2048, private=True)), ("invalid_key",)),
        "another_algorithm_of_the_same_key": (sign(it, rsa, "PS256"), ("invalid_key",)),
        "another_issuer": (sign({**it, "iss": "https://evil.example"}), ("invalid_issuer",)),
        "another_audience": (sign({**it, "aud": "https://evil.example"}), ("invalid_audience",)),
        "iat_of_1970": (sign({**it, "iat": 0}), ("invalid_request",)),
        "iat_of_2100": (sign({**it, "iat": 4102444800}), ("invalid_request",)),
        "sub_beside_sub_id": (sign({**it, "sub": "x"}), ("invalid_request",)),
        "exp": (sign({**it, "exp": 4102444800}), ("invalid_request",)),
        "no_jti": (sign({k: v for k, v in it.items() if k != "jti"}), ("invalid_request",)),
        "a_jti_with_line_breaks": (sign({**it, "jti": "a\r\nb"}), ("invalid_request",)),
        "two_events": (sign({**it, "events": {REVOKED: {}, "urn:x": {}}}), ("invalid_request",)),
        "no_event": (sign({**it, "events": {}}), ("invalid_request",)),
        "typ_jwt": (sign(it, typ="JWT"), ("invalid_request",)),
        "sql_in_the_subject": (
            sign(claims(REVOKED, {}, {"format": "opaque", "id": "x'; DROP TABLE seen;--"})),
            ("access_denied",)),
        "no_jws": ("nonsense", ("invalid_request",)),
        "an_empty_body": ("", ("invalid_request",)),
        "bytes_that_are_no_text": (b"\xff\xfe.\x00", ("invalid_request",)),
    }
    for name, (compact, errs) in hostile.items():
        answer = send(compact)
        check(f"{name}_is_refused", answer.status == 400 and answer.body["err"] in errs,
              (answer.status, answer.raw))
    check("a_body_of_10_mb_is_refused", refuses_oversize(door, None, JWT))
    check("a_wrong_content_type_is_415", send(sign(it), media="application/json").status == 415)
    check("an_unknown_transmitter_is_404",
          send(sign(it), hub.base + "/ssf/receive/nonsense").status == 404)
    check("nothing_hostile_ended_a_session", alive(cy) and alive(bystander))

    # Rates, tokens, and keys by URL.
    slow = register("https://slow.example", rate_per_hour=1, with_token=True).body
    secret = slow["authorization_header"].removeprefix("Bearer ")

    def from_slow():
        return sign({**claims(REVOKED, {}, about), "iss": "https://slow.example"})

    url = slow["endpoint_url"]
    check("a_push_without_its_token_is_401", send(from_slow(), url).status == 401 and alive(cy))
    statuses = [send(from_slow(), url, secret).status for _ in range(2)]
    check("a_transmitter_beyond_its_rate_is_429", statuses == [202, 429], statuses)
    inbox = Inbox()
    key = RSAKey.generate_key(2048, private=True)
    uri = inbox.url + "/jwks.json"
    named = register("https://uri.example", jwks=None, jwks_uri=uri).body["endpoint_url"]
    inbox.jwks = {"keys": [public(key)]}
    compact = sign({**claims(REVOKED, {}, about), "iss": "https://uri.example"}, key)
    check("keys_are_fetched_from_jwks_uri", send(compact, named).status == 202)


if __name__ == "__main__":
    # As a module, so that every plan counts into one list.
    import conformance
    import logout
    import peer
    import polled

    ask = json.load(sys.stdin)
    plans = {"transmitter": peer.transmitter, "push": peer.push, "receiver": peer.receiver,
             "polled": polled.polled, "conformance": conformance.conformance,
             "logout": logout.logout}
    plans[sys.argv[1]](peer.Hub(ask["hub"], ask["admin"]))
    print(f"done {len(peer.FAILED)}", flush=True)
    sys.exit(1 if peer.FAILED else 0)
