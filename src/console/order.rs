//! What an operator orders: the fields of a form, and the request that they make. The form's key goes with it, so however often
//! it is sent, it is done once.

use serde::Deserialize;

use super::{
    action::Action,
    money,
    service::{Service, ServiceError},
};
use crate::grpc::proto::{
    Account, AccountState, AdminCreditRequest, Entry, LegsPolicy, RefundRequest, ReverseRequest,
    SetAccountRequest, ShortfallPolicy, refund_request::Charge, reverse_request::Credit,
};

/// The fields of a form as they were typed. An account's forfeit is set when the form is opened: nobody closes an account over
/// money that came after they had looked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Draft {
    pub(super) account: String,
    pub(super) key: String,
    pub(super) sequence: String,
    pub(super) amount: String,
    pub(super) reason: String,
    pub(super) withdrawable: String,
    pub(super) shortfall: String,
    pub(super) legs: String,
    pub(super) forfeit: String,
    /// Whether the fields are to be looked at once more: anything but nothing.
    pub(super) review: String,
    pub(super) form_token: String,
}

/// Which field is wrong, and what it must be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) field: &'static str,
    pub(super) why: String,
}

/// The request that a form makes.
pub(super) enum Order {
    Grant(AdminCreditRequest),
    Refund(RefundRequest),
    Reverse(ReverseRequest),
    Decide(SetAccountRequest),
}

/// What an order was answered.
pub(super) struct Done {
    pub(super) replayed: bool,
}

/// What an account is after an order, as far as that can be told before.
pub(super) struct After {
    pub(super) posted: i128,
    pub(super) state: i32,
    pub(super) debt_limit: Option<i64>,
}

fn wrong(field: &'static str, why: impl Into<String>) -> Wrong {
    Wrong { field, why: why.into() }
}

impl Order {
    /// The request of a form that an operator has filled in.
    pub(super) fn new(action: Action, draft: &Draft, actor: &str) -> Result<Self, Wrong> {
        let decision = |state: AccountState| -> Result<SetAccountRequest, Wrong> {
            Ok(SetAccountRequest { state: state.into(), ..decision(draft, actor)? })
        };
        Ok(match action {
            Action::Grant => Self::Grant(grant(draft, actor)?),
            Action::Refund => Self::Refund(refund(draft)?),
            Action::Reverse => Self::Reverse(reversal(draft)?),
            Action::Freeze => Self::Decide(decision(AccountState::Frozen)?),
            Action::Reopen => Self::Decide(decision(AccountState::Active)?),
            Action::Close => {
                let forfeit = draft
                    .forfeit
                    .parse()
                    .map_err(|_| wrong("forfeit", "must be what the form was opened with"))?;
                Self::Decide(SetAccountRequest {
                    forfeit_micro_usd: Some(forfeit),
                    ..decision(AccountState::Closed)?
                })
            }
            Action::DebtLimit => Self::Decide(SetAccountRequest {
                debt_limit_micro_usd: Some(debt_limit(&draft.amount)?),
                ..decision(AccountState::Unspecified)?
            }),
        })
    }

    /// Has it done.
    pub(super) async fn send(self, service: &Service) -> Result<Done, ServiceError> {
        let replayed = match self {
            Self::Grant(request) => service.admin_credit(request).await?.replayed,
            Self::Refund(request) => service.refund(request).await?.replayed,
            Self::Reverse(request) => service.reverse(request).await?.replayed,
            Self::Decide(request) => service.set_account(request).await?.replayed,
        };
        Ok(Done { replayed })
    }

    /// What an account is after it.
    pub(super) fn after(&self, account: &Account) -> After {
        let balance = account.balance.unwrap_or_default();
        let posted = i128::from(balance.posted_micro_usd);
        let unchanged = After { posted, state: account.state, debt_limit: account.debt_limit_micro_usd };
        match self {
            Self::Grant(request) => {
                After { posted: posted + i128::from(request.amount_micro_usd), ..unchanged }
            }
            Self::Refund(request) => {
                After { posted: posted + i128::from(request.amount_micro_usd), ..unchanged }
            }
            Self::Reverse(request) => {
                let taken = match request.shortfall_policy() {
                    ShortfallPolicy::CollectAvailable => {
                        request.amount_micro_usd.min(balance.available_micro_usd.max(0))
                    }
                    ShortfallPolicy::Unspecified | ShortfallPolicy::Reject | ShortfallPolicy::AllowDebt => {
                        request.amount_micro_usd
                    }
                };
                After { posted: posted - i128::from(taken), ..unchanged }
            }
            Self::Decide(request) => After {
                posted: posted - i128::from(request.forfeit_micro_usd.unwrap_or_default()),
                state: if request.state() == AccountState::Unspecified {
                    account.state
                } else {
                    request.state
                },
                debt_limit: match request.debt_limit_micro_usd {
                    Some(-1) => None,
                    Some(limit) => Some(limit),
                    None => account.debt_limit_micro_usd,
                },
            },
        }
    }
}

/// What is left to be undone of an entry, for the form to begin with.
pub(super) fn left_of(entry: &Entry, undone_micro_usd: i64) -> String {
    money::plain(entry.amount_micro_usd.unsigned_abs().saturating_sub(undone_micro_usd.unsigned_abs()))
}

fn grant(draft: &Draft, actor: &str) -> Result<AdminCreditRequest, Wrong> {
    Ok(AdminCreditRequest {
        idempotency_key: draft.key.clone(),
        account_id: draft.account.clone(),
        amount_micro_usd: amount(&draft.amount)?,
        actor: actor.to_owned(),
        reason: reason(draft)?,
        withdrawable: !draft.withdrawable.is_empty(),
        ..Default::default()
    })
}

