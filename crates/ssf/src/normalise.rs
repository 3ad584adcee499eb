//! What an event of another party means, whatever that party's habits: one reading for Okta's
//! in-event subject and milliseconds, Google's `subject_type`, Keycloak's session "ALL" and
//! authentik's hashed session keys.
//!
//! It refuses to guess: a subject that names nobody is an error, and never everyone.

use exeunt_domain::{Subject, Timestamp};
use serde_json::{Map, Value};

use crate::set::Set;

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
/// Prefixes of the framework's own events: SSF 1.0, its drafts, and RISC before it.
const FRAMEWORK: [&str; 3] = [
    "https://schemas.openid.net/secevent/ssf/event-type/",
    "https://schemas.openid.net/secevent/sse/event-type/",
    RISC,
];
/// A time above this is in milliseconds: as seconds it lies in the year 5138.
const MOST_SECS: u64 = 100_000_000_000;

/// Most identifiers in a subject of the format `aliases`.
pub const MOST_ALIASES: usize = 16;

/// What an event means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Sessions of a person are over.
    End(Ended),
    /// The stream works. With the state that the receiver gave, when it had asked.
    Verification {
        /// The state.
        state: Option<String>,
    },
    /// The stream's status changed at the transmitter.
    StreamUpdated {
        /// Its word for the status.
        status: String,
        /// Its reason.
        reason: Option<String>,
    },
    /// Nothing that ends a session.
    Other,
}

/// Sessions that are over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose.
    pub user: Subject,
    /// That person's other names, when the event says that several are one person's (RFC 9493
    /// §3.2.8).
    pub aliases: Vec<Subject>,
    /// Which of theirs.
    pub scope: Scope,
    /// When it happened, if the event says so.
    pub at: Option<Timestamp>,
    /// The transmitter's words for it.
    pub reason: Option<String>,
}

/// Which sessions of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every one.
    All,
    /// The one of this name at the identity provider.
    Session(String),
    /// The one whose name at the identity provider has this SHA-256, in lower-case hexadecimal.
    Hashed(String),
}

/// An event that names nobody in a way that can be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolvable {
    /// There is no subject.
    #[error("the event has no subject")]
    Missing,
    /// The subject's format is not known, or its members do not tell which it is.
    #[error("the subject's format is not known")]
    Format,
    /// A complex subject without a user.
    #[error("the subject names no user, and is never taken for everyone")]
    NoUser,
    /// Several identifiers where one is asked for.
    #[error("the subject has several identifiers, and one is asked for")]
    Several,
    /// An aliases subject with more identifiers than are followed.
    #[error("the subject has over {MOST_ALIASES} identifiers")]
    TooMany,
    /// The subject's text is empty or unprintable.
    #[error("the subject's name is empty or unprintable")]
    Name,
}

/// Reads the one event of a SET.
///
/// # Errors
/// [`Unresolvable`] for an event that would end sessions of nobody in particular.
pub fn normalise(set: &Set) -> Result<Signal, Unresolvable> {
    let Some((event_type, event)) = set.events.iter().next() else { return Ok(Signal::Other) };
    let text = |name: &str| event.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let framework = FRAMEWORK.iter().find_map(|prefix| event_type.strip_prefix(prefix));
    match framework {
        Some("verification") => return Ok(Signal::Verification { state: text("state") }),
        Some("stream-updated") => {
            let status = text("status").unwrap_or_default();
            return Ok(Signal::StreamUpdated { status, reason: text("reason") });
        }
        Some(_) | None => {}
    }
    let one_session = match ends(event_type, event) {
        None => return Ok(Signal::Other),
        Some(one_session) => one_session,
    };
    let about = set.sub_id.as_ref().or_else(|| event.get("subject"));
    let about = about.and_then(Value::as_object).ok_or(Unresolvable::Missing)?;
    let (user, aliases, scope) = resolve(about)?;
    let scope = if one_session { scope } else { Scope::All };
    Ok(Signal::End(Ended { user, aliases, scope, at: time(event), reason: reason(event) }))
}

