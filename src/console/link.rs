//! The addresses of pages. What names something stands in the query, never in the path: an account may be called `..`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The address of a page with its query; empty values are left out.
pub(super) fn link(path: &str, query: &[(&str, &str)]) -> String {
    let given = query.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> = given
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// An account's page.
pub(super) fn account(id: &str) -> String {
    link("/account", &[("id", id)])
}

/// An entry's page.
pub(super) fn entry(account: &str, sequence: i64) -> String {
    link("/entry", &[("account", account), ("sequence", &sequence.to_string())])
}

/// A reservation's page.
pub(super) fn reservation(account: &str, id: &str) -> String {
    link("/reservation", &[("account", account), ("id", id)])
}

/// The page of what became of a key.
pub(super) fn operation(account: &str, key: &str) -> String {
    link("/operation", &[("account", account), ("key", key)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_place() {
        assert_eq!(account("../?&=#%"), "/account?id=%2E%2E%2F%3F%26%3D%23%25");
        assert_eq!(link("/find", &[("q", ""), ("account", "a")]), "/find?account=a");
        assert_eq!(link("/", &[]), "/");
    }
}
