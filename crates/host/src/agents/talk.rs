//! What each kind of agent is told and asked, over a connected socket.
//!
//! It refuses an answer that is longer than any honest one, and to ask for a secret.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use exeunt_engine::ports::AgentError;

/// Longest message of an ssh agent, in bytes (OpenSSH's own limit).
const SSH_MESSAGE: u32 = 256 * 1024;
/// Longest line and most lines of an Assuan answer.
const ASSUAN_LINE: u64 = 1002;
const ASSUAN_LINES: usize = 100_000;
/// Longest packet of a multiplexing master, in bytes.
const MUX_PACKET: u32 = 256 * 1024;

/// The SSH agent protocol (draft-ietf-sshm-ssh-agent).
pub(super) mod ssh {
    use super::{AgentError, SSH_MESSAGE, UnixStream, out_of_protocol, packet, send};

    const FAILURE: u8 = 5;
    const SUCCESS: u8 = 6;
    const REQUEST_IDENTITIES: u8 = 11;
    const IDENTITIES_ANSWER: u8 = 12;
    const REMOVE_ALL_IDENTITIES: u8 = 19;

    /// How many keys it offers. A locked agent offers none.
    pub(in super::super) fn count(stream: &mut UnixStream) -> Result<u64, AgentError> {
        let answer = ask(stream, REQUEST_IDENTITIES)?;
        match answer.split_first() {
            Some((&IDENTITIES_ANSWER, rest)) => {
                let count = rest.first_chunk::<4>().ok_or_else(out_of_protocol("no count"))?;
                Ok(u64::from(u32::from_be_bytes(*count)))
            }
            Some((&FAILURE, _)) => Err(AgentError::Refused("it does not list its keys".into())),
            _ => Err(AgentError::Protocol("no list of keys")),
        }
    }

    /// Removes every key.
    pub(in super::super) fn flush(stream: &mut UnixStream) -> Result<(), AgentError> {
        match ask(stream, REMOVE_ALL_IDENTITIES)?.first() {
            Some(&SUCCESS) => Ok(()),
            Some(&FAILURE) => Err(AgentError::Refused("it is locked, or keeps its keys".into())),
            _ => Err(AgentError::Protocol("neither success nor failure")),
        }
    }

    fn ask(stream: &mut UnixStream, request: u8) -> Result<Vec<u8>, AgentError> {
        send(stream, &[0, 0, 0, 1, request])?;
        packet(stream, SSH_MESSAGE)
    }
}

/// `gpg-agent` over Assuan.
pub(super) mod gpg {
    use super::{
        ASSUAN_LINE, ASSUAN_LINES, AgentError, BufRead, BufReader, Read, UnixStream, os, send,
    };

    /// Of how many keys the passphrase is cached.
    pub(in super::super) fn count(stream: &mut UnixStream) -> Result<u64, AgentError> {
        let lines = ask(stream, "KEYINFO --list\n")?;
        let cached = lines.iter().filter(|line| {
            let fields = line.strip_prefix("S KEYINFO ");
            fields.and_then(|fields| fields.split(' ').nth(4)) == Some("1")
        });
        Ok(cached.count() as u64)
    }

    /// Forgets every cached passphrase: what SIGHUP does.
    pub(in super::super) fn flush(stream: &mut UnixStream) -> Result<(), AgentError> {
        ask(stream, "RELOADAGENT\n").map(drop)
    }

    /// The lines of the answer but the last, `OK`.
    fn ask(stream: &mut UnixStream, command: &str) -> Result<Vec<String>, AgentError> {
        let mut reader = BufReader::new(stream.try_clone().map_err(os("dup"))?);
        answer(&mut reader)?;
        send(stream, command.as_bytes())?;
        answer(&mut reader)
    }

    fn answer(reader: &mut impl BufRead) -> Result<Vec<String>, AgentError> {
        let mut lines = Vec::new();
        while lines.len() < ASSUAN_LINES {
            let mut line = Vec::new();
            reader.by_ref().take(ASSUAN_LINE).read_until(b'\n', &mut line).map_err(os("read"))?;
            let whole = line.strip_suffix(b"\n").ok_or(AgentError::Protocol("a broken line"))?;
            let line = String::from_utf8_lossy(whole).into_owned();
            match line.split(' ').next() {
                Some("OK") => return Ok(lines),
                // No key at all is an empty list (GPG_ERR_NOT_FOUND, gpg-error 27).
                Some("ERR") if error_code(&line) == Some(27) => return Ok(Vec::new()),
                Some("ERR") => return Err(AgentError::Refused(line)),
                _ => lines.push(line),
            }
        }
        Err(AgentError::Protocol("an answer without an end"))
    }

    /// The code without its source, as libgpg-error packs them.
    fn error_code(line: &str) -> Option<u32> {
        line.split(' ').nth(1)?.parse::<u32>().ok().map(|error| error & 0xffff)
    }
}

/// An OpenSSH multiplexing master (openssh-portable, `PROTOCOL.mux`).
pub(super) mod mux {
    use super::{AgentError, MUX_PACKET, UnixStream, out_of_protocol, packet, send};

    const HELLO: u32 = 1;
    const VERSION: u32 = 4;
    const ALIVE_CHECK: u32 = 0x1000_0004;
    const TERMINATE: u32 = 0x1000_0005;
    const OK: u32 = 0x8000_0001;
    const DENIED: u32 = 0x8000_0002;
    const ALIVE: u32 = 0x8000_0005;