/// One person, named by a simple subject or as the user of a complex one.
///
/// # Errors
/// [`Unresolvable`], also when the subject names one session only.
pub fn subject(about: &Value) -> Result<Subject, Unresolvable> {
    match resolve(about.as_object().ok_or(Unresolvable::Missing)?)? {
        (user, aliases, Scope::All) if aliases.is_empty() => Ok(user),
        (_, _, Scope::All) => Err(Unresolvable::Several),
        (_, _, Scope::Session(_) | Scope::Hashed(_)) => Err(Unresolvable::Format),
    }
}

/// Whether the event can end sessions; true: perhaps only the one that its subject names. Whether it
/// does is for a policy to say.
fn ends(event_type: &str, event: &Value) -> Option<bool> {
    let word = |name: &str| {
        let word = event.get(name).and_then(Value::as_str).unwrap_or_default();
        word.to_ascii_lowercase().replace('_', "-")
    };
    if let Some(name) = event_type.strip_prefix(CAEP) {
        return match name {
            "session-revoked" => Some(true),
            "credential-change" => {
                matches!(word("change_type").as_str(), "revoke" | "delete").then_some(false)
            }
            "device-compliance-change" => {
                (word("current_status") == "not-compliant").then_some(false)
            }
            // A risk of a session is that session's; any other is the person's.
            "risk-level-change" => {
                (word("current_level") == "high").then(|| word("principal") == "session")
            }
            _ => None,
        };
    }
    match event_type.strip_prefix(RISC)? {
        "account-disabled"
        | "account-purged"
        | "account-credential-change-required"
        | "credential-compromise"
        | "sessions-revoked" => Some(false),
        _ => None,
    }
}

fn resolve(about: &Map<String, Value>) -> Result<(Subject, Vec<Subject>, Scope), Unresolvable> {
    let complex = ["user", "session", "device", "tenant", "application", "org_unit", "group"];
    let is_complex = match format(about) {
        Some(named) => named == "complex",
        None => complex.iter().any(|member| about.contains_key(*member)),
    };
    if !is_complex {
        let (user, aliases) = named(about)?;
        return Ok((user, aliases, Scope::All));
    }
    let user = about.get("user").and_then(Value::as_object).ok_or(Unresolvable::NoUser)?;
    let scope = match about.get("session") {
        None | Some(Value::Null) => Scope::All,
        Some(session) => session_scope(session)?,
    };
    let (user, aliases) = named(user)?;
    Ok((user, aliases, scope))
}

/// One person: by a simple subject, or by several that the transmitter says are one person's.
fn named(about: &Map<String, Value>) -> Result<(Subject, Vec<Subject>), Unresolvable> {
    if format(about).as_deref() != Some("aliases") {
        return Ok((simple(about)?, Vec::new()));
    }
    let all = about.get("identifiers").and_then(Value::as_array).ok_or(Unresolvable::Format)?;
    if all.len() > MOST_ALIASES {
        return Err(Unresolvable::TooMany);
    }
    let mut names = Vec::new();
    for one in all {
        let one = one.as_object().ok_or(Unresolvable::Format)?;
        let name = simple(one)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(Unresolvable::Format);
    }
    let user = names.remove(0);
    Ok((user, names))
}

/// Which session a complex subject's `session` names.
fn session_scope(session: &Value) -> Result<Scope, Unresolvable> {
    let named = session.as_str().or_else(|| {
        ["id", "sub", "uri", "jti", "assertion_id"]
            .into_iter()
            .find_map(|member| session.get(member).and_then(Value::as_str))
    });
    let named = named.filter(|id| !id.is_empty()).ok_or(Unresolvable::Format)?;
    let is_sha256 = named.len() == 64 && named.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(match named {
        "ALL" => Scope::All,
        hashed if is_sha256 => Scope::Hashed(hashed.to_ascii_lowercase()),
        named => Scope::Session(named.to_owned()),
    })
}

