//! A connection to the session's X server.
//!
//! It refuses the network and the abstract namespace: only the server's socket in the file system,
//! with the cookie that the account itself may read.

use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::OFlags;
use x11rb::rust_connection::{DefaultStream, RustConnection};

use super::DesktopSession;
use crate::bounded::Hangup;
use crate::users::as_account;

/// Largest authority file that is read, in bytes.
const LIMIT: u64 = 1 << 20;
const COOKIE: &[u8] = b"MIT-MAGIC-COOKIE-1";

/// Why the X server was not reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum DisplayError {
    /// The session names no display of this machine.
    #[error("the session has no local display")]
    NoDisplay,
    /// The socket or the authority file failed.
    #[error("the X server's socket: {0}")]
    Io(#[from] io::Error),
    /// The server refused the connection.
    #[error("the X server: {0}")]
    Server(#[from] x11rb::errors::ConnectError),
}

/// Connects as the account. Returns the connection and its screen's number.
pub(super) fn connect(
    session: &DesktopSession,
    hangup: &Hangup,
) -> Result<(RustConnection, usize), DisplayError> {
    let display = session.display.as_deref().ok_or(DisplayError::NoDisplay)?;
    let (number, screen) = parse_display(display).ok_or(DisplayError::NoDisplay)?;
    let account = &session.account;
    let authority = session.xauthority.clone().unwrap_or_else(|| account.home.join(".Xauthority"));
    let (stream, authority) = as_account(account.uid, account.gid, || {
        let stream = UnixStream::connect(format!("/tmp/.X11-unix/X{number}"))?;
        Ok::<_, io::Error>((stream, read_authority(&authority).unwrap_or_default()))
    })??;
    hangup.watch(&stream)?;
    let cookie = cookie(&authority, number);
    let name = if cookie.is_some() { COOKIE.to_vec() } else { Vec::new() };
    let (stream, _peer) = DefaultStream::from_unix_stream(stream)?;
    let cookie = cookie.unwrap_or_default();
    let connection =
        RustConnection::connect_to_stream_with_auth_info(stream, screen, name, cookie)?;
    Ok((connection, screen))
}

/// Whether a display is one of this machine's.
pub(super) fn is_local(display: &str) -> bool {
    parse_display(display).is_some()
}

/// The numbers of display and screen in `:1`, `:1.0` or `unix:1`; `None` for another machine's.
fn parse_display(display: &str) -> Option<(u16, usize)> {
    let numbers = display.strip_prefix("unix").unwrap_or(display).strip_prefix(':')?;
    let (display, screen) = numbers.split_once('.').unwrap_or((numbers, "0"));
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (plain(display) && plain(screen)).then_some(())?;
    Some((display.parse().ok()?, screen.parse().ok()?))
}

fn read_authority(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The cookie for a local display, see Xau(3): family, address, number, name and data, each field
/// but the first behind its 16-bit length.
fn cookie(authority: &[u8], number: u16) -> Option<Vec<u8>> {
    let mut rest = authority;
    while rest.len() >= 2 {
        rest = rest.get(2..)?;
        let _address = field(&mut rest)?;
        let display = field(&mut rest)?;
        let name = field(&mut rest)?;
        let data = field(&mut rest)?;
        let fits = display.is_empty() || display == number.to_string().as_bytes();
        if fits && name == COOKIE {
            return Some(data.to_vec());
        }
    }
    None
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let value = after.get(..length)?;
    *rest = after.get(length..)?;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_displays_of_this_machine_only() {
        assert_eq!(parse_display(":77"), Some((77, 0)));
        assert_eq!(parse_display("unix:1.2"), Some((1, 2)));
        for bad in
            ["", "host:0", "localhost:10.0", ":", ":a", ":1.", ":+1", "/tmp/x:0", ":99999999"]
        {
            assert_eq!(parse_display(bad), None, "{bad}");
        }
    }

    #[test]
    fn finds_the_cookie_of_the_display_and_survives_a_cut_file() {
        let entry = |number: &[u8], name: &[u8], data: &[u8]| {
            let mut bytes = vec![1, 0];
            for part in [b"host".as_slice(), number, name, data] {
                bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                bytes.extend(part);
            }
            bytes
        };
        let file = [
            entry(b"0", COOKIE, b"zero"),
            entry(b"77", b"OTHER", b"no"),
            entry(b"77", COOKIE, b"yes"),
        ]
        .concat();
        assert_eq!(cookie(&file, 77), Some(b"yes".to_vec()));
        assert_eq!(cookie(&file, 78), None);
        for cut in 0..file.len() {
            let _no_panic = cookie(&file[..cut], 77);
        }
    }
}
