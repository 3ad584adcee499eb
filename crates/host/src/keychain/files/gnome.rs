//! gnome-keyring's files: the encrypted form, whose head names the items' attributes with hashes of
//! their values, and the plain form of a keyring without a password. Measured on 42.1; described in
//! `docs/file-format.txt` of gnome-keyring.
//!
//! It refuses to look into the encrypted part, and to keep a secret of the plain form.

use std::collections::BTreeMap;

use super::{Content, MOST_ITEMS, Reader, Shown, hashed};

const MAGIC: &[u8] = b"GnomeKeyring\n\r\0\n";
/// libsecret's own files (version 1) are encrypted but for a head that is shorter than this.
const HEAD_OF_VERSION_1: usize = 96;

/// What a keyring file shows; `None` when it is not of the format.
pub(super) fn read(bytes: &[u8]) -> Option<Content> {
    match bytes.strip_prefix(MAGIC) {
        Some([0, ..]) => encrypted(bytes.get(MAGIC.len()..)?),
        Some([1, ..]) if bytes.len() < HEAD_OF_VERSION_1 => {
            Some(Content { label: None, items: Vec::new() })
        }
        Some(_) => None,
        None => plain(std::str::from_utf8(bytes).ok()?),
    }
}

fn encrypted(bytes: &[u8]) -> Option<Content> {
    let mut reader = Reader(bytes);
    // Version and algorithms.
    reader.take(4)?;
    let label = text(&mut reader)?;
    // Times, flags, lock timeout, rounds of hashing, salt, reserved.
    reader.take(8 + 8 + 4 + 4 + 4 + 8 + 16)?;
    let count = reader.count(12)?;
    let items = (0..count).map(|_| item(&mut reader)).collect::<Option<_>>()?;
    Some(Content { label, items })
}

fn item(reader: &mut Reader<'_>) -> Option<Shown> {
    // Number and type.
    reader.take(8)?;
    let count = reader.count(8)?;
    let mut attributes = BTreeMap::new();
    for _ in 0..count {
        let name = text(reader)?.unwrap_or_default();
        let hash = match reader.number()? {
            0 => text(reader)?.unwrap_or_default(),
            // A number, hashed in another way than MD5.
            _ => reader.number()?.to_string(),
        };
        attributes.insert(hashed(&name), hash);
    }
    Some(Shown { label: String::new(), attributes })
}

/// A string, with its length before it; `None` inside for the null string.
fn text(reader: &mut Reader<'_>) -> Option<Option<String>> {
    let length = reader.number()?;
    if length == u32::MAX {
        return Some(None);
    }
    let bytes = reader.take(usize::try_from(length).ok()?)?;
    Some(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// The plain form: `[keyring]`, then `[N]` for each item and `[N:attributeM]` for each attribute.
fn plain(text: &str) -> Option<Content> {
    let mut label = None;
    let mut items: BTreeMap<&str, Shown> = BTreeMap::new();
    let mut section = "";
    let mut name = String::new();
    let mut is_keyring = false;
    for line in text.lines().map(str::trim) {
        if let Some(inner) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = inner;
            is_keyring |= section == "keyring";
            let number = number_of(section);
            if number.bytes().all(|byte| byte.is_ascii_digit()) {
                items.entry(number).or_default();
            }
            name.clear();
            if items.len() > MOST_ITEMS {
                return None;
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let is_attribute = section.contains(':');
        match (items.get_mut(number_of(section)), key) {
            (None, "display-name") if section == "keyring" => label = Some(unescape(value)),
            (Some(item), "display-name") if !is_attribute => item.label = unescape(value),
            (Some(_), "name") if is_attribute => name = unescape(value),
            (Some(item), "value") if is_attribute => {
                item.attributes.insert(std::mem::take(&mut name), unescape(value));
            }
            (Some(_) | None, _) => {}
        }
    }
    let items = items.into_values().collect();
    is_keyring.then_some(Content { label, items })
}

fn number_of(section: &str) -> &str {
    section.split_once(':').map_or(section, |(number, _)| number)
}

/// Undoes the escapes of a key file's value (GLib, "Key-value file parser").
fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        plain.push(match chars.next() {
            Some('s') => ' ',
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some(other) => other,
            None => '\\',
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Vec<u8> {
        let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    }

    /// The head of a file with one item of one attribute.
    fn file() -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0, 0, 0, 0]);
        bytes.extend(string("Login"));
        bytes.extend([0; 52]);
        bytes.extend(1_u32.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(1_u32.to_be_bytes());
        bytes.extend(string("service"));
        bytes.extend(0_u32.to_be_bytes());
        bytes.extend(string("e84fbf1a5a27f8b9b1f84fcc621b14b1"));
        bytes
    }

    #[test]
    fn reads_what_an_encrypted_file_shows() {
        let content = read(&file()).unwrap();
        assert_eq!(content.label.as_deref(), Some("Login"));
        let attributes: Vec<_> = content.items[0].attributes.iter().collect();
        assert_eq!(attributes[0].0, "gkr:compat:hashed:service");
        assert_eq!(attributes[0].1, "e84fbf1a5a27f8b9b1f84fcc621b14b1");
    }

    #[test]
    fn a_cut_file_and_a_lying_count_are_no_keyring() {
        let whole = file();
        assert!((MAGIC.len() + 1..whole.len()).all(|end| read(&whole[..end]).is_none()));
        let mut lying = whole;
        let at = MAGIC.len() + 4 + 9 + 52;
        lying[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(read(&lying), None);
    }

    #[test]
    fn reads_a_keyring_without_a_password_but_not_its_secrets() {
        let text = "[keyring]\ndisplay-name=Default\\skeyring\n\n[1]\nitem-type=0\n\
            display-name=x1\nsecret=T0P\n\n[1:attribute0]\nname=service\ntype=string\n\
            value=gh:github.com\n\n[2]\nsecret=T0P\n";
        let content = read(text.as_bytes()).unwrap();
        assert_eq!(content.label.as_deref(), Some("Default keyring"));
        assert_eq!(content.items.len(), 2);
        assert_eq!(content.items[0].label, "x1");
        assert_eq!(content.items[0].attributes["service"], "gh:github.com");
        assert!(!format!("{content:?}").contains("T0P"));
        assert_eq!(read(b"anything else"), None);
    }
}