/// The refund of an entry. Its reason is its reference: the contract has no other place for it.
fn refund(draft: &Draft) -> Result<RefundRequest, Wrong> {
    let legs = match draft.legs.as_str() {
        "" => LegsPolicy::Unspecified,
        name => LegsPolicy::from_str_name(name)
            .ok_or_else(|| wrong("legs", "must say what becomes of the legs"))?,
    };
    Ok(RefundRequest {
        idempotency_key: draft.key.clone(),
        account_id: draft.account.clone(),
        amount_micro_usd: amount(&draft.amount)?,
        charge: Some(Charge::ChargeSequence(sequence(draft)?)),
        reference: reason(draft)?,
        legs: legs.into(),
        ..Default::default()
    })
}

fn reversal(draft: &Draft) -> Result<ReverseRequest, Wrong> {
    let shortfall = ShortfallPolicy::from_str_name(&draft.shortfall);
    let shortfall =
        shortfall.ok_or_else(|| wrong("shortfall", "must say what becomes of what is not available"))?;
    Ok(ReverseRequest {
        idempotency_key: draft.key.clone(),
        account_id: draft.account.clone(),
        amount_micro_usd: amount(&draft.amount)?,
        credit: Some(Credit::CreditSequence(sequence(draft)?)),
        reason: reason(draft)?,
        shortfall_policy: shortfall.into(),
        ..Default::default()
    })
}

fn decision(draft: &Draft, actor: &str) -> Result<SetAccountRequest, Wrong> {
    Ok(SetAccountRequest {
        idempotency_key: draft.key.clone(),
        account_id: draft.account.clone(),
        actor: actor.to_owned(),
        reason: reason(draft)?,
        ..Default::default()
    })
}

fn amount(text: &str) -> Result<i64, Wrong> {
    match money::parse(text) {
        Ok(0) => Err(wrong("amount", "must be more than nothing")),
        Ok(micro_usd) => Ok(micro_usd),
        Err(why) => Err(wrong("amount", why)),
    }
}

/// A debt limit; −1, which takes it away, for none.
fn debt_limit(text: &str) -> Result<i64, Wrong> {
    if text.trim().is_empty() { Ok(-1) } else { money::parse(text).map_err(|why| wrong("amount", why)) }
}

fn reason(draft: &Draft) -> Result<String, Wrong> {
    // Browsers send line breaks as two characters.
    let reason = draft.reason.replace("\r\n", "\n");
    match reason.len() {
        _ if reason.trim().is_empty() => Err(wrong("reason", "is required: it is kept for ever")),
        length if length > 1_024 => {
            Err(wrong("reason", format!("must have at most 1,024 bytes, not {length}")))
        }
        _ => Ok(reason),
    }
}

fn sequence(draft: &Draft) -> Result<i64, Wrong> {
    draft.sequence.parse().map_err(|_| wrong("amount", "must be of an entry, which has a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::Balance;

    fn draft() -> Draft {
        Draft {
            account: "ann".into(),
            key: "console-1".into(),
            sequence: "3".into(),
            amount: "2.5".into(),
            reason: "goodwill\r\nafter an outage".into(),
            shortfall: "SHORTFALL_POLICY_COLLECT_AVAILABLE".into(),
            ..Default::default()
        }
    }

    fn account() -> Account {
        let balance =
            Balance { posted_micro_usd: 10_000_000, available_micro_usd: 1_000_000, ..Default::default() };
        Account { state: AccountState::Active.into(), balance: Some(balance), ..Default::default() }
    }

    fn after(action: Action, draft: &Draft) -> After {
        let Ok(order) = Order::new(action, draft, "ops") else { panic!("{action:?} is refused") };
        order.after(&account())
    }

    #[test]
    fn what_an_order_leads_to_is_told_before() {
        assert_eq!(after(Action::Grant, &draft()).posted, 12_500_000);
        assert_eq!(after(Action::Refund, &draft()).posted, 12_500_000);
        assert_eq!(after(Action::Reverse, &draft()).posted, 9_000_000, "no more than is available");
        let closed = after(Action::Close, &Draft { forfeit: "10000000".into(), ..draft() });
        assert_eq!((closed.posted, closed.state), (0, AccountState::Closed.into()));
        assert_eq!(after(Action::DebtLimit, &draft()).debt_limit, Some(2_500_000));
        assert_eq!(after(Action::DebtLimit, &Draft { amount: String::new(), ..draft() }).debt_limit, None);
        assert_eq!(after(Action::Freeze, &draft()).state, i32::from(AccountState::Frozen));
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        for (action, changed, field) in [
            (Action::Grant, Draft { amount: "0".into(), ..draft() }, "amount"),
            (Action::Grant, Draft { reason: " \r\n".into(), ..draft() }, "reason"),
            (Action::Grant, Draft { reason: "é".repeat(513), ..draft() }, "reason"),
            (Action::Reverse, Draft { shortfall: String::new(), ..draft() }, "shortfall"),
            (Action::Refund, Draft { legs: "SOME".into(), ..draft() }, "legs"),
            (Action::Close, draft(), "forfeit"),
        ] {
            let Err(wrong) = Order::new(action, &changed, "ops") else { panic!("{action:?} {changed:?}") };
            assert_eq!(wrong.field, field);
        }
    }

    #[test]
    fn a_reason_is_sent_with_the_line_breaks_that_were_typed() {
        let Ok(Order::Grant(request)) = Order::new(Action::Grant, &draft(), "ops") else {
            panic!("no grant")
        };
        assert_eq!(request.reason, "goodwill\nafter an outage");
    }
}