    /// The master's pid.
    pub(in super::super) fn pid(stream: &mut UnixStream) -> Result<u32, AgentError> {
        match ask(stream, ALIVE_CHECK)?.as_slice() {
            [ALIVE, _, pid, ..] => Ok(*pid),
            _ => Err(AgentError::Protocol("no sign of life")),
        }
    }

    /// Ends the connection.
    pub(in super::super) fn terminate(stream: &mut UnixStream) -> Result<(), AgentError> {
        match ask(stream, TERMINATE)?.as_slice() {
            [OK, ..] => Ok(()),
            [DENIED, ..] => Err(AgentError::Refused("the connection was told to ask first".into())),
            _ => Err(AgentError::Protocol("neither yes nor no")),
        }
    }

    fn ask(stream: &mut UnixStream, request: u32) -> Result<Vec<u32>, AgentError> {
        let hello = [8, HELLO, VERSION, 8, request, 0];
        send(stream, &hello.map(u32::to_be_bytes).concat())?;
        if words(&packet(stream, MUX_PACKET)?).first() != Some(&HELLO) {
            return Err(out_of_protocol("no greeting")());
        }
        Ok(words(&packet(stream, MUX_PACKET)?))
    }

    fn words(packet: &[u8]) -> Vec<u32> {
        packet.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word)).collect()
    }
}

/// `git credential-cache--daemon`.
pub(super) mod git {
    use super::{AgentError, Read, UnixStream, os, send};

    /// Ends the daemon; it closes the connection when it has stopped listening.
    pub(in super::super) fn exit(stream: &mut UnixStream) -> Result<(), AgentError> {
        send(stream, b"action=exit\ntimeout=1\n\n")?;
        stream.shutdown(std::net::Shutdown::Write).map_err(os("shutdown"))?;
        let mut said = Vec::new();
        stream.take(1024).read_to_end(&mut said).map_err(os("read"))?;
        if said.is_empty() { Ok(()) } else { Err(AgentError::Protocol("words at its end")) }
    }
}

/// One packet: a length of four bytes, and as many bytes.
fn packet(stream: &mut UnixStream, limit: u32) -> Result<Vec<u8>, AgentError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(os("read"))?;
    let length = u32::from_be_bytes(length);
    if length > limit {
        return Err(AgentError::Protocol("too long an answer"));
    }
    let mut bytes = Vec::new();
    let mut some = stream.take(u64::from(length));
    some.read_to_end(&mut bytes).map_err(os("read"))?;
    if bytes.len() as u64 == u64::from(length) {
        Ok(bytes)
    } else {
        Err(AgentError::Protocol("a cut answer"))
    }
}

fn send(stream: &mut UnixStream, bytes: &[u8]) -> Result<(), AgentError> {
    stream.write_all(bytes).map_err(os("write"))
}

pub(super) fn os(op: &'static str) -> impl Fn(io::Error) -> AgentError {
    move |source| AgentError::Os { op, source }
}

fn out_of_protocol(what: &'static str) -> impl Fn() -> AgentError {
    move || AgentError::Protocol(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `ask` makes of a peer that says `words` and nothing more.
    fn told<T>(
        words: &[u8],
        ask: impl Fn(&mut UnixStream) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(words).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        ask(&mut ours)
    }

    #[test]
    fn takes_no_cut_overlong_or_foreign_answer_for_an_empty_agent() {
        for words in [
            b"".as_slice(),
            b"\0\0\0\x05\x0c\0\0",
            b"\xff\xff\xff\xff\x0c",
            b"\0\0\0\x01\x0c",
            b"\0\0\0\x01\x05",
            b"SSH-2.0-OpenSSH\r\n",
        ] {
            assert!(told(words, ssh::count).is_err(), "{words:?}");
            assert!(told(words, ssh::flush).is_err(), "{words:?}");
            assert!(told(words, mux::pid).is_err(), "{words:?}");
            assert!(told(words, gpg::count).is_err(), "{words:?}");
        }
        assert_eq!(told(b"\0\0\0\x05\x0c\0\0\0\x02", ssh::count).unwrap(), 2);
    }

    #[test]
    fn counts_cached_passphrases_and_takes_no_key_at_all_for_none() {
        let keys = "OK hello\nS KEYINFO A D - - 1 P - - -\nS KEYINFO B D - - - P - - -\nOK\n";
        assert_eq!(told(keys.as_bytes(), gpg::count).unwrap(), 1);
        assert_eq!(told(b"OK hello\nERR 67108891 Not found <GPG Agent>\n", gpg::count).unwrap(), 0);
        assert!(told(b"OK hello\nERR 67109139 Unknown command\n", gpg::count).is_err());
    }

    #[test]
    fn reads_a_masters_pid_after_its_greeting() {
        let words = [8, 1, 4, 12, 0x8000_0005, 0, 4711].map(u32::to_be_bytes).concat();
        assert_eq!(told(&words, mux::pid).unwrap(), 4711);
        let denied = [8, 1, 4, 8, 0x8000_0002, 0].map(u32::to_be_bytes).concat();
        assert!(matches!(told(&denied, mux::terminate), Err(AgentError::Refused(_))));
    }
}
