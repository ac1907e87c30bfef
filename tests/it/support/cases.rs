//! Many random cases, each made of a seed that is printed when it fails.

#![allow(clippy::print_stdout, reason = "a test's own output")]

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use fastrand::Rng;

/// How many cases of each kind `make test` runs.
const CASES: u64 = 20_000;

/// Runs a test on as many random cases as `FUZZ_CASES` says. `FUZZ_SEED` says with which to begin.
pub fn for_many(name: &str, case: impl Fn(&mut Rng)) {
    let number = |variable: &str| env::var(variable).ok().map(|text| text.parse::<u64>().unwrap());
    let (cases, first) = (number("FUZZ_CASES").unwrap_or(CASES), number("FUZZ_SEED"));
    let first = first.unwrap_or_else(|| fastrand::u64(..));
    let began = Instant::now();
    for seed in (0..cases).map(|n| first.wrapping_add(n)) {
        let mut random = Rng::with_seed(seed);
        let passed = catch_unwind(AssertUnwindSafe(|| case(&mut random))).is_ok();
        assert!(passed, "{name}: seed {seed} fails; FUZZ_SEED={seed} FUZZ_CASES=1 runs it again");
    }
    let millis = began.elapsed().as_millis().max(1);
    println!("{name}: {cases} cases, {} a second", u128::from(cases) * 1_000 / millis);
}

/// Up to so many arbitrary bytes.
pub fn bytes(random: &mut Rng, most: usize) -> Vec<u8> {
    let length = random.usize(..=most);
    (0..length).map(|_| random.u8(..)).collect()
}

/// The same bytes with a few changed, left out or put in.
pub fn mutated(random: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..random.usize(1..=4) {
        let place = random.usize(..=bytes.len());
        match random.u8(0..4) {
            0 => bytes.insert(place, random.u8(..)),
            1 => bytes.truncate(place),
            2 if place < bytes.len() => drop(bytes.remove(place)),
            _ if place < bytes.len() => bytes[place] ^= 1 << random.u8(0..8),
            _ => {}
        }
    }
    bytes
}

/// A text of arbitrary characters: most of them of ASCII, so that some texts are good.
pub fn text(random: &mut Rng, most: usize) -> String {
    let visible = random.bool();
    let character = |random: &mut Rng| match random.u8(0..40) {
        _ if visible => char::from(random.u8(b'!'..=b'~')),
        0 => random.char(..),
        1 => char::from(random.u8(0..=b' ')),
        _ => char::from(random.u8(b' '..=b'~')),
    };
    let length = random.usize(..=most);
    (0..length).map(|_| character(random)).collect()
}
