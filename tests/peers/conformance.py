"""The modules of the OpenID conformance suite's SSF plans, ported: one check a module and delivery
method, under the module's own name. README.md has the table. What a module checks was read from its
source; none of that source is here, and a pass here is no certification."""

import time
import uuid



from peer import CAEP, POLL, PUSH, REVOKED, SSF, Hub, Inbox, Receiver, call, check, event
from polled import Polled, until

STREAMS = "configuration_endpoint"
VERIFICATION = SSF + "verification"
HEADER = "Bearer " + uuid.uuid4().hex


class Scene:
    """A receiver of its own, and its inbox if the hub is to push."""

    def __init__(self, hub, mode, header=HEADER):
        self.hub, self.mode, self.header = hub, mode, header
        self.rp = Receiver(hub, f"https://{uuid.uuid4().hex}.example")
        self.inbox = Inbox() if mode == PUSH else None

    def delivery(self):
        if self.mode == POLL:
            return {"method": POLL}
        it = {"method": PUSH, "endpoint_url": self.inbox.url}
        return {**it, "authorization_header": self.header} if self.header else it

    def create(self):
        made = self.rp.create(delivery=self.delivery(), events_requested=[REVOKED])
        assert made.status == 201, made.raw
        stream = made.body
        assert stream["iss"] == self.hub.metadata["issuer"] and stream["aud"] == self.rp.aud, stream
        assert stream["delivery"]["method"] == self.mode and stream["stream_id"], stream
        assert stream["events_delivered"] == [REVOKED] and stream["events_supported"], stream
        return stream

    def at(self):
        return "?stream_id=" + self.rp.stream

    def verify(self, state):
        body = {"stream_id": self.rp.stream, "state": state}
        answer = self.rp.at("verification_endpoint", "POST", body)
        assert answer.status == 204, answer.raw

    def delivered(self):
        """The next SET, believed."""
        if self.mode == PUSH:
            status, headers, body = self.inbox.next()
            assert status == 202 and headers.get("Authorization") == self.header, headers
            return self.hub.believe(body, self.rp.aud)
        sets = self.rp.poll(returnImmediately=False)["sets"]
        jti, compact = next(iter(sets.items()))
        self.rp.poll(maxEvents=0, ack=[jti])
        claims = self.hub.believe(compact, self.rp.aud)
        assert claims["jti"] == jti, claims
        return claims

    def delete(self):
        assert self.rp.at(STREAMS, "DELETE", query=self.at()).status == 204
        assert self.rp.at(STREAMS, "GET", query=self.at()).status == 404


def transmitter_metadata(hub, mode):
    meta = hub.metadata
    assert meta["issuer"] == hub.base and meta["spec_version"] == "1_0", meta
    assert mode in meta["delivery_methods_supported"], meta
    for name in ("jwks_uri", "configuration_endpoint", "status_endpoint", "verification_endpoint"):
        assert meta[name].startswith(hub.base), meta
    assert {"spec_urn": "urn:ietf:rfc:6749"} in meta["authorization_schemes"], meta
    assert meta["default_subjects"] in ("ALL", "NONE"), meta
    assert all(value != [] for value in meta.values()), meta
    kids = [key["kid"] for key in call("GET", meta["jwks_uri"]).body["keys"]]
    assert kids and len(kids) == len(set(kids)), kids


def stream_control_happy_path(hub, mode):
    scene = Scene(hub, mode)
    made = scene.create()
    rp = scene.rp
    assert rp.at(STREAMS, "GET", query=scene.at()).body == made
    body = {"stream_id": rp.stream, "description": "updated"}
    updated = rp.at(STREAMS, "PATCH", body)
    assert updated.status == 200 and updated.body["description"] == "updated", updated.raw
    whole = {**made, "delivery": scene.delivery(), "description": "replaced"}
    replaced = rp.at(STREAMS, "PUT", whole)
    assert replaced.status == 200 and replaced.body["description"] == "replaced", replaced.raw
    status = rp.at("status_endpoint", "GET", query=scene.at())
    assert status.status == 200 and status.body["status"] == "enabled", status.raw
    for word in ("paused", "enabled", "disabled"):
        assert rp.status(word).body["status"] == word
    scene.delete()


def create_with_broken_input(hub, mode):
    scene = Scene(hub, mode)
    assert scene.rp.at(STREAMS, "POST", b'{"delivery": {"method": ').status == 400
    assert scene.rp.at(STREAMS, "GET").body == []


def create_with_invalid_token(hub, mode):
    body = {"delivery": Scene(hub, mode).delivery()}
    assert call("POST", hub.metadata[STREAMS], "no-such-token", body).status == 401


