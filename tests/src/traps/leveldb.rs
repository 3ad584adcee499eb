//! The data blocks of a LevelDB table, decompressed.
//!
//! It refuses to fail on a broken table: what cannot be read is left out.

/// The last eight bytes of a table.
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Bytes of a table's footer.
const FOOTER: usize = 48;

/// Every data block that the table's index names, decompressed where it was compressed.
#[must_use]
pub(super) fn blocks(table: &[u8]) -> Vec<Vec<u8>> {
    index(table).unwrap_or_default().into_iter().filter_map(|at| block(table, at)).collect()
}

/// Offset and size of a block, without its trailer.
type Handle = (usize, usize);

fn index(table: &[u8]) -> Option<Vec<Handle>> {
    let footer = table.get(table.len().checked_sub(FOOTER)?..)?;
    let magic = u64::from_le_bytes(footer.get(40..48)?.try_into().ok()?);
    if magic != MAGIC {
        return None;
    }
    let (_meta, rest) = handle(footer)?;
    let (at, _) = handle(rest)?;
    let index = block(table, at)?;
    let tail = index.len().checked_sub(4)?;
    let restarts = u32::from_le_bytes(index.get(tail..)?.try_into().ok()?);
    let entries = tail.checked_sub(usize::try_from(restarts).ok()?.checked_mul(4)?)?;
    let mut left = index.get(..entries)?;
    let mut handles = Vec::new();
    while !left.is_empty() {
        let (_shared, rest) = varint(left)?;
        let (fresh, rest) = varint(rest)?;
        let (size, rest) = varint(rest)?;
        let value = rest.get(fresh..fresh.checked_add(size)?)?;
        handles.push(handle(value)?.0);
        left = rest.get(fresh + size..)?;
    }
    Some(handles)
}

fn block(table: &[u8], (offset, size): Handle) -> Option<Vec<u8>> {
    let end = offset.checked_add(size)?;
    let bytes = table.get(offset..end)?;
    match table.get(end)? {
        0 => Some(bytes.to_vec()),
        1 => snap::raw::Decoder::new().decompress_vec(bytes).ok(),
        _ => None,
    }
}

fn handle(bytes: &[u8]) -> Option<(Handle, &[u8])> {
    let (offset, rest) = varint(bytes)?;
    let (size, rest) = varint(rest)?;
    Some(((offset, size), rest))
}

fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of one compressed block, as LevelDB writes it.
    fn table(value: &[u8]) -> Vec<u8> {
        let packed = snap::raw::Encoder::new().compress_vec(value).unwrap();
        let mut table = packed.clone();
        table.extend([1, 0, 0, 0, 0]);
        let offset = u8::try_from(table.len()).unwrap();
        let size = u8::try_from(packed.len()).unwrap();
        let mut index = vec![0, 1, 2, b'k', 0, size];
        index.extend([0; 4]);
        index.extend(1_u32.to_le_bytes());
        table.extend(&index);
        table.extend([0, 0, 0, 0, 0]);
        let mut footer = vec![0, 0, offset, u8::try_from(index.len()).unwrap()];
        footer.resize(40, 0);
        footer.extend(MAGIC.to_le_bytes());
        table.extend(footer);
        table
    }

    #[test]
    fn reads_a_compressed_block_and_survives_a_broken_table() {
        let value = b"token token token token token token".as_slice();
        let table = table(value);
        assert_eq!(blocks(&table), [value]);
        for cut in 0..table.len() {
            assert!(blocks(&table[..cut]).is_empty());
        }
    }
}