/// The format of a subject, under either name that is in use, in the spelling of RFC 9493.
fn format(about: &Map<String, Value>) -> Option<String> {
    let named = about.get("format").or_else(|| about.get("subject_type"))?.as_str()?;
    Some(named.replace('-', "_"))
}

fn simple(about: &Map<String, Value>) -> Result<Subject, Unresolvable> {
    let text = |name: &str| about.get(name).and_then(Value::as_str);
    let format = match format(about) {
        Some(format) => format,
        None => inferred(about)?.to_owned(),
    };
    let subject = match format.as_str() {
        "email" => email(text("email"))?,
        "iss_sub" => issued(text("iss"), text("sub"))?,
        "account" => {
            let uri = text("uri").filter(|uri| uri.starts_with("acct:"));
            Subject::Account { uri: uri.ok_or(Unresolvable::Name)?.to_lowercase() }
        }
        "opaque" => Subject::Opaque { id: text("id").ok_or(Unresolvable::Name)?.to_owned() },
        // The claims of an identity token: its issuer's own name counts before an address.
        "id_token_claims" => match text("sub") {
            Some(sub) => issued(text("iss"), Some(sub))?,
            None => email(text("email"))?,
        },
        _ => return Err(Unresolvable::Format),
    };
    // The registry's own reading of a name, so that both mean the same person.
    let key = subject.key();
    match Subject::parse(&key) {
        Ok(read) if std::mem::discriminant(&read) == std::mem::discriminant(&subject) => Ok(read),
        Ok(_) | Err(_) => Err(Unresolvable::Name),
    }
}

fn email(address: Option<&str>) -> Result<Subject, Unresolvable> {
    let address = address.map(str::trim).filter(|address| {
        address.split_once('@').is_some_and(|(name, domain)| {
            !name.is_empty() && !domain.is_empty() && !domain.contains('@')
        })
    });
    Ok(Subject::Email { email: address.ok_or(Unresolvable::Name)?.to_lowercase() })
}

fn issued(iss: Option<&str>, sub: Option<&str>) -> Result<Subject, Unresolvable> {
    let (iss, sub) = iss.zip(sub).ok_or(Unresolvable::Name)?;
    if iss.is_empty() || sub.is_empty() || iss.contains('|') {
        return Err(Unresolvable::Name);
    }
    Ok(Subject::IssSub { iss: iss.to_owned(), sub: sub.to_owned() })
}

/// The format that the members tell, where none is named.
fn inferred(about: &Map<String, Value>) -> Result<&'static str, Unresolvable> {
    let has = |name: &str| about.contains_key(name);
    match (has("iss") && has("sub"), has("email"), has("uri"), has("id")) {
        (true, false, false, false) => Ok("iss_sub"),
        (false, true, false, false) => Ok("email"),
        (false, false, true, false) => Ok("account"),
        (false, false, false, true) => Ok("opaque"),
        _ => Err(Unresolvable::Format),
    }
}

/// `event_timestamp`, in seconds by the standard and in milliseconds by some.
fn time(event: &Value) -> Option<Timestamp> {
    let at = event.get("event_timestamp")?;
    let at = at.as_u64().or_else(|| at.as_str()?.parse().ok())?;
    Some(if at > MOST_SECS { Timestamp(at) } else { Timestamp::from_secs(at) })
}

