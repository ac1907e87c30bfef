//! Every irregularity that an old history may have, in accounts of its own, and how many there are of each.

use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use fastrand::Rng;
use serde_json::{Value, json};

use super::old_coordinator::OldCoordinator;

/// When an irregular row was written, unless its time is what is irregular.
const TIME: &str = "2025-06-01 12:00:00+00";
/// A dollar, in micro-USD.
const USD: i64 = 1_000_000;

/// Writes rows that are given as a list of lists.
const INSERT_ROWS: &str = "
    INSERT INTO ledger_entries (id, account_id, entry_type, amount_micro_usd, balance_after, reference, created_at)
    SELECT coalesce((v->>0)::bigint, nextval('ledger_entries_id_seq')), v->>1, v->>2, (v->>3)::bigint, (v->>4)::bigint,
        v->>5, (v->>6)::timestamptz
    FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS t(v, place) ORDER BY place";
/// The same of balances.
const INSERT_BALANCES: &str = "
    INSERT INTO balances SELECT v->>0, (v->>1)::bigint, (v->>2)::bigint, (v->>3)::timestamptz
    FROM jsonb_array_elements($1::jsonb) AS t(v)";

/// How many irregularities were planted, of those that leave something to be counted in the book.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// Accounts that have rows or money.
    pub accounts: i64,
    /// Rows.
    pub rows: i64,
    /// Payments, each to be claimed once.
    pub sessions: i64,
    /// Stripe deposits of a payment that an earlier row has credited.
    pub repeated_deposits: i64,
    /// Stripe deposits that do not name their payment.
    pub nameless_deposits: i64,
    /// Accounts whose balance is not what their rows come to.
    pub differing_balances: i64,
    /// Accounts whose running balance leaves what 64 bits can hold.
    pub overflows: i64,
    /// Rows of a type that this ledger has not.
    pub other_types: i64,
    /// Rows written before 1970, or not yet.
    pub impossible_times: i64,
    /// Rows whose balance is not the sum of the rows before them, in the order of their ids.
    pub broken_balances_after: i64,
}

/// An account to be planted.
struct Account {
    id: String,
    rows: Vec<Row>,
    /// `None`: it has no balance at all.
    balance: Option<i64>,
    withdrawable: Option<i64>,
    updated_at: Option<&'static str>,
}

struct Row {
    /// `None`: the next one.
    id: Option<i64>,
    entry_type: String,
    amount: i64,
    /// `None`: the sum of the rows so far, if it fits.
    balance_after: Option<i64>,
    reference: Option<String>,
    time: String,
}

impl Account {
    /// One with nothing, but a balance of zero.
    fn new(id: &str) -> Self {
        let id = id.to_owned();
        Self { id, rows: Vec::new(), balance: Some(0), withdrawable: Some(0), updated_at: Some(TIME) }
    }

    /// With one more row, and a balance that includes it.
    fn row(mut self, entry_type: &str, amount: i64, reference: &str) -> Self {
        let (entry_type, reference) = (entry_type.to_owned(), Some(reference.to_owned()));
        let time = TIME.to_owned();
        self.rows.push(Row { id: None, entry_type, amount, balance_after: None, reference, time });
        let sum = self.rows.iter().try_fold(0_i64, |sum, row| sum.checked_add(row.amount));
        self.balance = sum;
        self
    }

    /// With the last row written at another time.
    fn at(self, time: &str) -> Self {
        self.last(|row| time.clone_into(&mut row.time))
    }

    fn last(mut self, change: impl FnOnce(&mut Row)) -> Self {
        change(self.rows.last_mut().unwrap());
        self
    }

    /// With another balance than its rows come to.
    fn with_balance(mut self, balance: Option<i64>) -> Self {
        self.balance = balance;
        self
    }
}

impl OldCoordinator {
    /// Plants every irregularity that can be imported.
    pub async fn plant(&self) -> Planted {
        let planted = Planted {
            sessions: 12,
            repeated_deposits: 9,
            nameless_deposits: 11,
            differing_balances: 11,
            overflows: 3,
            other_types: 27,
            impossible_times: 12,
            broken_balances_after: 6,
            ..Planted::default()
        };
        let accounts: Vec<Account> = [
            stripe_deposits(),
            balances(),
            balances_after(),
            amounts(),
            types(),
            references(),
            times(),
            withdrawables(),
            names(),
            ids(),
        ]
        .into_iter()
        .flatten()
        .collect();
        self.insert(&accounts).await;
        let is_opened = |account: &&Account| !account.rows.is_empty() || account.balance != Some(0);
        let count = |count: usize| i64::try_from(count).unwrap();
        Planted {
            accounts: count(accounts.iter().filter(is_opened).count()),
            rows: count(accounts.iter().map(|account| account.rows.len()).sum()),
            ..planted
        }
    }

