//! Standard output: one line of JSON, or words.
//!
//! It refuses to panic when nobody reads on, as under `head`.

use std::io::{ErrorKind, Write as _};

use exeunt_domain::Timestamp;
use serde_json::{Value, json};

use crate::fault::Fault;

/// How a command answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    /// JSON instead of words.
    pub(crate) json: bool,
}

impl Out {
    /// One object with `"v":1` in JSON mode, else words.
    pub(crate) fn answer(self, object: Value, words: impl FnOnce() -> String) -> Result<(), Fault> {
        if self.json { line(&versioned(object).to_string()) } else { line(&words()) }
    }

    /// Words on standard error while something goes on; nothing in JSON mode.
    pub(crate) fn progress(self, words: &str) {
        if !self.json {
            eprintln!("{words}");
        }
    }
}

/// `object` with `"v":1`.
pub(crate) fn versioned(object: Value) -> Value {
    let mut versioned = json!({ "v": 1 });
    if let (Value::Object(all), Value::Object(members)) = (&mut versioned, object) {
        all.extend(members);
        all.insert("v".to_owned(), 1.into());
    }
    versioned
}

/// Writes a line to standard output.
pub(crate) fn line(text: &str) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Fault::from),
    }
}

/// How long ago, roughly.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let secs = now.since_ms(then) / 1000;
    match secs {
        0..60 => format!("{secs} s ago"),
        60..3600 => format!("{} min ago", secs / 60),
        3600..172_800 => format!("{} h ago", secs / 3600),
        _ => format!("{} days ago", secs / 86_400),
    }
}

/// `2026-11-30T21:15:00Z`, to the second.
pub(crate) fn utc(at: Timestamp) -> String {
    let at = i64::try_from(at.as_secs()).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    at.map_or_else(|| "?".to_owned(), |at| at.to_string())
}

/// By the wall clock.
pub(crate) fn now() -> Timestamp {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `1 store`, `2 stores`.
pub(crate) fn count(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_roughly_how_long_ago() {
        let now = Timestamp::from_secs(1_000_000);
        for (secs, words) in
            [(5, "5 s ago"), (61, "1 min ago"), (7200, "2 h ago"), (259_200, "3 days ago")]
        {
            assert_eq!(ago(Timestamp::from_secs(1_000_000 - secs), now), words);
        }
        assert_eq!(ago(Timestamp::from_secs(2_000_000), now), "0 s ago");
    }

    #[test]
    fn every_object_carries_its_version() {
        let line = versioned(json!({ "a": 1, "v": 7 }));
        assert_eq!(line, json!({ "v": 1, "a": 1 }));
    }
}
