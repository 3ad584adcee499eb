"""A provider that logs people out by the back channel (OpenID Connect Back-Channel Logout 1.0), and what
is checked of the hub as its relying party. Keycloak's shape is a stand-in of ours."""

import base64
import hashlib
import hmac
import json
import time
import urllib.parse
import uuid

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from peer import call, check

FORM = "application/x-www-form-urlencoded"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
ISSUER = "https://op.example"


def logout(hub):
    """The hub is a relying party, and this is the provider."""
    rsa, ec = RSAKey.generate_key(2048, private=True), ECKey.generate_key("P-256", private=True)
    keys = [{**key.as_dict(private=False), "kid": key.thumbprint()} for key in (rsa, ec)]
    made = hub.operator("POST", "/v1/transmitters", {
        "issuer": ISSUER, "jwks": {"keys": keys}, "clients": ["shop", "mail"],
        "may_speak_about": {"issuers": [ISSUER], "domains": ["corp.example"]}})
    check("a_provider_is_registered_with_its_clients",
          made.status == 201 and made.body["clients"] == ["shop", "mail"], made.raw)
    app = hub.bearer(hub.client("https://app.example"))

    def signed_in(sub, sid):
        session = uuid.uuid4().hex
        subject = {"format": "iss_sub", "iss": ISSUER, "sub": sub}
        return f"{ISSUER}|{sub}", session, hub.session(app, subject, session, idp_sid=sid)

    def alive(session):
        return hub.alive(app, *session)

    def claims(**more):
        it = {"iss": ISSUER, "aud": "shop", "jti": uuid.uuid4().hex, "iat": int(time.time()),
              "exp": int(time.time()) + 120, "events": {EVENT: {}}, **more}
        return {name: value for name, value in it.items() if value is not None}

    def sign(it, key=rsa, alg="RS256", typ="logout+jwt", **head):
        header = {"alg": alg, "kid": key.thumbprint(), **({"typ": typ} if typ else {}), **head}
        return jws.serialize_compact(header, json.dumps(it), key, algorithms=[alg])

    def send(token, media=FORM):
        data = urllib.parse.urlencode({"logout_token": token, "unknown": "x"}).encode()
        return call("POST", hub.base + "/v1/back-channel-logout", None, data, media)

    def done(answer):
        return (answer.status == 200 and answer.raw == b""
                and answer.headers["Cache-Control"] == "no-store")

    def refused(answer):
        return (answer.status == 400 and answer.body["error"] == "invalid_request"
                and answer.headers["Cache-Control"] == "no-store")

    here, there = signed_in("ann", "sid-1"), signed_in("ann", "sid-2")
    bystander = signed_in("bob", "sid-3")
    token = sign(claims(sid="sid-1", sub="ann"))
    answer = send(token)
    check("a_sid_is_answered_by_200_without_a_body_and_no_store", done(answer), answer.raw)
    check("its_session_had_ended_by_then_and_no_other",
          not alive(here) and alive(there) and alive(bystander))
    check("a_token_counts_once", refused(send(token)))
    again = claims(sid="sid-2")
    check("a_sid_alone_is_enough", done(send(sign(again))) and not alive(there))
    check("a_jti_counts_once_even_under_another_signature", refused(send(sign(again, ec, "ES256"))))
    ann = signed_in("ann", "sid-4")
    check("a_sub_alone_ends_every_session_of_that_person",
          done(send(sign(claims(sub="ann", aud=["x", "mail"])))) and not alive(ann)
          and alive(bystander))
    check("whoever_has_no_session_is_logged_out_already",
          done(send(sign(claims(sub="nobody")))) and done(send(sign(claims(sid="nowhere")))))
    for name, it, typ in (
            ("keycloak_without_a_type_of_its_own", claims(sub="nobody", typ="Logout"), "JWT"),
            ("keycloak_with_offline_access", claims(
                sub="nobody", events={EVENT: {}, "revoke_offline_access": True}), "logout+jwt"),
            ("keycloak_without_an_end", claims(sub="nobody", exp=None), "JWT"),
            ("no_type_at_all", claims(sub="nobody"), None)):
        answer = send(sign(it, typ=typ))
        check(f"{name}_is_200", done(answer), answer.raw)

    it = claims(sid="sid-3")

    def b64(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def forged(alg, mac=b""):
        header = {"alg": alg, "typ": "logout+jwt", "kid": rsa.thumbprint()}
        text = b64(json.dumps(header).encode()) + "." + b64(json.dumps(it).encode())
        return text + "." + (b64(hmac.new(mac, text.encode(), hashlib.sha256).digest()) if mac else "")

    stranger = RSAKey.generate_key(2048, private=True)
    hostile = {
        "algorithm_none": forged("none"),
        "hs256_with_the_public_key_as_secret": forged("HS256", rsa.as_pem(private=False)),
        "a_strangers_key_under_a_known_name": sign(it, stranger, kid=rsa.thumbprint()),
        "an_unknown_key": sign(it, stranger),
        "another_algorithm_of_the_same_key": sign(it, alg="PS256"),
        "another_issuer": sign({**it, "iss": "https://evil.example"}),
        "another_client": sign({**it, "aud": "someone"}),
        "an_id_token": sign({k: v for k, v in it.items() if k != "events"}, typ="JWT"),
        "a_nonce": sign({**it, "nonce": "n"}),
        "another_event": sign({**it, "events": {"urn:x": {}}}),
        "an_event_that_is_no_object": sign({**it, "events": {EVENT: True}}),
        "past_its_end": sign({**it, "exp": int(time.time()) - 120}),
        "iat_of_1970": sign(claims(sid="sid-3", iat=0, exp=None)),
        "iat_of_2100": sign({**it, "iat": 4102444800}),
        "neither_sid_nor_sub": sign(claims()),
        "a_sid_with_line_breaks": sign({**it, "sid": "a\r\nb"}),
        "sql_in_the_sub": sign(claims(sub="x'; DROP TABLE seen;--\x00")),
        "a_set": sign(it, typ="secevent+jwt"),
        "no_jwt": "nonsense",
        "nothing": "",
        "another_persons_session": sign({**it, "sub": "ann"}),
    }
    for name, token in hostile.items():
        answer = send(token)
        check(f"{name}_is_400", refused(answer), (answer.status, answer.raw))
    check("json_is_refused", send(sign(it), "application/json").status == 400)
    check("nothing_hostile_ended_a_session", alive(bystander))
    check("and_the_same_token_signed_well_does", done(send(sign(it))) and not alive(bystander))