fn reason(event: &Value) -> Option<String> {
    let words = ["reason_admin", "reason_user", "reason"].into_iter().find_map(|name| {
        let words = event.get(name)?;
        let translated = || words.as_object()?.values().find_map(Value::as_str);
        words.as_str().or_else(translated)
    })?;
    Some(words.chars().filter(|c| !c.is_control()).take(512).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn set(sub_id: Option<Value>, event_type: &str, event: Value) -> Set {
        let mut claims = json!({"iss": "i", "aud": "a", "jti": "j", "iat": 1,
            "events": { event_type: event }});
        if let Some(sub_id) = sub_id {
            claims["sub_id"] = sub_id;
        }
        serde_json::from_value(claims).unwrap()
    }

    fn revoked(sub_id: Option<Value>, event: Value) -> Result<Signal, Unresolvable> {
        normalise(&set(sub_id, &format!("{CAEP}session-revoked"), event))
    }

    fn ended(signal: Result<Signal, Unresolvable>) -> Ended {
        let Ok(Signal::End(ended)) = signal else { panic!("{signal:?}") };
        ended
    }

    #[test]
    fn reads_oktas_subject_in_the_event_without_formats_and_its_milliseconds() {
        let ended = ended(revoked(
            None,
            json!({
                "event_timestamp": 1_760_000_000_123_u64,
                "reason_admin": "session ended",
                "subject": {
                    "user": { "iss": "https://x.okta.example", "sub": "00u1" },
                    "device": { "iss": "https://x.okta.example", "sub": "guo1" },
                    "tenant": { "id": "00o1" },
                },
            }),
        ));
        assert_eq!(ended.user.key(), "https://x.okta.example|00u1");
        assert_eq!(ended.scope, Scope::All);
        assert_eq!(ended.at, Some(Timestamp(1_760_000_000_123)));
        assert_eq!(ended.reason.as_deref(), Some("session ended"));
    }

    #[test]
    fn reads_googles_subject_type_with_hyphens() {
        let subject = json!({"subject_type": "iss-sub", "iss": "https://g.example", "sub": "7"});
        let event = json!({ "subject": subject });
        let ended = ended(normalise(&set(None, &format!("{RISC}sessions-revoked"), event)));
        assert_eq!(ended.user.key(), "https://g.example|7");
        let claims = json!({"subject_type": "id_token_claims", "email": "A@x.example"});
        let signal = normalise(&set(Some(claims), &format!("{RISC}account-purged"), json!({})));
        assert_eq!(self::ended(signal).user.key(), "a@x.example");
    }

    #[test]
    fn reads_keycloaks_session_all_as_every_session_of_that_user() {
        let user = json!({"format": "iss_sub", "iss": "https://kc.example/r", "sub": "u"});
        let subject = |session: &str| {
            Some(json!({"format": "complex", "user": user,
                "session": {"format": "opaque", "id": session}}))
        };
        assert_eq!(ended(revoked(subject("ALL"), json!({}))).scope, Scope::All);
        let one = ended(revoked(subject("sid-1"), json!({}))).scope;
        assert_eq!(one, Scope::Session("sid-1".into()));
    }

    #[test]
    fn reads_authentiks_hashed_session_as_one_session() {
        let hashed = "AB".repeat(32);
        let subject = json!({"format": "complex",
            "user": {"format": "email", "email": "a@x.example"},
            "session": {"format": "opaque", "id": hashed}});
        let scope = ended(revoked(None, json!({ "subject": subject }))).scope;
        assert_eq!(scope, Scope::Hashed("ab".repeat(32)));
    }

    #[test]
    fn never_takes_a_subject_that_names_nobody_for_everyone() {
        let all = json!({"format": "opaque", "id": "ALL"});
        for (subject, why) in [
            (None, Unresolvable::Missing),
            (Some(json!({})), Unresolvable::Format),
            (Some(json!("everyone")), Unresolvable::Missing),
            (Some(json!({"format": "complex"})), Unresolvable::NoUser),
            (Some(json!({"format": "complex", "session": all})), Unresolvable::NoUser),
            (Some(json!({"tenant": {"id": "t"}})), Unresolvable::NoUser),
            (Some(json!({"format": "email", "email": "nobody"})), Unresolvable::Name),
            (Some(json!({"format": "email", "email": ""})), Unresolvable::Name),
            (Some(json!({"format": "opaque", "id": "a@x.example"})), Unresolvable::Name),
            (Some(json!({"format": "everyone"})), Unresolvable::Format),
            (Some(json!({"email": "a@x.example", "id": "x"})), Unresolvable::Format),
        ] {
            assert_eq!(revoked(subject.clone(), json!({})).unwrap_err(), why, "{subject:?}");
        }
        let two = json!({"format": "aliases", "identifiers": [
            {"format": "email", "email": "a@x.example"},
            {"format": "email", "email": "b@x.example"}]});
        assert_eq!(subject(&two), Err(Unresolvable::Several));
        let person = ended(revoked(Some(two.clone()), json!({})));
        let names: Vec<_> = person.aliases.iter().map(Subject::key).collect();
        assert_eq!((person.user.key(), names.len()), ("a@x.example".to_owned(), 1));
        let many: Vec<_> =
            (0..17).map(|n| json!({"format": "opaque", "id": format!("n{n}")})).collect();
        let many = json!({"format": "aliases", "identifiers": many});
        assert_eq!(revoked(Some(many), json!({})), Err(Unresolvable::TooMany));
    }

    #[test]
    fn maps_each_event_to_what_it_means() {
        let about = || Some(json!({"format": "email", "email": "a@x.example"}));
        let means = |event_type: &str, event: Value| normalise(&set(about(), event_type, event));
        let ends = |event_type: &str, event| matches!(means(event_type, event), Ok(Signal::End(_)));
        for name in ["account-disabled", "account-purged", "credential-compromise"] {
            assert!(ends(&format!("{RISC}{name}"), json!({})), "{name}");
        }
        let change = format!("{CAEP}credential-change");
        for (kind, over) in [("revoke", true), ("delete", true), ("create", false)] {
            assert_eq!(ends(&change, json!({ "change_type": kind })), over, "{kind}");
        }
        let compliance = format!("{CAEP}device-compliance-change");
        for (status, over) in
            [("not-compliant", true), ("NOT_COMPLIANT", true), ("compliant", false)]
        {
            assert_eq!(ends(&compliance, json!({ "current_status": status })), over, "{status}");
        }
        let risk = format!("{CAEP}risk-level-change");
        for (level, over) in [("HIGH", true), ("MEDIUM", false), ("LOW", false)] {
            let event = json!({ "principal": "USER", "current_level": level });
            assert_eq!(ends(&risk, event), over, "{level}");
        }
        assert!(ends(&format!("{RISC}account-credential-change-required"), json!({})));
        assert!(!ends(&format!("{RISC}account-enabled"), json!({})));
        assert!(!ends("urn:unknown", json!({})));
        for prefix in FRAMEWORK {
            let state = Some("s".to_owned());
            let signal = means(&format!("{prefix}verification"), json!({"state": "s"}));
            assert_eq!(signal, Ok(Signal::Verification { state }));
        }
    }

    #[test]
    fn a_risk_of_one_session_ends_that_one_and_a_risk_of_a_person_ends_all() {
        let subject = json!({"user": {"email": "a@x.example"}, "session": {"id": "s"}});
        let scope = |principal: &str| {
            let event = json!({ "principal": principal, "current_level": "HIGH" });
            let event_type = format!("{CAEP}risk-level-change");
            ended(normalise(&set(Some(subject.clone()), &event_type, event))).scope
        };
        assert_eq!(scope("SESSION"), Scope::Session("s".into()));
        assert_eq!(scope("USER"), Scope::All);
    }

    #[test]
    fn an_account_event_ends_every_session_even_if_it_names_one() {
        let subject = json!({"user": {"email": "a@x.example"}, "session": {"id": "s"}});
        let set = set(Some(subject), &format!("{RISC}account-disabled"), json!({}));
        assert_eq!(ended(normalise(&set)).scope, Scope::All);
    }

    proptest! {
        #[test]
        fn a_user_that_is_resolved_is_one_that_was_named(
            format in "[a-z_]{0,12}", name in "[ -~]{0,24}", member in "email|id|uri|sub|iss",
        ) {
            let about = json!({ "format": format, member: name });
            if let Ok(Signal::End(ended)) = revoked(Some(about), json!({})) {
                prop_assert!(ended.user.key().eq_ignore_ascii_case(name.trim()));
            }
        }
    }
}
