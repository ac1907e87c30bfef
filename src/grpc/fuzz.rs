//! Arbitrary page tokens, timeouts and bearer headers: nothing panics, and only what is meant to be is understood.

use std::time::Duration;

use fastrand::Rng;

use super::{
    layers::{bearer, parse_deadline},
    proto::{ListEntriesRequest, ListReservationsRequest},
    service::page_token,
};
use crate::ledger::EntrySpan;
use cases::{bytes, for_many, mutated, text};

#[path = "../../tests/it/support/cases.rs"]
#[allow(unreachable_pub, reason = "shared with the integration tests, where it is reachable")]
mod cases;

fn request(random: &mut Rng) -> ListEntriesRequest {
    ListEntriesRequest {
        account_id: random.u8(0..3).to_string(),
        page_size: random.i32(..),
        entry_types: (0..random.u8(0..2)).map(|_| random.i32(0..3)).collect(),
        reference: random.u8(0..2).to_string(),
        ..Default::default()
    }
}

#[test]
fn only_a_token_of_the_service_for_the_same_request_is_one() {
    for_many("page tokens", |random| {
        let (span, own) = (EntrySpan { after: random.i64(..), last: random.i64(..) }, request(random));
        let token = page_token::write(&span, &own);
        assert_eq!(page_token::parse(&token, &ListEntriesRequest { page_size: 7, ..own.clone() }), Ok(span));

        let other = ListEntriesRequest { page_size: own.page_size, ..request(random) };
        assert_eq!(page_token::parse::<EntrySpan>(&token, &other).is_ok(), other == own, "{other:?}");
        let reservations =
            ListReservationsRequest { account_id: own.account_id.clone(), state: 1, ..Default::default() };
        assert!(page_token::parse::<EntrySpan>(&token, &reservations).is_err());

        let changed = String::from_utf8_lossy(&mutated(random, token.clone().into_bytes())).into_owned();
        assert_eq!(page_token::parse::<EntrySpan>(&changed, &own).is_ok(), changed == token, "{changed:?}");
        assert!(page_token::parse::<EntrySpan>(&text(random, 40), &own).is_err());
        assert!(page_token::parse::<EntrySpan>(&String::from_utf8_lossy(&bytes(random, 40)), &own).is_err());
    });
}

/// The rule of the specification, by characters instead of bytes.
fn timeout(header: &str) -> Option<u128> {
    let characters: Vec<char> = header.chars().collect();
    let (unit, digits) = characters.split_last()?;
    let nanos = [('H', 3_600_000_000_000), ('M', 60_000_000_000), ('S', 1_000_000_000), ('m', 1_000_000)];
    let nanos = nanos.into_iter().chain([('u', 1_000), ('n', 1)]).find(|(name, _)| name == unit)?.1;
    let is_count = (1..=8).contains(&digits.len()) && digits.iter().all(char::is_ascii_digit);
    is_count.then(|| digits.iter().fold(0, |sum, c| sum * 10 + u128::from(*c) - u128::from('0')) * nanos)
}

#[test]
fn a_timeout_is_understood_exactly_when_the_specification_says_so() {
    for_many("timeouts", |random| {
        let count = random.u64(..) >> random.u8(16..64);
        let header = match random.u8(0..4) {
            0 => text(random, 10),
            1 => format!("{count}{}", random.char(..)),
            _ => format!("{count}{}", ["H", "M", "S", "m", "u", "n", "", "s"][random.usize(0..8)]),
        };
        assert_eq!(parse_deadline(&header).as_ref().map(Duration::as_nanos), timeout(&header), "{header:?}");
    });
}

#[test]
fn a_bearer_header_is_a_scheme_a_space_and_a_token() {
    for_many("bearer headers", |random| {
        let token = text(random, 20);
        let scheme = ["Bearer", "bearer", "BEARER", "Basic", "Bearer ", ""][random.usize(0..6)];
        let header = format!("{scheme} {token}");
        let expected = scheme.trim_end().eq_ignore_ascii_case("bearer").then_some(token.trim());
        assert_eq!(bearer(&header), expected, "{header:?}");
        let arbitrary = text(random, 20);
        let is_bearer = arbitrary.to_lowercase().starts_with("bearer ");
        assert_eq!(bearer(&arbitrary).is_some(), is_bearer, "{arbitrary:?}");
    });
}