def create_with_duplicate_config(hub, mode):
    scene = Scene(hub, mode)
    scene.create()
    assert scene.rp.create(delivery=scene.delivery()).status in (201, 409)


def read_with_invalid_token(hub, mode):
    scene = Scene(hub, mode)
    scene.create()
    assert call("GET", hub.metadata[STREAMS] + scene.at(), "no-such-token").status == 401


def on_unknown(method):
    def module(hub, mode):
        scene = Scene(hub, mode)
        scene.create()
        # Was valid, and is no more.
        scene.delete()
        body = None
        if method in ("PATCH", "PUT"):
            body = {"stream_id": scene.rp.stream, "delivery": scene.delivery()}
        query = scene.at() if body is None else ""
        answer = scene.rp.at(STREAMS, method, body, query)
        assert answer.status == 404, answer.raw

    return module


def with_invalid_token(method):
    def module(hub, mode):
        scene = Scene(hub, mode)
        scene.create()
        body, query = {"stream_id": scene.rp.stream, "delivery": scene.delivery()}, ""
        if method == "DELETE":
            body, query = None, scene.at()
        assert call(method, hub.metadata[STREAMS] + query, "no-such-token", body).status == 401
        assert scene.rp.at(STREAMS, "GET", query=scene.at()).status == 200

    return module


def with_invalid_body(method):
    def module(hub, mode):
        scene = Scene(hub, mode)
        made = scene.create()
        broken = f'{{"stream_id": "{scene.rp.stream}", "delivery": '.encode()
        assert scene.rp.at(STREAMS, method, broken).status == 400
        overreach = {"stream_id": scene.rp.stream, "iss": "https://evil.example"}
        assert scene.rp.at(STREAMS, method, overreach).status == 400
        assert scene.rp.at(STREAMS, "GET", query=scene.at()).body == made

    return module


def subject_control(hub, mode):
    scene = Scene(hub, mode)
    scene.create()
    for about in ({"format": "email", "email": "sam@corp.example"},
                  {"format": "iss_sub", "iss": "https://idp.example", "sub": "sam"}):
        body = {"stream_id": scene.rp.stream, "subject": about}
        assert scene.rp.at("add_subject_endpoint", "POST", {**body, "verified": True}).status == 200
        assert scene.rp.at("remove_subject_endpoint", "POST", body).status == 204
    scene.delete()


def verification(hub, mode, header=HEADER):
    scene = Scene(hub, mode, header)
    scene.create()
    state = uuid.uuid4().hex
    scene.verify(state)
    claims = scene.delivered()
    assert event(claims, VERIFICATION) == {"state": state}, claims
    assert claims["sub_id"] == {"format": "opaque", "id": scene.rp.stream}, claims
    scene.delete()


def verification_without_header(hub, mode):
    verification(hub, mode, header=None)


def verification_poll_only(hub, _):
    scene = Scene(hub, POLL)
    scene.create()
    scene.verify("s")
    first = scene.rp.poll(returnImmediately=False)["sets"]
    assert len(first) == 1 and scene.rp.poll()["sets"] == first, first
    assert event(hub.believe(*first.values(), scene.rp.aud), VERIFICATION) == {"state": "s"}


def verification_ack_only(hub, _):
    scene = Scene(hub, POLL)
    scene.create()
    scene.verify("s")
    sets = scene.rp.poll(returnImmediately=False)["sets"]
    assert scene.rp.poll(maxEvents=0, ack=list(sets))["sets"] == {}
    assert scene.rp.poll()["sets"] == {}


def verification_poll_and_ack(hub, _):
    scene = Scene(hub, POLL)
    scene.create()
    scene.verify("s")
    sets = scene.rp.poll(returnImmediately=False)["sets"]
    scene.rp.status("paused")
    both = scene.rp.poll(ack=list(sets))
    claims = [hub.believe(one, scene.rp.aud) for one in both["sets"].values()]
    assert [event(one, SSF + "stream-updated") for one in claims] == [{"status": "paused"}], claims


def caep_interop(hub, mode):
    scene = Scene(hub, mode)
    made = scene.create()
    rp = scene.rp
    assert rp.at("status_endpoint", "GET", query=scene.at()).body["status"] == "enabled"
    assert any(one.startswith(CAEP) for one in made["events_delivered"]), made
    scene.verify("interop")
    assert event(scene.delivered(), VERIFICATION) == {"state": "interop"}
    name = uuid.uuid4().hex
    about = {"format": "email", "email": f"{name}@corp.example"}
    hub.session(hub.bearer(rp.credentials), about, "s-" + name)
    hub.sign_out(about["email"], "interop")
    claims = scene.delivered()
    body = event(claims, REVOKED)
    assert claims["sub_id"]["user"] == about and claims["txn"], claims
    assert isinstance(body["event_timestamp"], int) and body["reason_admin"]["en"], body
    assert body["initiating_entity"] in ("admin", "user", "policy", "system"), body
    scene.delete()


