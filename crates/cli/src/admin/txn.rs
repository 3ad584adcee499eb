//! `exeunt admin txn`: one sign-out, target by target.
//!
//! It refuses to stop before the last target is final, unless the hub ends the stream for good.

use exeunt_api::{Residual, TxnState, path};
use exeunt_domain::{Outcome, Txn};

use super::credentials::load;
use super::hub::{Hub, broke_off};
use crate::args::admin::TxnCommand;
use crate::fault::Fault;
use crate::out::{Out, count, line, utc, versioned};

/// Longest event read, in bytes.
const MAX_EVENT_BYTES: usize = 8 << 20;
/// How often a stream that broke off is opened again without a change in between.
const REOPENINGS: u32 = 5;

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: TxnCommand) -> Result<u8, Fault> {
    let hub = load()?;
    let (state, id, following): (TxnState, Txn, bool) = match command {
        TxnCommand::Show { id, follow: true } => {
            return follow(out, &hub, &id).await.map(Outcome::exit_code);
        }
        TxnCommand::Show { id, follow: false } => (hub.get(&path::txn(&id), &[]).await?, id, false),
        TxnCommand::Retry { id, follow } => {
            (hub.post_nothing(&path::txn_retry(&id)).await?, id, follow)
        }
    };
    if following {
        return follow(out, &hub, &id).await.map(Outcome::exit_code);
    }
    out.answer(serde_json::to_value(&state)?, || words(&state))?;
    Ok(0)
}

/// Prints every change until the last target is final; returns the worst part.
pub(crate) async fn follow(out: Out, hub: &Hub, txn: &Txn) -> Result<Outcome, Fault> {
    let mut last: Option<TxnState> = None;
    let mut reopened = 0;
    loop {
        let before = last.clone();
        let ended = read_stream(out, hub, txn, &mut last).await;
        if let Some(state) = last.as_ref().filter(|state| state.is_final()) {
            return Ok(state.outcome);
        }
        reopened = if last == before { reopened + 1 } else { 0 };
        if reopened > REOPENINGS {
            ended?;
            return Err(Fault::unreachable("hub_unreachable", "the hub ends the stream too early"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(200 << reopened)).await;
    }
}

async fn read_stream(
    out: Out,
    hub: &Hub,
    txn: &Txn,
    last: &mut Option<TxnState>,
) -> Result<(), Fault> {
    let mut stream = hub.stream(&path::txn_events(txn)).await?;
    let mut events = Events::default();
    while let Some(chunk) = stream.chunk().await.map_err(|error| broke_off(&error))? {
        events.feed(&chunk)?;
        while let Some(data) = events.next() {
            let state: TxnState = serde_json::from_str(&data)?;
            if last.as_ref() == Some(&state) {
                continue;
            }
            if out.json {
                line(&versioned(serde_json::to_value(&state)?).to_string())?;
            } else {
                line(&changes(last.as_ref(), &state))?;
            }
            let is_final = state.is_final();
            *last = Some(state);
            if is_final {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Splits a stream of server-sent events (HTML Standard §9.2) into their data.
#[derive(Default)]
struct Events {
    unread: Vec<u8>,
}

impl Events {
    fn feed(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        if self.unread.len() + chunk.len() > MAX_EVENT_BYTES {
            return Err(Fault::new("hub_answer", "the hub sends an event without end"));
        }
        self.unread.extend(chunk.iter().filter(|byte| **byte != b'\r'));
        Ok(())
    }

    /// The data of the next whole event that has any.
    fn next(&mut self) -> Option<String> {
        loop {
            let end = self.unread.windows(2).position(|pair| pair == b"\n\n")?;
            let event: Vec<u8> = self.unread.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&event);
            let data: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect();
            if !data.is_empty() {
                return Some(data.join("\n"));
            }
        }
    }
}

fn words(state: &TxnState) -> String {
    let playbook = state.playbook.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let changes = changes(None, state);
    format!("Transaction {}{playbook}: {}.\n{changes}", state.txn, state.outcome)
}

/// One line for each target that is not as it was.
fn changes(before: Option<&TxnState>, state: &TxnState) -> String {
    let is_new =
        |target: &&exeunt_api::Target| before.is_none_or(|before| !before.targets.contains(target));
    let lines = state.targets.iter().filter(is_new).map(|target| {
        let detail = target.detail.as_deref().map(|d| format!("  {d}")).unwrap_or_default();
        format!("  {:<11} {:<8} {}{detail}", target.outcome, target.kind, target.id)
    });
    let mut lines: Vec<String> = lines.collect();
    if state.is_final() {
        lines.push(format!("{} in the worst part.", state.outcome));
        lines.extend(spread(state));
    }
    let was_said = before.is_some_and(|before| before.residual == state.residual);
    if !state.residual.is_empty() && !was_said {
        lines.push("What stays usable all the same:".to_owned());
        lines.extend(state.residual.iter().map(residual));
    }
    lines.join("\n")
}

/// How far the rejections lie apart, and how many are not in that.
fn spread(state: &TxnState) -> Option<String> {
    let spread = state.spread_ms?;
    let unseen = state.targets.iter().filter(|target| target.outcome != Outcome::Verified).count();
    let unseen = match unseen {
        0 => String::new(),
        unseen => format!(", not counting {} that nobody saw", count(unseen, "target")),
    };
    Some(format!("Rejected within {spread} ms, from the hub to the last{unseen}."))
}

/// What stays, where, and until when.
fn residual(one: &Residual) -> String {
    let until = match (one.until.as_str(), one.lapses) {
        ("", None) => "nobody knows until when".to_owned(),
        ("", Some(at)) => format!("until {}", utc(at)),
        (until, None) => until.to_owned(),
        (until, Some(at)) => format!("{until}; over by {}", utc(at)),
    };
    format!("  {}: {} ({until})", one.place, one.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_events_across_chunks_and_skips_comments() {
        let mut events = Events::default();
        events.feed(b": hello\n\ndata: {\"a\"").unwrap();
        assert_eq!(events.next(), None);
        events.feed(b":1}\r\n\r\nevent: x\ndata: b\ndata: c\n\n").unwrap();
        assert_eq!(events.next().as_deref(), Some("{\"a\":1}"));
        assert_eq!(events.next().as_deref(), Some("b\nc"));
        assert_eq!(events.next(), None);
    }

    #[test]
    fn refuses_an_event_without_end() {
        let mut events = Events::default();
        assert!(events.feed(&vec![b'x'; MAX_EVENT_BYTES + 1]).is_err());
    }
}
