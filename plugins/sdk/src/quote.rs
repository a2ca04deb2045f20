//! What somebody else said, made fit to stand in a failure: no control characters, and not too long.
//!
//! A failure has 256 bytes, and its own words need some of them. Not here: what the words around a quotation say.

use alloc::string::String;

/// The most of what is quoted, in bytes. The rest is cut off.
const QUOTED_BYTES_MAX: usize = 100;

/// `text`, with a space for each control character.
#[must_use]
pub fn text(text: &str) -> String {
    let mut quoted = String::new();
    for char in text.chars().map(|char| if char.is_control() { ' ' } else { char }) {
        if quoted.len() + char.len_utf8() > QUOTED_BYTES_MAX {
            break;
        }
        quoted.push(char);
    }
    quoted
}

/// The last line with something on it: where a program says why it failed. Empty where there is none.
#[must_use]
pub fn last_line(bytes: &[u8]) -> String {
    let said = String::from_utf8_lossy(bytes);
    text(said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_or_odd_is_made_fit() {
        assert_eq!(text("a\u{1b}[31mb\n"), "a [31mb ");
        assert_eq!(text(&"x".repeat(101)), "x".repeat(100));
        assert_eq!(text(&"ä".repeat(51)), "ä".repeat(50));
        assert_eq!(text(&("x".to_owned() + &"ä".repeat(50))), "x".to_owned() + &"ä".repeat(49));
    }

    #[test]
    fn the_last_line_is_the_last_that_says_something() {
        assert_eq!(last_line(b"Starting\r\n no such unit \r\n \n\n"), "no such unit");
        assert_eq!(last_line(b"\xff\xfe"), "\u{fffd}\u{fffd}");
        assert_eq!((last_line(b""), last_line(b" \n")), (String::new(), String::new()));
    }
}
