//! Arbitrary requests, names and credentials files: nothing panics, and what is accepted is what the contract says.

use billing::{
    access::Credentials,
    accounting::{AccountId, Amount, Command, ExternalId, ExternalIds, IdempotencyKey, Invalid, Operation},
    grpc::proto::{
        AdminCreditRequest, CaptureRequest, ChargeRequest, CreditRequest, ExtendReservationRequest, Leg,
        RefundRequest, ReleaseRequest, ReserveRequest, ReverseRequest, SetAccountRequest, WithdrawRequest,
        refund_request::Charge, reverse_request::Credit,
    },
};
use fastrand::Rng;
use prost::Message;
use prost_types::{Duration as Ttl, Timestamp};

use crate::support::cases::{bytes, for_many, mutated, text};

type Metadata = std::collections::BTreeMap<String, String>;

/// Words that are no name of one operation, written out from the documentation of the contract and of the system replaced.
const GENERIC: &str = "admin_reward charge_refund debit default erasure_forfeit idempotency_key invite key migrate:in \
    migrate:out migration none null overage payout platform_fee provider_floor_draw reservation \
    reservation_extra_refund reservation_refund stripe_payout stripe undefined unknown withdrawal \
    credit charge refund admincredit reserve capture release extendreservation extend_reservation \
    stripe_deposit deposit earning referral_reward invite_credit admin_credit extend expire account_change \
    setaccount set_account reverse withdraw reversal";

/// The documented rule of every identifier: visible ASCII characters, at least one.
fn is_name(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
}

/// The documented rule of a key.
fn is_key(text: &str, account: &str) -> bool {
    let word = text.to_lowercase();
    let word = word.strip_prefix("entry_type_").unwrap_or(&word);
    is_name(text, 255)
        && !text.starts_with("billing/")
        && !GENERIC.split_whitespace().any(|generic| generic == word)
        && word != account.to_lowercase()
        && text != format!("reserve:{account}")
}

fn is_text(text: &str, most: usize) -> bool {
    text.len() <= most && !text.contains('\0')
}

#[test]
fn a_name_is_accepted_exactly_when_its_rule_says_so() {
    for_many("names", |random| {
        let (account, key) = (name(random), name(random));
        let account_id = AccountId::parse("account_id", &account);
        assert_eq!(account_id.is_ok(), is_name(&account, 128), "{account:?}");
        assert_eq!(ExternalId::parse("external_id", &key).is_ok(), is_name(&key, 255), "{key:?}");
        assert_eq!(IdempotencyKey::parse_of_reservation(&key).is_ok(), is_name(&key, 255), "{key:?}");
        if let Ok(account_id) = account_id {
            let parsed = IdempotencyKey::parse_of_operation(&key);
            let accepted = parsed.and_then(|key| key.must_be_specific(&account_id)).is_ok();
            assert_eq!(accepted, is_key(&key, &account), "{key:?} in {account:?}");
        }
    });
}

#[test]
fn names_of_a_payment_are_accepted_exactly_when_their_rule_says_so() {
    for_many("names of payments", |random| {
        let names = names(random);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        let is_allowed =
            names.len() <= 4 && distinct.len() == names.len() && names.iter().all(|name| is_name(name, 255));
        assert_eq!(ExternalIds::parse(&names).is_ok(), is_allowed, "{names:?}");
    });
}