    /// Plants accounts that cannot be named, and rows without what a row must have. Returns how many accounts cannot be imported.
    pub async fn plant_unnameable(&self) -> i64 {
        let too_long = "x".repeat(129);
        let names = ["", "with space", "tab\there", "счёт", "null\u{200b}", &too_long];
        let deposit = |id: &str| Account::new(id).row("deposit", 3 * USD, "").row("charge", -USD, "job");
        let mut accounts: Vec<Account> = names.into_iter().map(deposit).collect();
        accounts.push(Account::new("only money").with_balance(Some(5)));
        let nameable = ["no-type", "no-amount", "no-time"];
        accounts.extend(nameable.into_iter().map(deposit));
        self.insert(&accounts).await;
        self.run(
            "UPDATE ledger_entries SET entry_type = NULL WHERE account_id = 'no-type' AND amount_micro_usd < 0;
             UPDATE ledger_entries SET amount_micro_usd = NULL WHERE account_id = 'no-amount' AND amount_micro_usd < 0;
             UPDATE ledger_entries SET created_at = NULL WHERE account_id = 'no-time' AND amount_micro_usd < 0;
             INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after)
             VALUES (NULL, 'deposit', 1, 1)",
        )
        .await;
        i64::try_from(accounts.len() + 1).unwrap() // and the one without a name
    }

    /// Gives names to what [`Self::plant_unnameable`] has planted, and what a row must have to its rows.
    pub async fn mend_unnameable(&self) {
        let mend = "account_id = 'mended-' || left(md5(account_id), 8) WHERE account_id COLLATE \"C\" !~ '^[!-~]{1,128}$'";
        self.run(&format!(
            "UPDATE balances SET {mend};
             UPDATE ledger_entries SET {mend};
             UPDATE ledger_entries SET account_id = 'mended-nobody' WHERE account_id IS NULL;
             UPDATE ledger_entries SET entry_type = 'charge' WHERE entry_type IS NULL;
             UPDATE ledger_entries SET amount_micro_usd = -1000000 WHERE amount_micro_usd IS NULL;
             UPDATE ledger_entries SET created_at = '{TIME}' WHERE created_at IS NULL",
        ))
        .await;
    }

    async fn insert(&self, accounts: &[Account]) {
        let rows = accounts.iter().flat_map(|account| {
            account.rows.iter().zip(sums(account)).map(|(row, after)| {
                json!([row.id, account.id, row.entry_type, row.amount, after, row.reference, row.time])
            })
        });
        let balances = accounts.iter().filter(|account| account.balance.is_some());
        let balances = balances
            .map(|account| json!([account.id, account.balance, account.withdrawable, account.updated_at]));
        let mut connection = self.connect().await;
        for (sql, values) in [(INSERT_ROWS, rows.collect::<Value>()), (INSERT_BALANCES, balances.collect())] {
            let insert = diesel::sql_query(sql).bind::<Text, _>(values.to_string());
            insert.execute(&mut connection).await.unwrap();
        }
    }
}

/// The balance after each row: as the row says, or as the sum does; `None` where the sum does not fit.
fn sums(account: &Account) -> Vec<Option<i64>> {
    let mut sum = 0_i128;
    let after = |row: &Row| {
        sum += i128::from(row.amount);
        row.balance_after.or(i64::try_from(sum).ok())
    };
    account.rows.iter().map(after).collect()
}

