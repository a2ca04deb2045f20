//! What lies in an `.swu`: a cpio archive of the kind `newc` or `crc`, read once from start to end.
//!
//! Here: each member's name, digest and length. Not here: what SWUpdate makes of them (`swupdate`).

use std::io::{self, Read};

use backstay_model::Digest;
use sha2::{Digest as _, Sha256};

use super::{CHUNK_BYTES, read_some};
use crate::ledger::Image;

const HEADER_BYTES: usize = 110;
const MAGIC: [&[u8]; 2] = [b"070701", b"070702"];
const LAST: &str = "TRAILER!!!";
/// The longest name; SWUpdate takes less.
const NAME_BYTES_MAX: u64 = 512;
/// The most members. An `.swu` has a handful.
const MEMBERS_MAX: usize = 256;
/// The member that says which image the slot holds afterwards, where that is none of the members: `DIGEST LENGTH`.
const STATED: &str = "backstay-image";
const STATED_BYTES_MAX: usize = 128;

/// A member.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) image: Image,
}

/// What an archive holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Archive {
    pub(super) members: Vec<Member>,
    /// What it says of itself that the slot holds afterwards.
    pub(super) stated: Option<Image>,
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads an archive to its last member.
///
/// # Errors
/// As the source says; `InvalidData` where it is no such archive.
pub(super) fn read(from: &mut impl Read) -> io::Result<Archive> {
    let mut archive = Archive::default();
    loop {
        let mut header = [0; HEADER_BYTES];
        from.read_exact(&mut header)?;
        if !MAGIC.contains(&&header[..6]) {
            return Err(broken("it is no cpio archive of the kind `newc` or `crc`"));
        }
        let (length, name_length) = (number(&header, 6)?, number(&header, 11)?);
        if !(1..=NAME_BYTES_MAX).contains(&name_length) {
            return Err(broken("a member's name is too long"));
        }
        let mut name = vec![0; name_length as usize];
        from.read_exact(&mut name)?;
        name.pop();
        skip(from, padding(HEADER_BYTES as u64 + name_length))?;
        let name = String::from_utf8(name).map_err(|_| broken("a member's name is no text"))?;
        if name == LAST {
            return Ok(archive);
        }
        if archive.members.len() == MEMBERS_MAX {
            return Err(broken("it has too many members"));
        }
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let (mut left, mut begin) = (length, Vec::new());
        while left > 0 {
            let part = left.min(CHUNK_BYTES as u64) as usize;
            let read = read_some(from, &mut chunk[..part])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let room = STATED_BYTES_MAX.saturating_sub(begin.len()).min(read);
            begin.extend_from_slice(&chunk[..room]);
            hasher.update(&chunk[..read]);
            left -= read as u64;
        }
        skip(from, padding(length))?;
        if name == STATED {
            archive.stated =
                Some(stated(&begin).ok_or_else(|| broken("`backstay-image` is not DIGEST LENGTH"))?);
        } else {
            let image = Image { digest: Digest(hasher.finalize().into()), length };
            archive.members.push(Member { name, image });
        }
    }
}

/// The header's field of that number, 8 hexadecimal digits each.
fn number(header: &[u8; HEADER_BYTES], field: usize) -> io::Result<u64> {
    let at = 6 + 8 * field;
    let digits = std::str::from_utf8(&header[at..at + 8]).map_err(|_| broken("a number is none"))?;
    u64::from_str_radix(digits, 16).map_err(|_| broken("a number is none"))
}

fn padding(length: u64) -> u64 {
    (4 - length % 4) % 4
}

fn skip(from: &mut impl Read, bytes: u64) -> io::Result<()> {
    let mut padding = [0; 4];
    from.read_exact(&mut padding[..bytes as usize])
}

fn stated(text: &[u8]) -> Option<Image> {
    let (digest, length) = std::str::from_utf8(text).ok()?.trim_end().split_once(' ')?;
    Some(Image { digest: digest.parse().ok()?, length: length.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
        let fields = [0, 0, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, name.len() + 1, 0];
        let mut header = b"070702".to_vec();
        for field in fields {
            header.extend(format!("{field:08x}").bytes());
        }
        header.extend(name.bytes().chain([0]));
        let pad = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(4), 0);
        pad(&mut header);
        header.extend(bytes);
        pad(&mut header);
        header
    }

    fn image(bytes: &[u8]) -> Image {
        Image { digest: Digest(Sha256::digest(bytes).into()), length: bytes.len() as u64 }
    }

    #[test]
    fn members_are_summed_up_and_any_cut_is_found() {
        let large = vec![7; 100_001];
        let said = image(b"unpacked");
        let words = format!("{} {}\n", said.digest, said.length);
        let parts = [
            ("sw-description", &b"software"[..]),
            ("a.img", &large),
            (STATED, words.as_bytes()),
            (LAST, b""),
        ];
        let bytes = parts.map(|(name, bytes)| member(name, bytes)).concat();
        let archive = read(&mut &bytes[..]).unwrap();
        let names: Vec<_> = archive.members.iter().map(|member| &*member.name).collect();
        assert_eq!(names, ["sw-description", "a.img"]);
        assert_eq!(archive.members[1].image, image(&large));
        assert_eq!(archive.stated, Some(said));
        for end in (0..bytes.len()).step_by(97) {
            assert!(read(&mut &bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        assert!(read(&mut &[0; 4096][..]).is_err());
        let mut many = member("x", b"").repeat(MEMBERS_MAX + 1);
        many.extend(member(LAST, b""));
        assert!(read(&mut &many[..]).is_err());
        for text in ["", "99", "99 1"] {
            assert!(read(&mut &[member(STATED, text.as_bytes()), member(LAST, b"")].concat()[..]).is_err());
        }
        let long = "n".repeat(600);
        assert!(read(&mut &[member(&long, b""), member(LAST, b"")].concat()[..]).is_err());
    }
}
