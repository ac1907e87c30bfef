//! Texts of callers, who may write anything: shown as text, each in a box of its own, with nothing in it that cannot be seen.

use maud::{Markup, html};

/// How many characters of a text a list shows.
const CLIPPED: usize = 60;

/// A whole text.
pub(super) fn whole(text: &str) -> Markup {
    html! { bdi class="text" { (pieces(text)) } }
}

/// The beginning of a text, for a row of a list.
pub(super) fn clipped(text: &str) -> Markup {
    let end = text.char_indices().nth(CLIPPED).map(|(end, _)| end);
    html! {
        bdi class="text" {
            (pieces(&text[..end.unwrap_or(text.len())]))
            @if end.is_some() { "…" }
        }
    }
}

/// A text in which what would be invisible, or would turn what is around it, is named instead.
fn pieces(text: &str) -> Markup {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((place, hidden)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
        parts.push((&rest[..place], Some(format!("U+{:04X}", u32::from(hidden)))));
        rest = &rest[place + hidden.len_utf8()..];
    }
    html! {
        @for (before, hidden) in parts {
            (before)
            @if let Some(hidden) = hidden { span class="hidden" { (hidden) } }
        }
        (rest)
    }
}

/// Whether a character shows nothing itself, and is no blank or joiner that texts need.
fn is_hidden(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_nothing = matches!(c, '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{2028}' | '\u{2029}');
    turns || is_nothing || (c.is_control() && c != '\n' && c != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text_and_what_turns_text_is_named() {
        let shown = whole("<script>\u{202e}&\0👩‍💻").into_string();
        assert_eq!(
            shown,
            "<bdi class=\"text\">&lt;script&gt;<span class=\"hidden\">U+202E</span>&amp;\
             <span class=\"hidden\">U+0000</span>👩‍💻</bdi>"
        );
    }

    #[test]
    fn a_list_shows_the_beginning() {
        let long = "é".repeat(1_000);
        assert_eq!(clipped(&long).into_string().matches('é').count(), CLIPPED);
        assert!(!clipped("short").into_string().contains('…'));
    }
}