/// Payments that were credited more than once, in one account and in two, and deposits of no payment.
fn stripe_deposits() -> Vec<Account> {
    let deposit =
        |account: Account, amount, reference: &str| account.row("stripe_deposit", amount, reference);
    let once = |id: &str, reference: &str| deposit(Account::new(id), 5 * USD, reference);
    let mut five = Account::new("stripe-five");
    for second in (1..=5).rev() {
        // The one that came first has the highest id.
        five = deposit(five, 5 * USD, "stripe:cs_test_five").at(&format!("2025-06-01 12:00:0{second}+00"));
    }
    let mut nameless = Account::new("stripe-nameless");
    let long = format!("stripe:{}", "x".repeat(256));
    let no_sessions =
        ["", "stripe:", "stripe", "stripe_deposit", "Stripe_Deposit", "deposit", "stripe:stripe_deposit"];
    let not_visible = ["cs with space", "stripe:счёт", "stripe:cs_line\n", &long];
    for reference in no_sessions.into_iter().chain(not_visible) {
        nameless = deposit(nameless, USD, reference);
    }
    let twice = once("stripe-twice", "stripe:cs_test_twice");
    vec![
        once("stripe-once", "stripe:cs_test_once").row("charge", -2 * USD, "reserve:stripe-once"),
        deposit(twice, 5 * USD, "stripe:cs_test_twice"),
        five,
        // In two accounts: whose came first has the higher id; then whose id is lower, at the same time.
        once("stripe-shared-late", "stripe:cs_test_shared").at("2025-06-01 12:00:01+00"),
        once("stripe-shared-early", "stripe:cs_test_shared"),
        once("stripe-tie-first", "stripe:cs_test_tie"),
        deposit(Account::new("stripe-tie-second"), 6 * USD, "stripe:cs_test_tie"),
        nameless,
        // The same payment without and with the prefix; and what looks like a prefix is part of others' names.
        once("stripe-bare", "cs_test_bare"),
        once("stripe-not-bare", "stripe:cs_test_bare").at("2025-06-01 12:00:01+00"),
        once("stripe-two-prefixes", "stripe:stripe:cs_test_1"),
        once("stripe-upper-case", "STRIPE:cs_test_1"),
        once("stripe-longest", &format!("stripe:{}", "y".repeat(255))),
        deposit(Account::new("stripe-negative"), -5 * USD, "stripe:cs_test_negative"),
        deposit(Account::new("stripe-zero"), 0, "stripe:cs_test_zero"),
        deposit(once("stripe-forms", "stripe:pi_1/*-+~"), USD, "stripe:cs_test_once")
            .at("2025-06-02 12:00:00+00"),
    ]
}

/// Balances that are not what the rows come to.
fn balances() -> Vec<Account> {
    let ten = |id: &str| Account::new(id).row("deposit", 10 * USD, "").row("charge", -4 * USD, "job-1");
    let money = |id: &str, balance| Account::new(id).with_balance(Some(balance));
    vec![
        ten("balance-above").with_balance(Some(7 * USD)),
        ten("balance-below").with_balance(Some(-1)),
        ten("balance-missing").with_balance(None),
        ten("balance-missing-zero").row("charge", -6 * USD, "job-2").with_balance(None),
        money("balance-only", 9 * USD),
        money("balance-only-below-zero", -9 * USD),
        money("balance-only-most", i64::MAX),
        Account { updated_at: None, ..money("balance-only-of-no-time", 1) },
        Account { updated_at: Some("infinity"), ..money("balance-only-of-the-future", 1) },
        money("balance-nothing", 0),
        // The difference itself does not fit into 64 bits.
        Account::new("balance-far").row("charge", i64::MIN, "job").with_balance(Some(5)),
    ]
}

/// Running balances that break, though their sum is right.
fn balances_after() -> Vec<Account> {
    let four = |id: &str| {
        (0..4).fold(Account::new(id), |account, n| account.row("deposit", 10, &format!("order-{n}")))
    };
    let mut broken = four("chain-broken");
    broken.rows[1].balance_after = Some(999);
    let mut shifted = four("chain-shifted");
    for (row, after) in shifted.rows.iter_mut().zip([110, 120, 130, 140]) {
        row.balance_after = Some(after);
    }
    let mut extreme = four("chain-extreme");
    extreme.rows[2].balance_after = Some(i64::MIN);
    vec![broken, shifted, extreme]
}

/// Amounts that this ledger takes from nobody.
fn amounts() -> Vec<Account> {
    let deposit = |id: &str, amount| Account::new(id).row("deposit", amount, "");
    vec![
        deposit("amount-zero", 0).row("charge", 0, "reserve:amount-zero").row(
            "refund",
            0,
            "reservation_refund",
        ),
        deposit("amount-large", 1_000_000_000_000_001),
        deposit("amount-most", i64::MAX),
        deposit("amount-least", i64::MIN),
        deposit("amount-whole-range", i64::MIN).row("deposit", i64::MAX, "").row("deposit", 1, ""),
        // As it is after the overflow; and with a balance that nothing explains.
        deposit("amount-overflow", i64::MAX)
            .row("deposit", 1, "")
            .row("deposit", 5, "")
            .with_balance(Some(6)),
        deposit("amount-overflow-twice", i64::MAX)
            .row("deposit", i64::MAX, "")
            .row("deposit", i64::MAX, "")
            .with_balance(Some(100)),
        // What would bring it back to zero does not fit into 64 bits.
        deposit("amount-underflow", i64::MIN).row("charge", -1, "job").with_balance(Some(-1)),
    ]
}

