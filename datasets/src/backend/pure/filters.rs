//! The filters of a chunk: their names, and how to undo those of the D4RL world (gzip, shuffle, LZF, Fletcher-32).

use super::fault::{Found, damaged, unsupported};
use super::image::Cursor;
use flate2::{Decompress, FlushDecompress, Status};

const DEFLATE: u16 = 1;
const SHUFFLE: u16 = 2;
const FLETCHER32: u16 = 3;
const LZF: u16 = 32000;

/// Registered filters that are recognised and not undone.
const NAMED: [(u16, &str); 14] = [
    (4, "szip"),
    (5, "n-bit"),
    (6, "scale-offset"),
    (305, "LZO"),
    (307, "bzip2"),
    (32001, "Blosc"),
    (32004, "LZ4"),
    (32008, "bitshuffle"),
    (32013, "ZFP"),
    (32015, "Zstandard"),
    (32017, "SZ"),
    (32024, "SZ3"),
    (32026, "Blosc2"),
    (32028, "JPEG"),
];

/// One stage of a dataset's filters, in the order of writing.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    id: u16,
    /// A chunk may go without it.
    optional: bool,
    /// The name that the file gives it.
    name: String,
}

/// Reads the message of the filters; `element` is the size of one value.
pub(super) fn read_filters(body: &[u8], element: u64) -> Found<Vec<Filter>> {
    let mut fields = Cursor::new(body);
    let (version, count) = (fields.u8()?, fields.u8()?);
    if !matches!(version, 1 | 2) || count == 0 || count > 32 {
        return Err(damaged(format!("a message of {count} filters of version {version}")));
    }
    fields.take(if version == 1 { 6 } else { 0 })?;
    let mut filters = Vec::new();
    for _ in 0..count {
        let id = fields.u16()?;
        let length = if version == 1 || id >= 256 { usize::from(fields.u16()?) } else { 0 };
        let (flags, values) = (fields.u16()?, usize::from(fields.u16()?));
        let name = fields.take(if version == 1 { length.next_multiple_of(8) } else { length })?;
        let settings = (0..values).map(|_| fields.u32()).collect::<Found<Vec<u32>>>()?;
        fields.take(if version == 1 { values % 2 * 4 } else { 0 })?;
        let sane = match (id, &settings[..]) {
            (DEFLATE, [level]) => *level <= 9,
            (SHUFFLE, [size]) => u64::from(*size) == element,
            (SHUFFLE | FLETCHER32, []) => true,
            (DEFLATE | SHUFFLE | FLETCHER32, _) => false,
            _ => true,
        };
        if !sane || flags > 1 {
            return Err(damaged(format!("filter {id} with settings {settings:?}")));
        }
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        filters.push(Filter { id, optional: flags & 1 == 1, name });
    }
    fields.finish("the message of the filters")?;
    Ok(filters)
}

/// Error: names a filter that is not undone here.
pub(super) fn check_known(filters: &[Filter]) -> Found<()> {
    for filter in filters {
        if !matches!(filter.id, DEFLATE | SHUFFLE | FLETCHER32 | LZF) {
            let name =
                NAMED.iter().find(|(id, _)| *id == filter.id).map_or(filter.name.as_str(), |(_, name)| name);
            let name = if name.is_empty() { "without a name" } else { name };
            return Err(unsupported(format!("filter {} ({name})", filter.id)));
        }
    }
    if filters.iter().filter(|f| matches!(f.id, DEFLATE | LZF)).count() > 1 {
        return Err(unsupported("two compressors, one after the other"));
    }
    Ok(())
}

