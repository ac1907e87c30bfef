//! The grants of an account: how they are spent, pinned, unwound and converted, and how they lapse.
//!
//! * Grants are spent by their expiry, the first first; then other money. What was taken last comes back first.
//! * A reservation pins what it would spend. A grant that expires while it is pinned lives on for that reservation alone.
//! * Grants and debt never stand side by side: what is granted is at most what is available, and beyond that becomes other
//!   money. Nor is more of a grant unpinned than is left of its credit: a reversal has taken the rest from other money.
//! * What is not pinned of a grant that has expired lapses, in an entry right behind the one that brought it back.

use super::{Grant, GrantMoves, GrantShare, GrantTotals, MicroUsd, Timestamp, grant::add_share};

/// The grants of an account, in the order in which they are spent: by expiry, then by sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

/// What an entry does to the grants of its account, beside what follows by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GrantStep {
    /// It is a credit that expires then.
    pub(super) opens: Option<Timestamp>,
    /// So much more of the credit with this sequence is reversed; less, if it is negative.
    pub(super) reverses: Option<(i64, MicroUsd)>,
    /// What it spends of what a reservation pins.
    pub(super) spends: Vec<GrantShare>,
    /// What a reservation pins no longer.
    pub(super) frees: Vec<GrantShare>,
    /// What it spends that is not pinned.
    pub(super) draws: Vec<GrantShare>,
    /// What it brings back, in that order.
    pub(super) unwinds: Vec<GrantShare>,
    /// What a reservation pins from now on.
    pub(super) pins: Vec<GrantShare>,
    /// It is the end of all that has expired and is not pinned.
    pub(super) lapses: bool,
}

/// The entry that a [`GrantStep`] belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepOf {
    pub(super) sequence: i64,
    pub(super) amount: MicroUsd,
    /// When it takes effect.
    pub(super) time: Timestamp,
    /// What is posted and not held right after it.
    pub(super) unheld: MicroUsd,
}

impl GrantStep {
    /// A debit that draws so much.
    pub(super) fn drawing(draws: Vec<GrantShare>) -> Self {
        Self { draws, ..Self::default() }
    }

    /// A hold that pins so much.
    pub(super) fn pinning(pins: Vec<GrantShare>) -> Self {
        Self { pins, ..Self::default() }
    }

    /// How much of a debit grants pay.
    pub(super) fn drawn(&self) -> MicroUsd {
        let shares = self.spends.iter().chain(&self.draws);
        MicroUsd::new(shares.map(|share| share.amount.get()).sum())
    }
}