# The hub as a receiver: by push, a registered transmitter; by poll, one that it polls.

class Party:
    """A transmitter of a hub by either delivery, and a session of somebody it may speak about."""

    def __init__(self, hub, mode):
        self.hub, self.mode = hub, mode
        bounds = {"domains": ["corp.example"]}
        if mode == POLL:
            self.peer = Polled("/" + uuid.uuid4().hex)
            poll = {"url": self.peer.issuer, "client_id": "hub",
                    "client_secret": "a secret: of+the test"}
            made = hub.operator("POST", "/v1/transmitters", {"poll": poll, "may_speak_about": bounds})
        else:
            self.peer = Polled("/" + uuid.uuid4().hex)
            key = {**self.peer.key.as_dict(private=False), "kid": self.peer.key.thumbprint()}
            made = hub.operator("POST", "/v1/transmitters", {
                "issuer": self.peer.issuer, "jwks": {"keys": [key]}, "aud": "hub-at-peer",
                "may_speak_about": bounds})
        assert made.status == 201, made.raw
        self.made = made.body
        self.app = hub.bearer(hub.client(f"https://{uuid.uuid4().hex}.example"))

    def send(self, claims):
        """Exactly 202, or an acknowledgement."""
        if self.mode == POLL:
            jti = self.peer.put(claims)
            assert self.peer.until(lambda: jti in self.peer.acked), (claims, self.peer.errs)
            return
        answer = call("POST", self.made["endpoint_url"], None, self.peer.sign(claims).encode(),
                      "application/secevent+jwt")
        assert answer.status == 202 and answer.raw == b"", (answer.status, answer.raw)

    def remove(self):
        answer = self.hub.operator("DELETE", "/v1/transmitters/" + self.made["id"])
        assert answer.status == 204, answer.raw


def receiver_create_delete(hub, mode):
    party = Party(hub, mode)
    party.remove()
    assert mode == PUSH or party.peer.deleted, "our stream there is deleted"


def receiver_verification(hub, mode):
    party = Party(hub, mode)
    about = {"format": "opaque", "id": "stream"}
    if mode == POLL:
        assert party.peer.until(lambda: party.peer.states), "the hub asks by itself"
        state = party.peer.states[-1]
    else:
        state = uuid.uuid4().hex
        path = f"/v1/transmitters/{party.made['id']}/expect"
        assert hub.operator("POST", path, {"state": state}).status == 204
    party.send(party.peer.claims(VERIFICATION, {"state": state}, about))
    party.remove()


def receiver_unsolicited_verification(hub, mode):
    party = Party(hub, mode)
    party.send(party.peer.claims(VERIFICATION, {}, {"format": "opaque", "id": "stream"}))
    party.remove()


def receiver_status_update(hub, mode):
    party = Party(hub, mode)
    about = {"format": "opaque", "id": "stream"}
    for status in ("paused", "enabled"):
        party.send(party.peer.claims(SSF + "stream-updated", {"status": status}, about))
        all_ = hub.operator("GET", "/v1/transmitters").body["transmitters"]
        mine = next(one for one in all_ if one["id"] == party.made["id"])
        assert mine["stream"]["status"] == status, mine
    party.remove()


def receiver_supported_events(hub, mode):
    party = Party(hub, mode)
    about = {"format": "email", "email": f"{uuid.uuid4().hex}@corp.example"}
    stamp = {"event_timestamp": int(time.time()), "reason_admin": {"en": "test"},
             "initiating_entity": "policy"}
    for name, body in (
            ("session-revoked", {}), ("token-claims-change", {"claims": {"role": "ro"}}),
            ("credential-change", {"credential_type": "password", "change_type": "revoke"}),
            ("assurance-level-change", {"namespace": "NIST-AAL", "current_level": "nist-aal1"}),
            ("device-compliance-change",
             {"previous_status": "compliant", "current_status": "not-compliant"}),
            ("session-established", {}), ("session-presented", {}),
            ("risk-level-change", {"principal": "USER", "current_level": "HIGH"})):
        party.send(party.peer.claims(CAEP + name, {**stamp, **body}, about))
    party.remove()


