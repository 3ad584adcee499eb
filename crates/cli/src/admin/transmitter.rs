//! `exeunt admin transmitter`.
//!
//! It refuses to send a secret to any but the hub.

use std::io::Read as _;
use std::path::Path;

use exeunt_api::{
    LinkState, PollSettings, Scope, TransmitterInfo, TransmitterList, TransmitterRequest, path,
};
use serde_json::json;

use super::credentials::load;
use crate::args::transmitter::{Add, Transmitter};
use crate::fault::Fault;
use crate::out::{Out, ago, now};

/// Longest secret or key file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: Transmitter) -> Result<u8, Fault> {
    match command {
        Transmitter::Add(typed) => {
            let request = request(*typed)?;
            let made: TransmitterInfo = load()?.post(path::TRANSMITTERS, &request).await?;
            out.answer(serde_json::to_value(&made)?, || added(&made))?;
        }
        Transmitter::List => {
            let list: TransmitterList = load()?.get(path::TRANSMITTERS, &[]).await?;
            out.answer(serde_json::to_value(&list)?, || words(&list))?;
        }
        Transmitter::Remove { id } => {
            load()?.delete(path::TRANSMITTERS, &id).await?;
            out.answer(json!({ "removed": id }), || format!("Nothing of {id} is taken any more."))?;
        }
    }
    Ok(0)
}

fn request(typed: Add) -> Result<TransmitterRequest, Fault> {
    if typed.about_domain.is_empty() && typed.about_issuer.is_empty() {
        return Err(Fault::usage("whom it may speak about is missing")
            .hint("give --about-domain or --about-issuer"));
    }
    let jwks =
        match &typed.jwks {
            None => None,
            Some(file) => Some(serde_json::from_str(&read(file)?).map_err(|error| {
                Fault::usage(format!("{} is no JWK Set: {error}", file.display()))
            })?),
        };
    let poll = match typed.poll {
        None => None,
        Some(url) => Some(PollSettings {
            url,
            client_id: typed.client_id,
            client_secret: typed.client_secret_file.as_deref().map(read).transpose()?,
            token_endpoint: typed.token_url,
            scope: typed.scope,
            access_token: typed.access_token_file.as_deref().map(read).transpose()?,
        }),
    };
    Ok(TransmitterRequest {
        issuer: typed.issuer,
        jwks,
        jwks_uri: typed.jwks_uri,
        aud: typed.aud,
        may_speak_about: Scope { issuers: typed.about_issuer, domains: typed.about_domain },
        tier_ceiling: Some(typed.ceiling),
        rate_per_hour: typed.rate,
        clients: typed.client,
        poll,
        with_token: typed.with_token,
    })
}

/// A file's text without its last line break; `-` is standard input.
fn read(file: &Path) -> Result<String, Fault> {
    let mut text = String::new();
    let said = if file == Path::new("-") {
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(LONGEST).read_to_string(&mut text))
    };
    said.map_err(|error| Fault::usage(format!("{}: {error}", file.display())))?;
    let text = text.trim().to_owned();
    if text.is_empty() {
        return Err(Fault::usage(format!("{} is empty", file.display())));
    }
    Ok(text)
}

fn added(made: &TransmitterInfo) -> String {
    let (id, issuer) = (&made.id, &made.issuer);
    if made.link.is_some() {
        return format!(
            "{issuer} is polled, as {id}. `exeunt admin transmitter list` says whether it answers."
        );
    }
    let header = match &made.authorization_header {
        Some(header) => format!("\nwith this header, which is not shown again:\n{header}"),
        None => String::new(),
    };
    format!("{issuer} is registered, as {id}. It pushes to\n{}{header}", made.endpoint_url)
}

fn words(list: &TransmitterList) -> String {
    if list.transmitters.is_empty() {
        return "Nobody sends events: `exeunt admin transmitter add --help` shows how.".into();
    }
    let lines = list.transmitters.iter().map(|one| {
        let about = [&one.may_speak_about.domains, &one.may_speak_about.issuers];
        let about: Vec<_> = about.into_iter().flatten().map(String::as_str).collect();
        let (ceiling, rate) = (one.tier_ceiling.as_str(), one.rate_per_hour);
        format!(
            "{}  {}\n  {}\n  about {}; at most {ceiling}, {rate} times an hour",
            one.id,
            one.issuer,
            standing(one),
            about.join(", ")
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// How its events come now: what is wrong comes first.
fn standing(one: &TransmitterInfo) -> String {
    let stream = &one.stream;
    let mut said = Vec::new();
    if stream.status != "enabled" {
        let reason = stream.reason.as_deref().unwrap_or("no reason given");
        said.push(format!("ALARM: the transmitter {} the stream ({reason})", stream.status));
    }
    if let Some(link) = &one.link {
        let since = ago(link.since, now());
        said.push(match (link.state, &link.error) {
            (LinkState::Up, _) => format!("polled, up since {since}"),
            (LinkState::Connecting, _) => "polled, no answer yet".to_owned(),
            (LinkState::Down, error) => {
                let error = error.as_deref().unwrap_or("no answer");
                format!("ALARM: polled, down since {since}: {error}")
            }
        });
    } else {
        said.push("pushes".to_owned());
    }
    if let Some(since) = stream.awaiting_since {
        said.push(format!(
            "a verification event was asked for {}, and has not come",
            ago(since, now())
        ));
    } else if let Some(at) = stream.verified_at {
        said.push(format!("verified {}", ago(at, now())));
    }
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use exeunt_api::{DeliveryMethod, LinkInfo, StreamInfo};
    use exeunt_domain::{Tier, Timestamp};

    use super::*;

    fn one() -> TransmitterInfo {
        TransmitterInfo {
            v: 1,
            id: "t1".into(),
            issuer: "https://idp.example".into(),
            aud: "hub".into(),
            clients: Vec::new(),
            jwks_uri: None,
            may_speak_about: Scope { issuers: Vec::new(), domains: vec!["corp.example".into()] },
            tier_ceiling: Tier::SignOut,
            rate_per_hour: 60,
            delivery: DeliveryMethod::Push,
            stream: StreamInfo {
                status: "enabled".into(),
                reason: None,
                at: None,
                awaiting_since: None,
                verified_at: None,
            },
            link: None,
            endpoint_url: "https://hub.example/ssf/receive/t1".into(),
            authorization_header: None,
        }
    }

    #[test]
    fn a_paused_stream_and_a_silent_transmitter_are_called_alarms() {
        assert_eq!(standing(&one()), "pushes");
        let mut paused = one();
        paused.stream.status = "paused".into();
        assert!(standing(&paused).starts_with("ALARM: the transmitter paused the stream"));
        let mut silent = one();
        let error = Some("no answer".to_owned());
        silent.link = Some(LinkInfo { state: LinkState::Down, since: Timestamp(1), error });
        assert!(standing(&silent).starts_with("ALARM: polled, down since"));
    }
}
