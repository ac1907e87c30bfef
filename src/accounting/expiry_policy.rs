//! What becomes of a hold when its lease expires.

/// What becomes of the money that a reservation still holds when its lease expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ExpiryPolicy {
    /// It is freed.
    #[default]
    Release,
    /// It is charged: the work was dispatched, and nobody has said that it was not done.
    Capture,
}

impl ExpiryPolicy {
    /// Every policy, in the order of the numbers.
    pub const ALL: [Self; 2] = [Self::Release, Self::Capture];

    /// The number of the policy, in SQL and in the proto.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Release => 1,
            Self::Capture => 2,
        }
    }

    /// The policy with a number, or `None` if there is none.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.number() == number)
    }

    /// The name of the policy, as in the proto without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "RELEASE",
            Self::Capture => "CAPTURE",
        }
    }
}
