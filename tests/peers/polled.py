"""A transmitter that the hub polls (RFC 8936), and what is checked of the hub as its receiver."""

import http.server
import json
import threading
import time
import urllib.parse
import uuid

from joserfc import jws
from joserfc.jwk import RSAKey

from peer import POLL, PUSH, REVOKED, SSF, check


class Polled:
    """A transmitter on loopback that is polled (RFC 8936): metadata, tokens, a stream, true long
    polls. What it does wrong is set from outside."""

    def __init__(self, path="/realm"):
        self.key = RSAKey.generate_key(2048, private=True)
        self.lock = threading.Condition()
        self.waiting, self.polls, self.acked, self.errs = {}, [], [], {}
        self.tokens, self.bought, self.states, self.deleted = set(), 0, [], []
        self.stream, self.hang, self.fail, self.sleeping = None, False, [], 0
        self.over, self.overstream = {}, {}
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, status, body=None, **headers):
                data = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(data)

            def body(self):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def known(self):
                return (self.headers["Authorization"] or "").removeprefix("Bearer ") in peer.tokens

            def do_GET(self):
                where = urllib.parse.urlparse(self.path)
                if where.path == "/.well-known/ssf-configuration" + path:
                    self.answer(200, peer.metadata())
                elif where.path == "/.well-known/oauth-authorization-server" + path:
                    self.answer(200, {"issuer": peer.issuer, "token_endpoint": peer.base + "/token"})
                elif where.path == "/jwks":
                    public = {**peer.key.as_dict(private=False), "kid": peer.key.thumbprint()}
                    self.answer(200, {"keys": [public]})
                elif where.path == "/streams" and self.known():
                    self.answer(200, peer.shown()) if peer.stream else self.answer(404)
                else:
                    self.answer(401 if where.path == "/streams" else 404)

            def do_DELETE(self):
                peer.deleted.append(self.path)
                self.answer(204 if self.known() else 401)

            def do_POST(self):
                body = self.body()
                if self.path == "/token":
                    return self.token(body)
                if not self.known():
                    return self.answer(401)
                if self.path == "/streams":
                    if peer.stream:
                        return self.answer(409)
                    peer.wishes = json.loads(body)
                    peer.stream = uuid.uuid4().hex
                    return self.answer(201, peer.shown())
                if self.path == "/verify":
                    peer.states.append(json.loads(body)["state"])
                    self.answer(204)
                    with peer.lock:
                        peer.lock.notify_all()
                    return
                if self.path == "/poll":
                    return self.poll(json.loads(body))
                self.answer(404)

            def token(self, body):
                import base64

                pair = base64.b64decode((self.headers["Authorization"] or "").removeprefix("Basic "))
                asked = urllib.parse.parse_qs(body.decode())
                if urllib.parse.unquote_plus(pair.decode()) != "hub:a secret: of+the test":
                    return self.answer(401, {"error": "invalid_client"})
                assert asked["grant_type"] == ["client_credentials"], asked
                token = uuid.uuid4().hex
                peer.tokens.add(token)
                peer.bought += 1
                self.answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})

            def poll(self, ask):
                with peer.lock:
                    peer.polls.append((time.monotonic(), ask))
                    for jti in ask.get("ack", []):
                        peer.acked.append(jti)
                        peer.waiting.pop(jti, None)
                    for jti, err in ask.get("setErrs", {}).items():
                        peer.errs[jti] = err
                        peer.waiting.pop(jti, None)
                    peer.lock.notify_all()
                    if peer.fail:
                        status, headers = peer.fail.pop(0)
                        return self.answer(status, None, **headers)
                    if ask.get("maxEvents") != 0 and not ask.get("returnImmediately"):
                        peer.sleeping += 1
                        peer.lock.notify_all()
                        peer.lock.wait_for(lambda: peer.waiting or peer.fail, 20)
                        peer.sleeping -= 1
                    hang = peer.hang
                    sets = {} if ask.get("maxEvents") == 0 else dict(peer.waiting)
                if hang:
                    time.sleep(30)
                try:
                    self.answer(200, {"sets": sets, "moreAvailable": False})
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.base = f"http://127.0.0.1:{server.server_port}"
        self.issuer = self.base + path
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def metadata(self):
        base = self.base
        return {"spec_version": "1_0", "issuer": self.issuer, "jwks_uri": base + "/jwks",
                "delivery_methods_supported": [POLL], "configuration_endpoint": base + "/streams",
                "verification_endpoint": base + "/verify",
                "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}], **self.over}

    def shown(self):
        return {"stream_id": self.stream, "iss": self.issuer, "aud": "hub-at-peer",
                "events_delivered": [REVOKED],
                "delivery": {"method": POLL, "endpoint_url": self.base + "/poll"},
                **self.overstream}

    def claims(self, event_type, body, sub_id, **more):
        return {"iss": self.issuer, "aud": "hub-at-peer", "jti": uuid.uuid4().hex,
                "iat": int(time.time()), "events": {event_type: body}, "sub_id": sub_id, **more}

    def sign(self, claims, key=None, **head):
        key = key or self.key
        header = {"alg": "RS256", "typ": "secevent+jwt", "kid": key.thumbprint(), **head}
        return jws.serialize_compact(header, json.dumps(claims), key, algorithms=["RS256"])

    def put(self, claims, compact=None, under=None):
        with self.lock:
            self.waiting[under or claims["jti"]] = compact or self.sign(claims)
            self.lock.notify_all()
        return under or claims["jti"]

    def until(self, holds, seconds=30):
        """Waits until something that the hub asks for has happened."""
        with self.lock:
            return self.lock.wait_for(holds, seconds)


def until(holds, seconds=30):
    """Waits until something holds at the hub that nothing here hears of."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def polled(hub):
    """The hub polls, and this is the transmitter."""
    peer = Polled()
    secret = "a secret: of+the test"

    def register(peer, **poll):
        settings = {"url": peer.issuer, "client_id": "hub", "client_secret": secret, **poll}
        settings = {name: value for name, value in settings.items() if value is not None}
        return hub.operator("POST", "/v1/transmitters", {
            "poll": settings, "may_speak_about": {"domains": ["corp.example"]}})

    def refused(answer, words):
        return answer.status == 400 and words in answer.body["error"]["message"]

    check("a_wrong_secret_is_400_and_says_where_to_look",
          refused(register(peer, client_secret="x"), "look at the client"))
    check("credentials_of_both_kinds_are_400",
          refused(register(peer, access_token="x"), "access_token alone"))
    check("no_credentials_are_400", refused(register(peer, client_secret=None), "client_secret"))
    check("metadata_of_another_issuer_is_400",
          refused(register(peer, url=peer.base + "/realm/.well-known/x"), "answered with 404"))
    for name, over, words in (
            ("another_issuer_in_the_metadata", {"issuer": "https://evil.example"}, "belong"),
            ("streams_at_a_private_address",
             {"configuration_endpoint": "http://10.0.0.1/streams"}, "refused"),
            ("streams_at_the_hub_itself", {"configuration_endpoint": hub.base + "/x"}, "refused"),
            ("keys_at_the_cloud_metadata_address",
             {"jwks_uri": "http://169.254.169.254/jwks"}, "refused"),
            ("no_poll_delivery", {"delivery_methods_supported": [PUSH]}, "by poll")):
        hostile = Polled()
        hostile.over = over
        answer = register(hostile, token_endpoint=hostile.base + "/token")
        check(f"{name}_is_400", refused(answer, words), answer.raw)
    hostile = Polled()
    hostile.overstream = {"delivery": {"method": POLL, "endpoint_url": "http://10.9.8.7/poll"}}
    answer = register(hostile)
    check("a_poll_endpoint_at_a_private_address_is_400", refused(answer, "refused"), answer.raw)

    made = register(peer)
    check("a_polled_transmitter_is_registered_by_its_url_and_a_client_alone",
          made.status == 201 and made.body["issuer"] == peer.issuer
          and made.body["aud"] == "hub-at-peer" and made.body["delivery"] == "poll", made.raw)
    check("the_stream_is_created_by_poll_for_known_events",
          peer.wishes["delivery"] == {"method": POLL} and REVOKED in peer.wishes["events_requested"])
    check("no_credential_is_shown_again",
          secret not in hub.operator("GET", "/v1/transmitters").raw.decode())
    check("an_issuer_is_registered_once", register(peer).status == 409)

    def listed():
        all_ = hub.operator("GET", "/v1/transmitters").body["transmitters"]
        return next(one for one in all_ if one["id"] == made.body["id"])

    check("a_long_poll_is_parked", peer.until(lambda: peer.sleeping == 1))
    check("operators_see_that_it_answers", until(lambda: listed()["link"]["state"] == "up"))

    # Verification: asked for by itself, and checked.
    check("a_verification_is_asked_for", peer.until(lambda: peer.states))
    stream = {"format": "opaque", "id": peer.stream}
    jti = peer.put(peer.claims(SSF + "verification", {"state": "not mine"}, stream))
    check("a_state_that_was_not_asked_for_is_refused_by_set_errs",
          peer.until(lambda: jti in peer.errs) and peer.errs[jti]["err"] == "invalid_state")
    check("a_verification_that_does_not_come_is_an_alarm",
          until(lambda: any("verification" in row["detail"]["why"]
                            for row in hub.audited("stream-alarm") if "why" in row["detail"])))
    check("operators_see_that_it_is_missing", listed()["stream"]["awaiting_since"] is not None)
    jti = peer.put(peer.claims(SSF + "verification", {"state": peer.states[-1]}, stream))
    check("the_state_that_was_asked_for_is_acknowledged", peer.until(lambda: jti in peer.acked))
    seen = listed()["stream"]
    check("operators_see_that_the_stream_is_verified",
          seen["verified_at"] is not None and seen["awaiting_since"] is None, seen)

    app = hub.bearer(hub.client("https://app.example"))

    def email(name):
        return {"format": "email", "email": f"{name}@corp.example"}

    def signed_in(name):
        session = uuid.uuid4().hex
        return f"{name}@corp.example", session, hub.session(app, email(name), session)

    def alive(session):
        return hub.alive(app, *session)

    ann, bystander = signed_in("ann"), signed_in("bystander")
    peer.until(lambda: peer.sleeping == 1)
    put = time.monotonic()
    jti = peer.put(peer.claims(REVOKED, {"event_timestamp": int(time.time())}, email("ann")))
    check("an_event_in_a_parked_poll_is_acknowledged", peer.until(lambda: jti in peer.acked))
    check("it_had_ended_the_sessions_by_then", not alive(ann) and alive(bystander))
    check("a_parked_poll_brings_it_at_once", time.monotonic() - put < 5)
    ann = signed_in("ann")
    again = peer.claims(REVOKED, {}, email("ann"), jti=jti)
    peer.acked.clear()
    peer.put(again)
    check("a_set_that_comes_again_is_acknowledged_and_does_nothing",
          peer.until(lambda: jti in peer.acked) and alive(ann))

    # What is wrong is refused by name, and holds nothing up.
    stranger = RSAKey.generate_key(2048, private=True)
    bad = {
        "a_strangers_key": (peer.sign(peer.claims(REVOKED, {}, email("ann")), stranger,
                                      kid=peer.key.thumbprint()), "authentication_failed"),
        "another_audience": (peer.sign(peer.claims(REVOKED, {}, email("ann"), aud="x")),
                             "invalid_audience"),
        "another_issuer": (peer.sign(peer.claims(REVOKED, {}, email("ann"), iss="https://x.example")),
                           "invalid_issuer"),
        "a_set_of_1970": (peer.sign(peer.claims(REVOKED, {}, email("ann"), iat=0)),
                          "invalid_request"),
        "a_set_of_2100": (peer.sign(peer.claims(REVOKED, {}, email("ann"), iat=4102444800)),
                          "invalid_request"),
        "nobody": (peer.sign(peer.claims(REVOKED, {}, {"format": "complex"})), "invalid_request"),
        "someone_elses_subject": (peer.sign(peer.claims(
            REVOKED, {}, {"format": "email", "email": "ceo@other.example"})), "access_denied"),
        "no_jws": ("nonsense", "invalid_request"),
    }
    for name, (compact, err) in bad.items():
        under = uuid.uuid4().hex
        if compact.count(".") == 2:
            import base64

            middle = compact.split(".")[1]
            under = json.loads(base64.urlsafe_b64decode(middle + "=="))["jti"]
        peer.put(None, compact, under)
        check(f"{name}_is_refused_by_set_errs",
              peer.until(lambda: under in peer.errs) and peer.errs[under]["err"] == err,
              peer.errs.get(under))
    claims = peer.claims(REVOKED, {}, email("ann"))
    peer.put(claims, under="another-name")
    check("a_set_under_another_name_is_refused",
          peer.until(lambda: "another-name" in peer.errs)
          and peer.errs["another-name"]["err"] == "invalid_request")
    check("nothing_that_was_refused_ended_a_session", alive(ann) and alive(bystander))

    # Keys that change, tokens that end, a transmitter that is busy.
    peer.key = RSAKey.generate_key(2048, private=True)
    jti = peer.put(peer.claims(REVOKED, {}, email("ann")))
    check("a_rotated_key_is_fetched", peer.until(lambda: jti in peer.acked) and not alive(ann))
    bought = peer.bought
    peer.tokens.clear()
    jti = peer.put(peer.claims(REVOKED, {}, email("ann")))
    check("a_token_that_ended_is_replaced",
          peer.until(lambda: jti in peer.acked) and peer.bought > bought)
    peer.until(lambda: peer.sleeping == 1)
    with peer.lock:
        polls = len(peer.polls)
        peer.fail.append((503, {"Retry_After": "1"}))
        peer.lock.notify_all()
    peer.until(lambda: len(peer.polls) > polls, 30)
    peer.put(peer.claims(REVOKED, {}, email("bystander")))
    check("a_busy_transmitter_is_left_alone_as_long_as_it_asks",
          peer.until(lambda: len(peer.polls) > polls + 1)
          and peer.polls[polls + 1][0] - peer.polls[polls][0] >= 1, peer.polls[polls:])
    check("and_then_nothing_was_lost", until(lambda: not alive(bystander)))

    jti = peer.put(peer.claims(SSF + "stream-updated",
                               {"status": "paused", "reason": "maintenance"}, stream))
    peer.until(lambda: jti in peer.acked)
    check("a_paused_stream_is_an_alarm_that_operators_see",
          listed()["stream"]["status"] == "paused"
          and any(row["detail"].get("status") == "paused" for row in hub.audited("stream-alarm")))
    jti = peer.put(peer.claims(SSF + "stream-updated", {"status": "enabled"}, stream))
    check("and_it_ends_when_the_stream_is_enabled",
          peer.until(lambda: jti in peer.acked) and listed()["stream"]["status"] == "enabled")

    peer.hang = True
    jti = peer.put(peer.claims(REVOKED, {}, email("bystander")))
    check("a_transmitter_that_never_answers_is_seen_to_be_down",
          until(lambda: listed()["link"]["state"] == "down") and listed()["link"]["error"])
    peer.hang = False
    check("it_is_polled_again_and_nothing_was_lost", peer.until(lambda: jti in peer.acked, 60))
    gone = hub.operator("DELETE", "/v1/transmitters/" + made.body["id"])
    check("a_removed_transmitter_loses_our_stream",
          gone.status == 204 and peer.deleted == ["/streams?stream_id=" + peer.stream], peer.deleted)
    check("and_is_listed_no_more", hub.operator("GET", "/v1/transmitters").body["transmitters"] == [])
    check("nobody_is_removed_twice",
          hub.operator("DELETE", "/v1/transmitters/" + made.body["id"]).status == 404)
