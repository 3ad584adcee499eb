//! Taking over a socket file that a dead process of ours left behind.
//!
//! It refuses to remove anything but a socket of this process's own user.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// Removes the socket at `path` when it is ours; does nothing when there is none.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] when something else stands there, and whatever the system
/// answers.
pub fn remove_own(path: &Path) -> io::Result<()> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !meta.file_type().is_socket() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    #[expect(clippy::disallowed_methods, reason = "our own socket, checked just above")]
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn removes_a_left_socket_and_refuses_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s.sock");
        drop(UnixListener::bind(&socket).unwrap());
        remove_own(&socket).unwrap();
        assert!(!socket.exists());
        remove_own(&socket).unwrap();
        std::fs::write(&socket, "precious").unwrap();
        assert!(remove_own(&socket).is_err());
        assert!(socket.exists());
    }
}
