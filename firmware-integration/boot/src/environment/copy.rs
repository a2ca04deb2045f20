//! One copy of an environment as bytes: its sum, its flags and its variables. Not here: which of two holds (beside).

use super::{EnvironmentError, Variables};

/// Bytes before the variables.
pub(super) const HEAD: usize = 5;

/// What one whole copy says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) flags: u8,
    pub(super) variables: Variables,
}

/// Whether flags `a` were given after flags `b`; the same rule as U-Boot's.
pub(super) fn is_newer(a: u8, b: u8) -> bool {
    match (a, b) {
        (0, 255) => true,
        (255, 0) => false,
        _ => a > b,
    }
}

/// Reads a copy; `None` if it is damaged.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Copy> {
    let (head, data) = bytes.split_at_checked(HEAD)?;
    let (sum, flags) = head.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != crc32(data) {
        return None;
    }
    let mut variables = Variables::new();
    for entry in data.split(|byte| *byte == 0).take_while(|entry| !entry.is_empty()) {
        // Without a `=` it is a word to U-Boot to forget the variable. Of two with one name the later counts.
        match entry.iter().position(|byte| *byte == b'=') {
            Some(at) => variables.insert(entry[..at].to_vec(), entry[at + 1..].to_vec()),
            None => variables.remove(entry),
        };
    }
    Some(Copy { flags: *flags.first()?, variables })
}

pub(super) fn to_bytes(flags: u8, variables: &Variables, size: usize) -> Result<Vec<u8>, EnvironmentError> {
    let mut data = Vec::with_capacity(size);
    for (name, value) in variables {
        for part in [name, b"=", &value[..], b"\0"] as [&[u8]; 4] {
            data.extend_from_slice(part);
        }
    }
    if variables.is_empty() {
        data.push(0);
    }
    data.push(0);
    let room = size.saturating_sub(HEAD);
    if data.len() > room {
        return Err(EnvironmentError::TooLarge { bytes: data.len(), room });
    }
    data.resize(room, 0xff);
    let mut bytes = crc32(&data).to_le_bytes().to_vec();
    bytes.push(flags);
    bytes.extend_from_slice(&data);
    Ok(bytes)
}

/// The CRC32 of IEEE 802.3, reflected: zlib's and U-Boot's.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |sum: u32, byte: &u8| TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8);
    !bytes.iter().fold(!0, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut sum = at as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
}