/// A decision about an account, by the rule of each of its fields.
#[test]
fn a_decision_is_accepted_exactly_when_its_rules_say_so() {
    for_many("decisions", |random| {
        let request = SetAccountRequest::random(random);
        let SetAccountRequest { state, debt_limit_micro_usd, forfeit_micro_usd, .. } = request;
        let is_decision = (0..=3).contains(&state)
            && (state != 0 || debt_limit_micro_usd.is_some())
            && debt_limit_micro_usd.is_none_or(|limit| limit >= -1)
            && (state == 3 || forfeit_micro_usd.is_none());
        let is_said = |text: &str, most: usize| is_text(text, most) && !text.trim().is_empty();
        let is_note =
            |(name, value): (&String, &String)| !name.is_empty() && is_text(name, 64) && is_text(value, 512);
        let is_allowed = is_decision
            && is_said(&request.actor, 255)
            && is_said(&request.reason, 1_024)
            && is_text(&request.reference, 1_024)
            && request.metadata.len() <= 50
            && request.metadata.iter().all(is_note)
            && is_name(&request.account_id, 128)
            && is_name(&request.idempotency_key, 255)
            && !request.idempotency_key.starts_with("billing/");
        assert_eq!(Command::try_from(request.clone()).is_ok(), is_allowed, "{request:?}");
    });
}

/// A request that can be made up, and changed in one field.
trait Request: Message + Default + Clone + PartialEq + std::fmt::Debug {
    fn random(random: &mut Rng) -> Self;
    fn change(&mut self, random: &mut Rng);
    /// The same without its names, and with only one way to say each thing.
    fn meaning(&self) -> Self;
}

macro_rules! requests {
    ($($request:ident { $($field:ident: $kind:ident),+ } $(with $normal:expr)?;)+) => {
        $(impl Request for $request {
            fn random(random: &mut Rng) -> Self {
                Self { $($field: $kind(random)),+ }
            }
            fn change(&mut self, random: &mut Rng) {
                let fields = [$(stringify!($field)),+];
                let field = fields[random.usize(..fields.len())];
                $(if field == stringify!($field) {
                    self.$field = $kind(random);
                })+
            }
            fn meaning(&self) -> Self {
                let request = self.clone();
                $(let request = $normal(request);)?
                Self { idempotency_key: String::new(), account_id: String::new(), ..request }
            }
        })+

        #[test]
        fn what_is_accepted_of_arbitrary_requests_keeps_to_the_contract() {
            for_many("requests", |random| {
                // One kind after the other, so that a seed is one case.
                let kinds: &[fn(&mut Rng)] = &[$(check::<$request>),+];
                kinds[random.usize(..kinds.len())](random);
            });
        }

        #[test]
        fn arbitrary_bytes_are_a_request_or_none_and_never_a_panic() {
            for_many("bytes", |random| {
                let (arbitrary, kinds) = (bytes(random, 200), [$(of_bytes::<$request> as fn(&[u8])),+]);
                kinds[random.usize(..kinds.len())](&arbitrary);
            });
        }
    };
}

