//! Text from outside, bounded.

/// Returns as much of a text from outside as is kept: at most `most` bytes of whole characters, and `…` where there was more. A control
/// character becomes U+FFFD.
pub fn cut(text: &str, most: usize) -> String {
    let mut kept = String::with_capacity(text.len().min(most));
    for mut character in text.chars() {
        if character.is_control() {
            character = char::REPLACEMENT_CHARACTER;
        }
        if kept.len() + character.len_utf8() > most {
            kept.push('…');
            break;
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_characters_are_kept_and_none_that_control() {
        assert_eq!(cut("nginx/1.27", 10), "nginx/1.27");
        assert_eq!(cut("nginx/1.27", 9), "nginx/1.2…");
        assert_eq!(cut("äöü", 5), "äö…");
        assert_eq!(cut("a\x1b[31m\n", 100), "a\u{fffd}[31m\u{fffd}");
        assert_eq!(cut("", 0), "");
    }
}