def receiver_happy_path(hub, mode):
    party = Party(hub, mode)
    name = uuid.uuid4().hex
    about = {"format": "email", "email": f"{name}@corp.example"}
    seq = hub.session(party.app, about, name)
    assert hub.alive(party.app, about["email"], name, seq)
    party.send(party.peer.claims(REVOKED, {"event_timestamp": int(time.time())}, about))
    assert not hub.alive(party.app, about["email"], name, seq)
    party.remove()


def receiver_caep_interop(hub, mode):
    for change in ("revoke", "delete"):
        party = Party(hub, mode)
        name = uuid.uuid4().hex
        about = {"format": "email", "email": f"{name}@corp.example"}
        seq = hub.session(party.app, about, name)
        body = {"event_timestamp": int(time.time()), "credential_type": "password",
                "change_type": change, "reason_admin": {"en": "lost"}}
        party.send(party.peer.claims(CAEP + "credential-change", body, about))
        assert until(lambda: not hub.alive(party.app, about["email"], name, seq))
        party.remove()
    receiver_happy_path(hub, mode)


CONTROL, VERIFY = "openid-ssf-stream-control-error-", "openid-ssf-transmitter-stream-verification-"
RECEIVER = "openid-ssf-receiver-"
MODULES = [
    ("openid-ssf-transmitter-metadata", transmitter_metadata, (PUSH, POLL)),
    ("openid-ssf-stream-control-happy-path", stream_control_happy_path, (PUSH, POLL)),
    (CONTROL + "create-stream-with-broken-input", create_with_broken_input, (PUSH, POLL)),
    (CONTROL + "create-stream-with-invalid-token", create_with_invalid_token, (PUSH, POLL)),
    (CONTROL + "create-stream-with-duplicate-config", create_with_duplicate_config, (PUSH, POLL)),
    (CONTROL + "read-stream-with-invalid-token", read_with_invalid_token, (PUSH, POLL)),
    (CONTROL + "read-unknown-stream", on_unknown("GET"), (PUSH, POLL)),
    (CONTROL + "update-stream-with-invalid-token", with_invalid_token("PATCH"), (PUSH, POLL)),
    (CONTROL + "update-stream-with-invalid-body", with_invalid_body("PATCH"), (PUSH, POLL)),
    (CONTROL + "update-unknown-stream", on_unknown("PATCH"), (PUSH, POLL)),
    (CONTROL + "replace-stream-with-invalid-body", with_invalid_body("PUT"), (PUSH, POLL)),
    (CONTROL + "replace-stream-with-invalid-token", with_invalid_token("PUT"), (PUSH, POLL)),
    (CONTROL + "replace-unknown-stream", on_unknown("PUT"), (PUSH, POLL)),
    (CONTROL + "delete-stream-with-invalid-token", with_invalid_token("DELETE"), (PUSH, POLL)),
    (CONTROL + "delete-unknown-stream", on_unknown("DELETE"), (PUSH, POLL)),
    ("openid-ssf-stream-subject-control", subject_control, (PUSH, POLL)),
    (VERIFY + "push", verification, (PUSH,)),
    (VERIFY + "poll-only", verification_poll_only, (POLL,)),
    (VERIFY + "poll-and-ack", verification_poll_and_ack, (POLL,)),
    (VERIFY + "ack-only", verification_ack_only, (POLL,)),
    (VERIFY + "error-push-no-auth", verification_without_header, (PUSH,)),
    ("openid-ssf-transmitter-stream-caep-interop", caep_interop, (PUSH, POLL)),
    (RECEIVER + "happypath", receiver_happy_path, (PUSH, POLL)),
    (RECEIVER + "stream-create-delete", receiver_create_delete, (PUSH, POLL)),
    (RECEIVER + "stream-status-update", receiver_status_update, (PUSH, POLL)),
    (RECEIVER + "stream-verification", receiver_verification, (PUSH, POLL)),
    (RECEIVER + "unsolicited-stream-verification", receiver_unsolicited_verification, (PUSH, POLL)),
    (RECEIVER + "stream-supported-events", receiver_supported_events, (PUSH, POLL)),
    (RECEIVER + "stream-caep-interop", receiver_caep_interop, (PUSH, POLL)),
]


def conformance(hub: Hub):
    """Every module, by each delivery method that it is for."""
    for name, module, modes in MODULES:
        for mode in modes:
            word = "push" if mode == PUSH else "poll"
            try:
                module(hub, mode)
                check(f"{name}[{word}]", True)
            except (AssertionError, KeyError, StopIteration, OSError) as error:
                check(f"{name}[{word}]", False, repr(error))
