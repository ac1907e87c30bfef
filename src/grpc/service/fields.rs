//! Parses fields of requests: pages, times, filters, and the numbers of enums.

use prost_types::Timestamp as ProtoTimestamp;

use crate::{
    accounting::{EntryType, Invalid, Reference, ReservationState, Timestamp},
    grpc::proto,
    ledger::EntryQuery,
};

const PAGE_SIZE_DEFAULT: usize = 50;
const PAGE_SIZE_MAX: usize = 1_000;
const NANOS_RANGE: std::ops::Range<i32> = 0..1_000_000_000;

/// The most items on a page.
pub(crate) fn page_size(page_size: i32) -> Result<usize, Invalid> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
        Err(_) => Err(Invalid::field("page_size", format!("must not be negative, but is {page_size}"))),
    }
}

/// The sequence of an entry.
pub(crate) fn sequence(field: &'static str, sequence: i64) -> Result<i64, Invalid> {
    if sequence < 1 {
        return Err(Invalid::field(field, format!("must be at least 1, not {sequence}")));
    }
    Ok(sequence)
}

/// A time, rounded down to whole microseconds.
pub(crate) fn timestamp_floor(field: &'static str, time: &ProtoTimestamp) -> Result<Timestamp, Invalid> {
    let second = Timestamp::from_unix_micros(time.seconds.saturating_mul(1_000_000));
    if !(Timestamp::FIRST..=Timestamp::LAST).contains(&second) {
        return Err(Invalid::field(field, "must be between the years 1 and 9999"));
    }
    Ok(Timestamp::from_unix_micros(second.unix_micros() + nanos(field, time.nanos)? / 1_000))
}

/// The time range of a list or a statement, both ends rounded up to whole microseconds.
pub(crate) fn times(
    from_time: Option<&ProtoTimestamp>,
    until_time: Option<&ProtoTimestamp>,
) -> Result<(Option<Timestamp>, Option<Timestamp>), Invalid> {
    let from = timestamp_ceiling("from_time", from_time)?;
    let until = timestamp_ceiling("until_time", until_time)?;
    let moment = |time: &ProtoTimestamp| (time.seconds, time.nanos);
    if until_time.zip(from_time).is_some_and(|(until, from)| moment(until) < moment(from)) {
        return Err(Invalid::field("until_time", "must not be before from_time"));
    }
    Ok((from, until))
}

/// A time, rounded up to whole microseconds, if it is set.
fn timestamp_ceiling(
    field: &'static str,
    time: Option<&ProtoTimestamp>,
) -> Result<Option<Timestamp>, Invalid> {
    let Some(time) = time else { return Ok(None) };
    let floor = timestamp_floor(field, time)?;
    let rest = i64::from(time.nanos % 1_000 > 0);
    Ok(Some(Timestamp::from_unix_micros(floor.unix_micros() + rest)))
}

/// The state that a list is filtered by; `None` for all.
pub(crate) fn reservation_state(number: i32) -> Result<Option<ReservationState>, Invalid> {
    optional("state", "ReservationState", ReservationState::ALL.len(), number, ReservationState::from_number)
}

/// The filter of a list of entries.
pub(crate) fn entry_query(request: &proto::ListEntriesRequest) -> Result<EntryQuery, Invalid> {
    let types = request.entry_types.iter().map(|number| {
        let most = EntryType::ALL.len();
        entry_type(*number).ok_or_else(|| no_such_number("entry_types", "EntryType", 1, most, *number))
    });
    let reference = Some(request.reference.clone()).filter(|reference| !reference.is_empty());
    if reference.as_ref().is_some_and(|reference| reference.contains('\0')) {
        return Err(Invalid::field("reference", "must not contain NUL characters"));
    }
    Ok(EntryQuery {
        entry_types: types.collect::<Result<_, _>>()?,
        reference: reference.map(Reference::recorded),
    })
}

pub(super) fn entry_type(number: i32) -> Option<EntryType> {
    EntryType::from_number(i16::try_from(number).ok()?)
}

/// The value with a number of an enum; `None` if it is unset.
pub(super) fn optional<T>(
    field: &'static str,
    name: &str,
    most: usize,
    number: i32,
    from_number: impl FnOnce(i16) -> Option<T>,
) -> Result<Option<T>, Invalid> {
    if number == 0 {
        return Ok(None);
    }
    let value = i16::try_from(number).ok().and_then(from_number);
    value.map(Some).ok_or_else(|| no_such_number(field, name, 0, most, number))
}

pub(super) fn no_such_number(
    field: &'static str,
    name: &str,
    least: usize,
    most: usize,
    number: i32,
) -> Invalid {
    Invalid::field(field, format!("must be {least}..={most}, the numbers of {name}, not {number}"))
}

pub(super) fn nanos(field: &'static str, nanos: i32) -> Result<i64, Invalid> {
    if !NANOS_RANGE.contains(&nanos) {
        return Err(Invalid::field(field, "must have 0 to 999,999,999 nanos"));
    }
    Ok(nanos.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_between_microseconds_is_rounded_to_the_side_that_is_asked_for() {
        let time = ProtoTimestamp { seconds: -1, nanos: 999_999_001 };
        assert_eq!(timestamp_floor("as_of", &time).unwrap().unix_micros(), -1);
        assert_eq!(timestamp_ceiling("as_of", Some(&time)).unwrap().unwrap().unix_micros(), 0);
    }

    #[test]
    fn a_moment_that_is_none_is_refused_by_field() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            let time = ProtoTimestamp { seconds, nanos };
            assert_eq!(timestamp_floor("as_of", &time).unwrap_err().field, "as_of");
        }
    }
}