requests! {
    CreditRequest {
        idempotency_key: name, account_id: name, amount_micro_usd: amount, entry_type: number, external_ids: names,
        reference: note, metadata: notes, expire_time: time
    } with |request: CreditRequest| CreditRequest {
        external_ids: sorted(request.external_ids),
        expire_time: whole_micros_of(request.expire_time),
        ..request
    };
    ChargeRequest {
        idempotency_key: name, account_id: name, amount_micro_usd: amount, reference: note, metadata: notes,
        shortfall_policy: number, legs: legs
    } with |request: ChargeRequest| {
        ChargeRequest { shortfall_policy: request.shortfall_policy.max(1), ..request }
    };
    RefundRequest {
        idempotency_key: name, account_id: name, amount_micro_usd: amount, reference: note, metadata: notes,
        charge: charge, legs: number
    };
    AdminCreditRequest {
        idempotency_key: name, account_id: name, amount_micro_usd: amount, actor: note, reason: note,
        withdrawable: yes_or_no, reference: note, metadata: notes, expire_time: time
    } with |request: AdminCreditRequest| {
        AdminCreditRequest { expire_time: whole_micros_of(request.expire_time), ..request }
    };
    ReserveRequest {
        idempotency_key: name, account_id: name, amount_micro_usd: amount, ttl: ttl, reference: note,
        metadata: notes, expiry_policy: number
    } with |request: ReserveRequest| {
        let expiry_policy = request.expiry_policy.max(1);
        ReserveRequest { ttl: whole_micros(request.ttl), expiry_policy, ..request }
    };
    CaptureRequest {
        idempotency_key: name, account_id: name, reservation_id: name, amount_micro_usd: amount,
        shortfall_policy: number, keep_open: yes_or_no, reference: note, metadata: notes, legs: legs
    } with |request: CaptureRequest| {
        CaptureRequest { shortfall_policy: request.shortfall_policy.max(1), ..request }
    };
    ReleaseRequest {
        idempotency_key: name, account_id: name, reservation_id: name, reference: note, metadata: notes
    };
    ExtendReservationRequest {
        idempotency_key: name, account_id: name, reservation_id: name, additional_amount_micro_usd: amount,
        ttl: ttl, reference: note, metadata: notes, expiry_policy: number
    } with |request: ExtendReservationRequest| {
        ExtendReservationRequest { ttl: whole_micros(request.ttl), ..request }
    };
    SetAccountRequest {
        idempotency_key: name, account_id: name, state: number, debt_limit_micro_usd: limit,
        forfeit_micro_usd: forfeit, actor: note, reason: note, reference: note, metadata: notes
    };
    ReverseRequest {
        idempotency_key: name, account_id: name, amount_micro_usd: amount, credit: credit, external_ids: names,
        reason: note, shortfall_policy: number, reference: note, metadata: notes
    } with |request: ReverseRequest| {
        let shortfall_policy = request.shortfall_policy.max(1);
        ReverseRequest { external_ids: sorted(request.external_ids), shortfall_policy, ..request }
    };
    WithdrawRequest {
        idempotency_key: name, account_id: name, amount_micro_usd: amount, external_ids: names, reference: note,
        metadata: notes
    } with |request: WithdrawRequest| WithdrawRequest { external_ids: sorted(request.external_ids), ..request };
}

fn name(random: &mut Rng) -> String {
    let words: Vec<&str> = GENERIC.split_whitespace().collect();
    let word = words[random.usize(..words.len())];
    match random.u8(0..32) {
        0 => text(random, 300),
        1 => "n".repeat(random.usize(126..=130)),
        2 => "n".repeat(random.usize(253..=257)),
        3 => word.to_owned(),
        4 => word.to_uppercase(),
        5 => format!("ENTRY_TYPE_{word}"),
        6 => format!("billing/{word}"),
        7 => format!("reserve:{}", random.u8(0..4)),
        8 => format!("{word}{}", random.u8(..)),
        9 => text(random, 3),
        _ => random.u8(0..4).to_string(),
    }
}

