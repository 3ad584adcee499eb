//! The mount table, `proc_pid_mountinfo(5)`.
//!
//! It refuses to guess which mount a file is on: the kernel names it by number.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, StatxFlags, statx};

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its number in this table.
    pub(crate) id: u64,
    /// Major and minor number of the device.
    pub(crate) device: (u32, u32),
    /// Where it is.
    pub(crate) point: PathBuf,
    /// The file system's kind.
    pub(crate) kind: String,
    /// What is mounted, such as `/dev/sda1`.
    pub(crate) source: String,
    /// Options of the mount and of its file system.
    pub(crate) options: Vec<String>,
}

impl Mount {
    /// Every mount that this process sees.
    pub(crate) fn table() -> io::Result<Vec<Self>> {
        let text = std::fs::read("/proc/thread-self/mountinfo")?;
        Ok(text.split(|byte| *byte == b'\n').filter_map(Self::parse).collect())
    }

    /// The one that `file` is on.
    pub(crate) fn of(table: &[Self], file: impl AsFd) -> io::Result<Self> {
        let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        let found = table.iter().find(|mount| mount.id == stat.stx_mnt_id);
        found.cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Whether an option is set, such as `discard`.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|set| set.split('=').next() == Some(option))
    }

    /// Whether it is on a disk of this machine, which answers for itself.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.source.starts_with("/dev/") && !self.kind.starts_with("fuse")
    }

    /// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut text = || Some(String::from_utf8_lossy(fields.next()?).into_owned());
        let id = text()?.parse().ok()?;
        let _parent = text()?;
        let device = text()?;
        let (major, minor) = device.split_once(':')?;
        let _root = text()?;
        let point = PathBuf::from(OsString::from_vec(unescaped(text()?.as_bytes())));
        let mut options = text()?;
        // Optional fields, as many as there are, end with a single hyphen.
        while text()? != "-" {}
        let kind = text()?;
        let source = text()?;
        options.push(',');
        options.push_str(&text().unwrap_or_default());
        let options = options.split(',').map(str::to_owned).collect();
        let device = (major.parse().ok()?, minor.parse().ok()?);
        Some(Self { id, device, point, kind, source, options })
    }
}

/// Space, tab, newline and backslash stand as three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            Some(_) | None => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_with_optional_fields_and_escapes() {
        let line =
            b"36 35 98:0 /m /my\\040home rw,noatime master:1 shared:2 - ext4 /dev/sda1 rw,discard";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.point, PathBuf::from("/my home"));
        assert_eq!((mount.id, mount.device, mount.kind.as_str()), (36, (98, 0), "ext4"));
        assert!(mount.has("discard") && mount.has("noatime") && !mount.has("ro"));
        assert!(mount.is_on_disk());
        assert!(Mount::parse(b"36 35 98:0 / /x rw - tmpfs").is_none());
    }

    #[test]
    fn finds_the_mount_of_a_file_by_its_number() {
        let table = Mount::table().unwrap();
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!(Mount::of(&table, &file).unwrap().kind, "proc");
    }
}