impl Grants {
    /// The most grants of an account that have not expired, spent or not.
    pub const AHEAD_MAX: usize = 64;

    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds a grant, or puts it in the place of itself.
    pub fn put(&mut self, grant: Grant) {
        let order = |grant: &Grant| (grant.expire_time, grant.sequence);
        match self.0.binary_search_by_key(&order(&grant), order) {
            Ok(place) => self.0[place] = grant,
            Err(place) => self.0.insert(place, grant),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of spending.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// The grant of a credit.
    #[must_use]
    pub fn get(&self, sequence: i64) -> Option<&Grant> {
        self.0.iter().find(|grant| grant.sequence == sequence)
    }

    fn get_mut(&mut self, sequence: i64) -> Option<&mut Grant> {
        self.0.iter_mut().find(|grant| grant.sequence == sequence)
    }

    /// What a debit or a hold of so much takes of them.
    pub(super) fn shares(&self, amount: MicroUsd) -> Vec<GrantShare> {
        first(amount, self.0.iter().map(|grant| (grant.sequence, grant.unpinned())))
    }

    /// Puts what a reservation pins into the order of spending.
    pub(super) fn sort(&self, pins: &mut [GrantShare]) {
        pins.sort_by_key(|pin| self.0.iter().position(|grant| grant.sequence == pin.sequence));
    }

    /// What the reversal of a credit takes of them: first of that credit's own grant; then, after so much other money, of the
    /// others.
    pub(super) fn reversed_shares(&self, credit: i64, amount: MicroUsd, other: MicroUsd) -> Vec<GrantShare> {
        let own = self.get(credit).map_or(MicroUsd::ZERO, Grant::unpinned).min(amount);
        // Cannot overflow: all are at least zero.
        let beyond = MicroUsd::new((amount.get() - own.get()).saturating_sub(other.get()).max(0));
        let others = self.0.iter().filter(|grant| grant.sequence != credit);
        let mut shares = first(own, [(credit, own)]);
        shares.extend(first(beyond, others.map(|grant| (grant.sequence, grant.unpinned()))));
        shares
    }

    /// When the first of them lapses in part or whole, if that is not later than a time.
    pub(super) fn next_lapse(&self, until: Timestamp) -> Option<Timestamp> {
        self.next_expiry().filter(|time| *time <= until)
    }

    /// When the first of those expires that are not pinned as a whole.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.0.iter().find(|grant| grant.unpinned() > MicroUsd::ZERO).map(|grant| grant.expire_time)
    }

    /// How many of them have not expired, spent or not.
    pub(super) fn count_ahead(&self, time: Timestamp) -> usize {
        self.0.iter().filter(|grant| !grant.has_expired(time)).count()
    }

    /// Sums over them, as they stand at a time.
    #[must_use]
    pub fn totals(&self, time: Timestamp) -> GrantTotals {
        let mut totals = GrantTotals::default();
        for grant in &self.0 {
            let sum = if grant.has_expired(time) { &mut totals.lapsing } else { &mut totals.granted };
            *sum = MicroUsd::new(sum.get() + grant.unpinned().get());
            totals.remaining = MicroUsd::new(totals.remaining.get() + grant.remaining.get());
        }
        totals
    }

    /// Changes them by an entry, and tells how. Sums cannot overflow: they are parts of what is granted.
    pub(super) fn apply(&mut self, step: GrantStep, of: StepOf) -> GrantMoves {
        let GrantStep { opens, reverses, spends, frees, draws, unwinds, pins, lapses } = step;
        if let Some(expire_time) = opens {
            self.put(Grant::opened(of.sequence, of.amount, expire_time));
        }
        if let Some((sequence, amount)) = reverses {
            self.change(&[GrantShare { sequence, amount }], |grant, amount| {
                grant.reversed = sum(grant.reversed, amount);
            });
        }
        self.change(&spends, |grant, amount| {
            grant.pinned = less(grant.pinned, amount);
            grant.remaining = less(grant.remaining, amount);
        });
        self.change(&frees, |grant, amount| grant.pinned = less(grant.pinned, amount));
        self.change(&draws, |grant, amount| grant.remaining = less(grant.remaining, amount));
        self.change(&unwinds, |grant, amount| grant.remaining = sum(grant.remaining, amount));
        self.change(&pins, |grant, amount| grant.pinned = sum(grant.pinned, amount));
        let mut moves = GrantMoves::default();
        self.convert_what_is_reversed(&mut moves);
        if lapses {
            self.lapse(of.time, &mut moves);
        }
        self.convert_beside_debt(of, &unwinds, &mut moves);
        for pin in &pins {
            add_share(&mut moves.pins, pin.sequence, pin.amount);
        }
        for pin in spends.iter().chain(&frees) {
            add_share(&mut moves.pins, pin.sequence, less(MicroUsd::ZERO, pin.amount));
        }
        moves.draws = joined([spends, draws].concat());
        moves.unwinds = unwinds;
        moves
    }

    /// No grant has more unpinned than is left of its credit.
    fn convert_what_is_reversed(&mut self, moves: &mut GrantMoves) {
        for grant in &mut self.0 {
            grant.convert(less(grant.unpinned(), grant.left()), moves);
        }
    }

    /// What is not pinned of expired grants goes.
    fn lapse(&mut self, time: Timestamp, moves: &mut GrantMoves) {
        for grant in self.0.iter_mut().filter(|grant| grant.has_expired(time)) {
            let amount = grant.unpinned();
            grant.remaining = less(grant.remaining, amount);
            grant.lapsed = sum(grant.lapsed, amount);
            add_share(&mut moves.lapses, grant.sequence, amount);
        }
    }

    /// Not more is granted than is available: first of what has come back, in that order, then in the order of spending.
    fn convert_beside_debt(&mut self, of: StepOf, unwinds: &[GrantShare], moves: &mut GrantMoves) {
        let GrantTotals { granted, lapsing, .. } = self.totals(of.time);
        let available = of.unheld.get().saturating_sub(lapsing.get()).max(0);
        let mut excess = MicroUsd::new(granted.get().saturating_sub(available).max(0));
        let in_order: Vec<i64> = unwinds
            .iter()
            .map(|share| share.sequence)
            .chain(self.0.iter().map(|grant| grant.sequence))
            .collect();
        for sequence in in_order {
            let Some(grant) = self.get_mut(sequence).filter(|grant| !grant.has_expired(of.time)) else {
                continue;
            };
            let amount = grant.unpinned().min(excess);
            grant.convert(amount, moves);
            excess = less(excess, amount);
        }
    }

    fn change(&mut self, shares: &[GrantShare], change: impl Fn(&mut Grant, MicroUsd)) {
        for share in shares {
            if let Some(grant) = self.get_mut(share.sequence) {
                change(grant, share.amount);
            }
        }
    }
}

impl Grant {
    fn opened(sequence: i64, amount: MicroUsd, expire_time: Timestamp) -> Self {
        let zero = MicroUsd::ZERO;
        Self { sequence, amount, remaining: amount, pinned: zero, lapsed: zero, reversed: zero, expire_time }
    }

    /// Makes so much of it other money, unless that is less than nothing.
    fn convert(&mut self, amount: MicroUsd, moves: &mut GrantMoves) {
        if amount > MicroUsd::ZERO {
            self.remaining = less(self.remaining, amount);
            add_share(&mut moves.converted, self.sequence, amount);
        }
    }
}

/// The first so much of some shares.
pub(super) fn first_of(shares: &[GrantShare], amount: MicroUsd) -> Vec<GrantShare> {
    first(amount, shares.iter().map(|share| (share.sequence, share.amount)))
}

/// The same shares in the same order, where those of one grant that follow each other are one. Others stay apart: what was taken
/// last comes back first.
fn joined(shares: Vec<GrantShare>) -> Vec<GrantShare> {
    let mut joined: Vec<GrantShare> = Vec::with_capacity(shares.len());
    for share in shares {
        match joined.last_mut() {
            Some(last) if last.sequence == share.sequence => last.amount = sum(last.amount, share.amount),
            Some(_) | None => joined.push(share),
        }
    }
    joined
}

fn first(amount: MicroUsd, sums: impl IntoIterator<Item = (i64, MicroUsd)>) -> Vec<GrantShare> {
    let mut left = amount;
    let take = |(sequence, sum): (i64, MicroUsd)| {
        let amount = sum.min(left);
        left = less(left, amount);
        GrantShare { sequence, amount }
    };
    sums.into_iter().map(take).filter(|share| share.amount > MicroUsd::ZERO).collect()
}

fn sum(one: MicroUsd, other: MicroUsd) -> MicroUsd {
    MicroUsd::new(one.get() + other.get())
}

fn less(one: MicroUsd, other: MicroUsd) -> MicroUsd {
    MicroUsd::new(one.get() - other.get())
}