fn names(random: &mut Rng) -> Vec<String> {
    let most = if random.u8(0..16) == 0 { 6 } else { 3 };
    (0..random.usize(0..most)).map(|_| name(random)).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

fn amount(random: &mut Rng) -> i64 {
    let most = Amount::MAX.credited().get();
    match random.u8(0..16) {
        0 => random.i64(..),
        1 => random.i64(most - 1..=most + 1),
        2 => random.i64(-1..=1),
        _ => random.i64(1..=most),
    }
}

fn limit(random: &mut Rng) -> Option<i64> {
    match random.u8(0..16) {
        0 => Some(random.i64(..)),
        1..4 => Some(random.i64(-2..=1)),
        4..8 => Some(random.i64(0..=i64::MAX)),
        _ => None,
    }
}

fn forfeit(random: &mut Rng) -> Option<i64> {
    (random.u8(0..4) == 0).then(|| random.i64(..) >> random.u8(0..64))
}

fn note(random: &mut Rng) -> String {
    match random.u8(0..16) {
        0 => text(random, 40),
        1 => "r".repeat(random.usize(1_023..=1_025)),
        2 => "a".repeat(random.usize(254..=256)),
        3 => " ".repeat(random.usize(0..3)),
        _ => random.u8(..).to_string(),
    }
}

fn notes(random: &mut Rng) -> Metadata {
    let many = random.u8(0..64) == 0;
    let count = if many { random.usize(49..=52) } else { random.usize(0..3) };
    let value = |random: &mut Rng| match random.u8(0..32) {
        0 => "v".repeat(random.usize(511..=513)),
        1 => text(random, 20),
        _ => random.u8(0..3).to_string(),
    };
    let key = |random: &mut Rng, n: usize| match random.u8(0..64) {
        0 => "k".repeat(random.usize(63..=65)),
        1 => String::new(),
        _ => n.to_string(),
    };
    (0..count).map(|n| (key(random, n), value(random))).collect()
}

fn number(random: &mut Rng) -> i32 {
    if random.u8(0..16) == 0 { random.i32(..) } else { random.i32(-1..=7) }
}

fn yes_or_no(random: &mut Rng) -> bool {
    random.bool()
}

fn charge(random: &mut Rng) -> Option<Charge> {
    match random.u8(0..8) {
        0 => None,
        1 => Some(Charge::ChargeSequence(random.i64(..))),
        2..5 => Some(Charge::ChargeSequence(random.i64(0..5))),
        5 => Some(Charge::ChargeExternalId(name(random))),
        _ => Some(Charge::ChargeIdempotencyKey(name(random))),
    }
}

fn credit(random: &mut Rng) -> Option<Credit> {
    charge(random).map(|charge| match charge {
        Charge::ChargeSequence(sequence) => Credit::CreditSequence(sequence),
        Charge::ChargeIdempotencyKey(key) => Credit::CreditIdempotencyKey(key),
        Charge::ChargeExternalId(id) => Credit::CreditExternalId(id),
    })
}

fn legs(random: &mut Rng) -> Vec<Leg> {
    let count = if random.u8(0..4) == 0 { random.usize(0..10) } else { 0 };
    (0..count)
        .map(|_| Leg {
            account_id: name(random),
            amount_micro_usd: amount(random),
            entry_type: number(random),
            grants_withdrawable: yes_or_no(random),
        })
        .collect()
}

fn ttl(random: &mut Rng) -> Option<Ttl> {
    match random.u8(0..8) {
        0 => None,
        1 => Some(Ttl { seconds: random.i64(..), nanos: random.i32(..) }),
        _ => Some(Ttl { seconds: random.i64(0..3), nanos: random.i32(0..1_000_000_000) }),
    }
}

/// Mostly none.
fn time(random: &mut Rng) -> Option<Timestamp> {
    match random.u8(0..8) {
        0 => Some(Timestamp { seconds: random.i64(..), nanos: random.i32(..) }),
        1 => Some(Timestamp { seconds: random.i64(0..3), nanos: random.i32(0..1_000_000_000) }),
        _ => None,
    }
}

fn whole_micros_of(time: Option<Timestamp>) -> Option<Timestamp> {
    time.map(|time| Timestamp { nanos: time.nanos / 1_000 * 1_000, ..time })
}

fn whole_micros(ttl: Option<Ttl>) -> Option<Ttl> {
    ttl.map(|ttl| Ttl { nanos: ttl.nanos / 1_000 * 1_000, ..ttl })
}

/// One random request: made up, sometimes with its bytes changed on the way.
fn check<R: Request>(random: &mut Rng)
where
    Command: TryFrom<R, Error = Invalid>,
{
    let mut request = R::random(random);
    if random.u8(0..8) == 0 {
        let changed = mutated(random, request.encode_to_vec());
        request = R::decode(changed.as_slice()).unwrap_or(request);
    }
    let Ok(command) = Command::try_from(request.clone()) else { return };
    keeps_to_its_bounds(&command);
    let decoded = R::decode(request.encode_to_vec().as_slice()).unwrap();
    assert_eq!(Command::try_from(decoded).as_ref(), Ok(&command), "the same request is another command");

    let mut other = request.clone();
    other.change(random);
    let Ok(other_command) = Command::try_from(other.clone()) else { return };
    let is_the_same = request.meaning() == other.meaning();
    let has_the_same = command.fingerprint() == other_command.fingerprint();
    assert_eq!(is_the_same, has_the_same, "{request:?} and {other:?}");
    let reused = command.fingerprint().reused_by(other_command.fingerprint());
    assert_eq!(reused.fields.is_empty(), is_the_same, "{reused:?}");
}

fn of_bytes<R: Request>(bytes: &[u8])
where
    Command: TryFrom<R, Error = Invalid>,
{
    if let Ok(command) =
        R::decode(bytes).map_err(drop).and_then(|request| Command::try_from(request).map_err(drop))
    {
        keeps_to_its_bounds(&command);
    }
}

/// What the contract says of every field, once more.
fn keeps_to_its_bounds(command: &Command) {
    let (account, key) = (command.account_id().as_str(), command.key().as_str());
    assert!(is_name(account, 128) && is_name(key, 255) && !key.starts_with("billing/"), "{command:?}");
    assert!(is_text(command.note().reference.as_str(), 1_024), "{command:?}");
    let metadata = &command.note().metadata;
    let is_note =
        |(name, value): (&String, &String)| !name.is_empty() && is_text(name, 64) && is_text(value, 512);
    assert!(metadata.len() <= 50 && metadata.iter().all(is_note), "{command:?}");
    assert!(command.references().ttl.is_none_or(|ttl| ttl.micros() > 0), "{command:?}");
    let amount = match command.operation() {
        Operation::Credit(credit) => Some(credit.amount()),
        Operation::Charge(charge) => Some(charge.amount),
        Operation::Refund(refund) => Some(refund.amount),
        Operation::AdminCredit(grant) => {
            let (actor, reason) = (grant.actor().as_str(), grant.reason().as_str());
            assert!(is_text(actor, 255) && is_text(reason, 1_024), "{command:?}");
            assert!(!actor.trim().is_empty() && !reason.trim().is_empty(), "{command:?}");
            Some(grant.amount())
        }
        Operation::Reserve(reserve) => Some(reserve.amount),
        Operation::Capture(capture) => Some(capture.amount),
        Operation::Extend(extend) => extend.additional(),
        Operation::Reverse(reverse) => {
            assert!(
                reverse.reason.as_ref().is_none_or(|reason| is_text(reason.as_str(), 1_024)),
                "{command:?}"
            );
            Some(reverse.amount)
        }
        Operation::Withdraw(withdraw) => Some(withdraw.amount),
        Operation::Release(_) | Operation::SetAccount(_) => None,
        Operation::Expire(_) => panic!("no caller can ask for {command:?}"),
    };
    let is_amount = |amount: Amount| (1..=1_000_000_000_000_000).contains(&amount.credited().get());
    assert!(amount.is_none_or(is_amount), "{command:?}");
}

#[test]
fn a_credentials_file_is_understood_or_refused_and_its_secrets_are_never_quoted() {
    for_many("credentials files", |random| {
        let token = format!("billing_{:064x}", random.u128(..))[..51].to_owned();
        let hash = format!("{:064x}", random.u128(1 << 100..));
        let sha256 = format!("sha256:{hash}");
        let arbitrary = text(random, 5);
        // A secret may stand where none belongs: two columns are easily taken for each other.
        let columns = [
            ["web", "job", &token, &hash],
            ["reader", "admin,coordinator", "king", &token],
            [&sha256, &token, "dns:web", &arbitrary],
        ];
        let mut file = String::new();
        for _ in 0..random.usize(0..5) {
            for column in columns {
                file += column[random.usize(..4).min(random.usize(..4))];
                file += if random.u8(0..32) == 0 { "" } else { " " };
            }
            file += if random.u8(0..32) == 0 { "#" } else { "\n" };
        }
        if let (_, Some(error)) = Credentials::parse(file.as_bytes()) {
            let said = format!("{error} {error:?}");
            for secret in [&token[8..], &hash[32..]] {
                assert!(!said.contains(secret), "{said}\n{file}");
            }
        }
    });
}
