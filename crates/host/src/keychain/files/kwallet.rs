//! KWallet's files: the head names folders and entries by the MD5 hashes of their names. Measured on
//! 5.103; `kwalletbackend.cc` of KWallet writes it.
//!
//! It refuses to look into the encrypted part.

use std::collections::BTreeMap;

use exeunt_domain::session::hex;
use exeunt_engine::ports::KeychainItem;

use super::{Content, MOST_ITEMS, Reader, Shown, hashed};

const MAGIC: &[u8] = b"KWALLET\n\r\0\r\n";
/// The length of an MD5 hash.
const HASH: usize = 16;

/// What a wallet file shows; `None` when it is not of the format.
pub(super) fn read(bytes: &[u8]) -> Option<Content> {
    let mut reader = Reader(bytes.strip_prefix(MAGIC)?);
    // Version, and the ciphers.
    reader.take(4)?;
    let folders = reader.count(HASH + 4)?;
    let mut items = Vec::new();
    for _ in 0..folders {
        let folder = hex(reader.take(HASH)?);
        for _ in 0..reader.count(HASH)? {
            let entry = hex(reader.take(HASH)?);
            let names = [("folder", folder.clone()), (KeychainItem::ENTRY, entry)];
            let attributes: BTreeMap<_, _> =
                names.into_iter().map(|(name, hash)| (hashed(name), hash)).collect();
            items.push(Shown { label: String::new(), attributes });
        }
        if items.len() > MOST_ITEMS {
            return None;
        }
    }
    Some(Content { label: None, items })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0, 1, 3, 2]);
        bytes.extend(2_u32.to_be_bytes());
        bytes.extend([0xaa; HASH]);
        bytes.extend(1_u32.to_be_bytes());
        bytes.extend([0xbb; HASH]);
        bytes.extend([0xcc; HASH]);
        bytes.extend(0_u32.to_be_bytes());
        bytes
    }

    #[test]
    fn reads_the_hashes_of_folders_and_entries() {
        let content = read(&file()).unwrap();
        assert_eq!(content.items.len(), 1);
        let attributes = &content.items[0].attributes;
        assert_eq!(attributes["gkr:compat:hashed:folder"], "aa".repeat(HASH));
        assert_eq!(attributes["gkr:compat:hashed:entry"], "bb".repeat(HASH));
    }

    #[test]
    fn a_cut_file_is_no_wallet() {
        let whole = file();
        assert!((0..whole.len()).all(|end| read(&whole[..end]).is_none()));
    }
}