/// Undoes all filters of a chunk that shall give `nominal` bytes; bit i of `mask` says that filter i was left out.
pub(super) fn decode(
    filters: &[Filter],
    mask: u32,
    stored: Vec<u8>,
    nominal: usize,
    element: usize,
) -> Found<Vec<u8>> {
    let mut bytes = stored;
    for (i, filter) in filters.iter().enumerate().rev() {
        if mask >> i & 1 == 1 {
            continue;
        }
        // What this filter got when the chunk was written: the values, and sums of checks before it.
        let earlier = filters[..i].iter().enumerate();
        let sums = earlier.filter(|(k, f)| f.id == FLETCHER32 && mask >> k & 1 == 0).count();
        let before = nominal + 4 * sums;
        bytes = match filter.id {
            DEFLATE => inflate(&bytes, before)?,
            LZF => unpack_lzf(&bytes, before)?,
            SHUFFLE => unshuffle(&bytes, element),
            _ => check_fletcher32(bytes)?,
        };
    }
    if bytes.len() != nominal {
        return Err(damaged(format!("a chunk of {nominal} bytes gives {}", bytes.len())));
    }
    Ok(bytes)
}

/// Error: a mask that leaves out what is never left out.
pub(super) fn check_mask(filters: &[Filter], mask: u32) -> Found<()> {
    let spare = |i: u32| filters.get(i as usize).is_some_and(|f| f.optional && f.id != SHUFFLE);
    match (0..32).find(|i| mask >> i & 1 == 1 && !spare(*i)) {
        None => Ok(()),
        Some(i) => Err(damaged(format!("a chunk was written without its filter number {i}"))),
    }
}

/// zlib's stream, which ends with a checksum; it must be used up and give exactly `expected` bytes.
fn inflate(stored: &[u8], expected: usize) -> Found<Vec<u8>> {
    let mut out = Vec::with_capacity(expected);
    let mut stream = Decompress::new(true);
    let status = stream
        .decompress_vec(stored, &mut out, FlushDecompress::Finish)
        .map_err(|e| damaged(format!("a gzip chunk cannot be unpacked: {e}")))?;
    if status != Status::StreamEnd || stream.total_in() != stored.len() as u64 || out.len() != expected {
        return Err(damaged("a gzip chunk is not as long as it should be"));
    }
    Ok(out)
}

/// LZF: literal runs, and copies of what came before.
fn unpack_lzf(stored: &[u8], expected: usize) -> Found<Vec<u8>> {
    let bad = || damaged("an LZF chunk cannot be unpacked");
    let mut out: Vec<u8> = Vec::with_capacity(expected);
    let mut fields = Cursor::new(stored);
    while fields.left() > 0 {
        let control = usize::from(fields.u8()?);
        if control < 32 {
            out.extend_from_slice(fields.take(control + 1)?);
        } else {
            let mut length = control >> 5;
            if length == 7 {
                length += usize::from(fields.u8()?);
            }
            let back = ((control & 31) << 8) + usize::from(fields.u8()?) + 1;
            let start = out.len().checked_sub(back).ok_or_else(bad)?;
            for k in start..start + length + 2 {
                out.push(out[k]);
            }
        }
        if out.len() > expected {
            return Err(bad());
        }
    }
    if out.len() == expected { Ok(out) } else { Err(bad()) }
}

/// First all first bytes, then all second bytes, ...; what is left over stands at the end unchanged.
fn unshuffle(bytes: &[u8], element: usize) -> Vec<u8> {
    let n = bytes.len() / element;
    let mut out = bytes.to_vec();
    for k in 0..element {
        for (i, byte) in bytes[k * n..(k + 1) * n].iter().enumerate() {
            out[i * element + k] = *byte;
        }
    }
    out
}

fn check_fletcher32(mut bytes: Vec<u8>) -> Found<Vec<u8>> {
    let body = bytes.len().checked_sub(4).ok_or_else(|| damaged("a chunk is shorter than its checksum"))?;
    if fletcher32(&bytes[..body]).to_le_bytes() != bytes[body..] {
        return Err(damaged("the checksum of a chunk does not fit"));
    }
    bytes.truncate(body);
    Ok(bytes)
}

fn fletcher32(bytes: &[u8]) -> u32 {
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut one, mut two) = (0u32, 0u32);
    // 360 words are the most that cannot overflow.
    for block in bytes.chunks(720) {
        for word in block.chunks(2) {
            one += u32::from(word[0]) << 8 | word.get(1).map_or(0, |b| u32::from(*b));
            two += one;
        }
        (one, two) = (fold(one), fold(two));
    }
    fold(two) << 16 | fold(one)
}
