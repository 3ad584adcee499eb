//! From TOML to a policy.
//!
//! It refuses silently ignored keys: every table denies what it does not know.

use std::collections::BTreeMap;
use std::time::Duration;

use exeunt_domain::{Subject, Tier};
use serde::Deserialize;
use toml::Spanned;

use crate::error::{Location, PolicyError};
use crate::events::EVENTS;
use crate::{Lease, LockFallback, Pattern, Policy, Rule, Seen, Subjects, Trigger};

/// Longest policy that is read, in bytes.
const LONGEST: usize = 64 << 10;
/// Shortest lease: a few lost polls must not close a device.
const SHORTEST_LEASE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct RawPolicy {
    subjects: RawSubjects,
    trigger: Vec<RawTrigger>,
    events: BTreeMap<Spanned<String>, Spanned<String>>,
    lock: RawLock,
    lease: RawLease,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSubjects {
    template: Option<Spanned<String>>,
    fixed: Option<Spanned<String>>,
    accounts: BTreeMap<String, Spanned<String>>,
    attest: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrigger {
    on: RawSeen,
    after: Spanned<String>,
    tier: Spanned<Tier>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawSeen {
    Idle,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLock {
    fallback: Option<RawFallback>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawFallback {
    Report,
    EndSession,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLease {
    lasts: Option<Spanned<String>>,
    tier: Option<Tier>,
}

/// See [`Policy::parse`].
pub(crate) fn read(file: &str, text: &str) -> Result<Policy, PolicyError> {
    if text.len() > LONGEST {
        return Err(PolicyError::TooLong(file.to_owned()));
    }
    let raw: RawPolicy = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let at = Location::of(file, text, offset);
        PolicyError::Shape { at, mistake: error.message().trim().to_owned() }
    })?;
    let source = Source { file, text };
    Ok(Policy {
        subjects: subjects(&source, raw.subjects)?,
        triggers: raw
            .trigger
            .into_iter()
            .map(|one| trigger(&source, one))
            .collect::<Result<_, _>>()?,
        events: events(&source, raw.events)?,
        lock_fallback: raw.lock.fallback.map(|fallback| match fallback {
            RawFallback::Report => LockFallback::Report,
            RawFallback::EndSession => LockFallback::EndSession,
        }),
        lease: lease(&source, raw.lease)?,
    })
}

struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn wrong<T>(&self, at: &Spanned<T>, found: &str, mistake: &'static str) -> PolicyError {
        let at = Location::of(self.file, self.text, at.span().start);
        PolicyError::Value { at, found: found.to_owned(), mistake }
    }

    fn subject(&self, text: &Spanned<String>) -> Result<Subject, PolicyError> {
        Subject::parse(text.get_ref()).map_err(|_| {
            self.wrong(text, text.get_ref(), "names nobody; write a name or an address")
        })
    }

    fn length(&self, text: &Spanned<String>) -> Result<Duration, PolicyError> {
        length(text.get_ref()).ok_or_else(|| {
            self.wrong(text, text.get_ref(), "is no length of time; write 90s, 15m, 8h or 7d")
        })
    }
}

fn subjects(source: &Source<'_>, raw: RawSubjects) -> Result<Subjects, PolicyError> {
    let rule = match (&raw.template, &raw.fixed) {
        (Some(_), Some(fixed)) => {
            let say = "stands beside a template; keep one of the two";
            return Err(source.wrong(fixed, fixed.get_ref(), say));
        }
        (None, Some(fixed)) => Rule::Fixed(source.subject(fixed)?),
        (Some(template), None) => {
            let text = template.get_ref();
            if !text.contains("{user}") {
                let say = "names one person for every account; write {user} in it, or use fixed";
                return Err(source.wrong(template, text, say));
            }
            if Subject::parse(&text.replace("{user}", "u")).is_err() {
                return Err(source.wrong(template, text, "makes no name"));
            }
            Rule::Template(text.clone())
        }
        (None, None) => Subjects::default().rule,
    };
    let mut accounts = BTreeMap::new();
    for (account, subject) in raw.accounts {
        accounts.insert(account, source.subject(&subject)?);
    }
    let attest = match raw.attest {
        None => Subjects::default().attest,
        Some(patterns) => patterns
            .iter()
            .map(|text| {
                Pattern::parse(text.get_ref()).ok_or_else(|| {
                    let say = "is no pattern; write a name, with at most one * in it";
                    source.wrong(text, text.get_ref(), say)
                })
            })
            .collect::<Result<_, _>>()?,
    };
    Ok(Subjects { accounts, rule, attest })
}

fn trigger(source: &Source<'_>, raw: RawTrigger) -> Result<Trigger, PolicyError> {
    let tier = *raw.tier.get_ref();
    if tier == Tier::Purge {
        let say = "is too much for a trigger; write lock or sign-out";
        return Err(source.wrong(&raw.tier, tier.as_str(), say));
    }
    let after = source.length(&raw.after)?;
    let on = match raw.on {
        RawSeen::Idle => Seen::Idle,
    };
    Ok(Trigger { on, after, tier })
}

fn events(
    source: &Source<'_>,
    raw: BTreeMap<Spanned<String>, Spanned<String>>,
) -> Result<BTreeMap<String, Option<Tier>>, PolicyError> {
    let mut events = BTreeMap::new();
    for (name, tier) in raw {
        if !EVENTS.iter().any(|event| event.name == name.get_ref()) {
            let say = "is no event that ends sessions; write one of session-revoked, \
                       credential-change, device-compliance-change, risk-level-change, \
                       account-disabled, account-purged, account-credential-change-required, \
                       credential-compromise, sessions-revoked";
            return Err(source.wrong(&name, name.get_ref(), say));
        }
        let meant = match tier.get_ref().as_str() {
            "nothing" => None,
            "lock" => Some(Tier::Lock),
            "sign-out" => Some(Tier::SignOut),
            other => {
                let say = "is nothing that an event may end; write nothing, lock or sign-out";
                return Err(source.wrong(&tier, other, say));
            }
        };
        events.insert(name.into_inner(), meant);
    }
    Ok(events)
}

fn lease(source: &Source<'_>, raw: RawLease) -> Result<Lease, PolicyError> {
    let usual = Lease::default();
    let lasts = match &raw.lasts {
        None => usual.lasts,
        Some(text) if text.get_ref() == "forever" => None,
        Some(text) => {
            let lasts = source.length(text)?;
            if lasts < SHORTEST_LEASE {
                let say = "is too short for a lease; write at least 60s, or forever";
                return Err(source.wrong(text, text.get_ref(), say));
            }
            Some(lasts)
        }
    };
    Ok(Lease { lasts, tier: raw.tier.unwrap_or(usual.tier) })
}

/// A whole number and a unit: seconds, minutes, hours or days, at most ten years.
fn length(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.chars().last()?;
    let each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let secs = digits.parse::<u64>().ok()?.checked_mul(each)?;
    (1..=10 * 366 * 86_400).contains(&secs).then(|| Duration::from_secs(secs))
}