/// Every type of the old system, with the sign that it has and with the other; and types of nobody.
fn types() -> Vec<Account> {
    let ours = [
        ("deposit", 5),
        ("charge", -5),
        ("refund", 5),
        ("referral_reward", 5),
        ("invite_credit", 5),
        ("admin_credit", 5),
    ];
    let theirs = [
        ("admin_reward", 5),
        ("payout", 5),
        ("platform_fee", 5),
        ("provider_floor_draw", 5),
        ("withdrawal", -5),
        ("stripe_payout", 5),
        ("migration", -5),
        ("erasure_forfeit", -5),
    ];
    let other = [
        ("bonus", 5),
        ("penalty", -5),
        ("nothing", 0),
        ("", 5),
        ("CHARGE", -5),
        ("Deposit", 5),
        ("charge ", -5),
        ("reserve", -5),
        ("тип ✓", 5),
        ("a\tb\"c\\d\n", 5),
    ];
    let all = |id: &str, sign: i64, types: &[(&str, i64)]| {
        types
            .iter()
            .fold(Account::new(id), |account, (name, amount)| account.row(name, sign * amount, "type"))
    };
    vec![
        all("types-ours", 1, &ours),
        all("types-ours-wrong-sign", -1, &ours),
        all("types-theirs", 1, &theirs),
        all("types-theirs-wrong-sign", -1, &theirs[..6]),
        all("types-other", 1, &other),
    ]
}

/// References that are long, empty, missing, and hard to write down.
fn references() -> Vec<Account> {
    let long = |seed| {
        let mut random = Rng::with_seed(seed);
        (0..32 * 1_024).map(|_| random.alphanumeric()).collect::<String>()
    };
    let odd = [
        "счёт № 7",
        "two\nlines\r\n",
        "\ttab",
        "\"quotes\" and 'quotes'",
        "back\\slash",
        "\\N",
        "\\.",
        "{a,b}",
        "100 %s %d",
        " blanks ",
        "\u{1}\u{7f}",
        "🦀\u{200d}\u{202e}",
        "NULL",
        "'; DROP TABLE balances; --",
    ];
    let refund = |account: Account, reference: &str| account.row("refund", 1, reference);
    let missing = Account::new("references-missing").row("refund", 1, "").row("refund", 1, "");
    vec![
        (0..3).fold(Account::new("references-long"), |account, seed| refund(account, &long(seed))),
        odd.into_iter().fold(Account::new("references-odd"), refund),
        missing.last(|row| row.reference = None),
    ]
}

/// Times that were not, or are not yet.
fn times() -> Vec<Account> {
    let at = |id: &str, times: &[&str]| {
        times.iter().fold(Account::new(id), |account, time| account.row("deposit", 10, "").at(time))
    };
    vec![
        at(
            "times-before-1970",
            &["1969-12-31 23:59:59.999999+00", "1066-10-14", "0044-03-15 BC", "-infinity"],
        ),
        at(
            "times-of-the-future",
            &["2199-01-01", "infinity", "12026-01-01", "290000-12-31 23:59:59.999999+00"],
        ),
        at("times-mixed", &["infinity", "2025-07-01", "-infinity", "1970-01-01 00:00:00+00", "2199-01-01"]),
        at("times-of-the-future-differing", &["2199-01-01"]).with_balance(Some(1)),
        // Three moments to ask for.
        at(
            "times-known",
            &["2025-07-01 00:00:00+00", "2025-07-02 00:00:00.000001+00", "2025-07-03 00:00:00+00"],
        ),
    ]
}

/// Withdrawable figures that cannot be.
fn withdrawables() -> Vec<Account> {
    let ten = |id: &str| Account::new(id).row("payout", 10, "job");
    vec![
        Account { withdrawable: Some(11), ..ten("withdrawable-above") },
        Account { withdrawable: Some(-1), ..ten("withdrawable-below-zero") },
        Account { withdrawable: None, ..ten("withdrawable-missing") },
    ]
}

/// Names with each visible character of ASCII, some that mean something to somebody, and some that differ only by case.
fn names() -> Vec<Account> {
    let each = (b'!'..=b'~').map(|character| format!("name{}x", char::from(character)));
    let all: String = (b'!'..=b'~').map(char::from).collect();
    let meaning =
        ["\\N", "\\.", "NULL", "{}", "''", "\"\"", "--", "Case", "case", "CASE", "billing/import", &all];
    let longest = "z".repeat(128);
    let names = each.chain(meaning.into_iter().chain([longest.as_str()]).map(str::to_owned));
    names
        .map(|name| Account::new(&name).row("deposit", 7, "").row("charge", -3, &format!("reserve:{name}")))
        .collect()
}

/// Ids that no sequence gives.
fn ids() -> Vec<Account> {
    let with_id = |account: Account, id| account.row("deposit", 1, "").last(|row| row.id = Some(id));
    vec![[0, -5, i64::MAX, i64::MIN].into_iter().fold(Account::new("ids-odd"), with_id)]
}
