//! Account ids as parts of account names. Each format allows different characters; all others are encoded as a mark and the
//! byte in hexadecimal. The mark itself is encoded, too, so that the encoding is reversible.

use std::fmt::Write as _;

/// An account id in hledger: letters, digits and `-_.@/` stay; any other byte becomes `%` and two digits.
pub(super) fn hledger(account_id: &str) -> String {
    encoded(account_id, '%', |byte| byte.is_ascii_alphanumeric() || b"-_.@/".contains(&byte))
}

/// An account id in Beancount, where a name begins with a capital and has letters, digits and dashes: `C-`, then letters and
/// digits unchanged, and any other byte as `-` and two digits.
pub(super) fn beancount(account_id: &str) -> String {
    format!("C-{}", encoded(account_id, '-', |byte| byte.is_ascii_alphanumeric()))
}

/// A text in the comment of a hledger journal, where a comma ends the value of a tag and a line break the comment.
pub(super) fn hledger_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || matches!(character, '%' | ',') {
            value.push_str(&encoded(character.encode_utf8(&mut [0; 4]), '%', |_| false));
        } else {
            value.push(character);
        }
    }
    value
}

/// A text as a string of Beancount.
pub(super) fn beancount_string(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => string.extend(['\\', character]),
            '\n' => string.push_str("\\n"),
            '\t' => string.push_str("\\t"),
            _ if character.is_control() => string.extend(character.escape_unicode().flat_map(|c| {
                let doubled = c == '\\';
                std::iter::repeat_n(c, 1 + usize::from(doubled))
            })),
            _ => string.push(character),
        }
    }
    string.push('"');
    string
}

fn encoded(text: &str, mark: char, stays: impl Fn(u8) -> bool) -> String {
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        if stays(byte) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "{mark}{byte:02X}"); // a text takes all that is written
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text that [`encoded`] made a name of.
    fn decoded(name: &str, mark: char) -> String {
        let mut parts = name.split(mark);
        let mut text = parts.next().unwrap().to_owned();
        for part in parts {
            let (byte, rest) = part.split_at(2);
            text.push(char::from(u8::from_str_radix(byte, 16).unwrap()));
            text.push_str(rest);
        }
        text
    }

    proptest! {
        #[test]
        fn an_account_id_can_be_had_back(account_id in "[!-~]{1,128}") {
            prop_assert_eq!(decoded(&hledger(&account_id), '%'), account_id.clone());
            let name = beancount(&account_id);
            prop_assert_eq!(decoded(name.strip_prefix("C-").unwrap(), '-'), account_id);
        }

        #[test]
        fn a_name_has_no_character_that_its_format_gives_a_meaning(account_id in "[!-~]{1,128}") {
            prop_assert!(!hledger(&account_id).contains([':', ';', ' ', '(', '[', '"']));
            prop_assert!(beancount(&account_id).bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
        }
    }

    #[test]
    fn a_value_stays_in_its_place() {
        assert_eq!(hledger_value("a, b: 5%\nc"), "a%2C b: 5%25%0Ac");
        assert_eq!(beancount_string("say \"a\\b\"\n\u{1b}"), r#""say \"a\\b\"\n\\u{1b}""#);
        assert_eq!(hledger_value("счёт № 7"), "счёт № 7");
    }
}
