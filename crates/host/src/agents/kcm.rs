//! Kerberos ticket caches that a daemon keeps (`sssd-kcm`), by the KCM protocol: version 2.0, as the
//! comments of `src/include/kcm.h` in MIT krb5 describe it.
//!
//! It refuses a socket that is not root's, and to ask for a ticket.

use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use exeunt_engine::ports::AgentError;

use super::talk::os;

/// Where the daemon listens, for every account; it tells them apart by who connects.
pub(super) const SOCKET: &str = "/run/.heim_org.h5l.kcm-socket";

const VERSION: [u8; 2] = [2, 0];
const DESTROY: u16 = 5;
const CACHE_UUID_LIST: u16 = 18;
const CACHE_BY_UUID: u16 = 19;
/// `KRB5_FCC_NOFILE`: there is no such cache, or none at all.
const NO_CACHE: u32 = 0x96c7_3ac3;
/// `KRB5_CC_NOTFOUND`, which a cache that another destroyed may answer with.
const NOT_FOUND: u32 = 0x96c7_3a8d;
/// The length of a cache's number.
const UUID: usize = 16;
/// An answer longer than this is none.
const LONGEST: u32 = 64 * 1024;

/// Connects to the daemon's socket; None when nobody listens. Call it as the account.
pub(super) fn dial(path: &Path) -> io::Result<Option<UnixStream>> {
    let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
    let connected = std::fs::symlink_metadata(path).and_then(|meta| {
        let of_root = meta.file_type().is_socket() && meta.uid() == 0;
        if of_root { UnixStream::connect(path).map(Some) } else { Ok(None) }
    });
    match connected {
        Err(error) if nobody.contains(&error.kind()) => Ok(None),
        connected => connected,
    }
}

/// How many caches the account has there.
pub(super) fn count(stream: &mut UnixStream) -> Result<u64, AgentError> {
    Ok(caches(stream)?.len() as u64)
}

/// Destroys every cache.
pub(super) fn flush(stream: &mut UnixStream) -> Result<(), AgentError> {
    for uuid in caches(stream)? {
        let Some(name) = ask(stream, CACHE_BY_UUID, &uuid)? else { continue };
        ask(stream, DESTROY, &name)?;
    }
    Ok(())
}

fn caches(stream: &mut UnixStream) -> Result<Vec<[u8; UUID]>, AgentError> {
    let list = ask(stream, CACHE_UUID_LIST, &[])?.unwrap_or_default();
    let (uuids, rest) = list.as_chunks();
    if rest.is_empty() { Ok(uuids.to_vec()) } else { Err(AgentError::Protocol("half a cache")) }
}

/// Sends one request and reads its answer; None when there is no such cache.
fn ask(
    stream: &mut UnixStream,
    operation: u16,
    argument: &[u8],
) -> Result<Option<Vec<u8>>, AgentError> {
    let request = [&VERSION, &operation.to_be_bytes(), argument].concat();
    let length = u32::try_from(request.len()).map_err(|_| AgentError::Protocol("too long"))?;
    stream.write_all(&length.to_be_bytes()).map_err(os("write"))?;
    stream.write_all(&request).map_err(os("write"))?;
    // The length of what follows the daemon's own code; then the operation's code and its answer.
    let length = number(stream)?;
    let (daemon, Some(length)) = (number(stream)?, length.checked_sub(4)) else {
        return Err(AgentError::Protocol("no code"));
    };
    if length > LONGEST {
        return Err(AgentError::Protocol("too long an answer"));
    }
    let code = number(stream)?;
    let mut answer = vec![0; usize::try_from(length).unwrap_or_default()];
    stream.read_exact(&mut answer).map_err(os("read"))?;
    match (daemon, code) {
        (0, 0) => Ok(Some(answer)),
        (0, NO_CACHE | NOT_FOUND) => Ok(None),
        (0, code) => Err(AgentError::Refused(format!("Kerberos error {}", code.cast_signed()))),
        (code, _) => Err(AgentError::Refused(format!("error {}", code.cast_signed()))),
    }
}

fn number(stream: &mut UnixStream) -> Result<u32, AgentError> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).map_err(os("read"))?;
    Ok(u32::from_be_bytes(bytes))
}
