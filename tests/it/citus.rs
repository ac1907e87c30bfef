//! Books on the nodes of Citus, where that is installed: the same answers, and what happens when a node dies or a book moves.

use std::{
    collections::BTreeMap,
    env,
    ops::RangeBounds,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use billing::{accounting::Outcome, ledger::Ledger};
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::Code;

use crate::{
    books::{BOOKS, account_in},
    concurrency::credit_command,
    ledger_properties::check_cases,
    same_answers::tell_the_same,
    support::{
        PostBatch as _,
        book::limits,
        citus::{Nodes, is_available},
        process::{Process, billing},
        waiting::{PATIENCE, printed, run_within},
        *,
    },
};

/// How often two accounts on two nodes are credited with one payment at once.
const RACES: usize = 1_000;
/// How long all nodes are there, before one is killed.
const QUIET: Duration = Duration::from_secs(3);
/// How many times its quiet p99 the p99 of an account may be while another's node is away; and what it is at least held to be.
const SLOWER_MAX: u32 = 5;
const P99_LEAST: Duration = Duration::from_millis(20);

/// How long a node is away: `CITUS_AWAY_SECONDS`.
fn away() -> Duration {
    Duration::from_secs(env::var("CITUS_AWAY_SECONDS").map_or(6, |seconds| seconds.parse().unwrap()))
}

#[test]
fn every_answer_is_the_models_and_one_payment_is_credited_once_over_two_nodes() {
    let runtime = Runtime::new().unwrap();
    if !runtime.block_on(is_available()) {
        return;
    }
    let (nodes, book) = runtime.block_on(Nodes::with_books(BOOKS));
    check_cases(&runtime, &book);
    runtime.block_on(async {
        race_for_payments(&book).await;
        audit(&book).await;
    });
    drop(nodes);
}

/// Two accounts on two nodes are credited with the same payment at once, by way of two services.
async fn race_for_payments(book: &TestBook) {
    let connect = || async { Ledger::connect(&book.database_url(), 4, 2, limits()).await.unwrap() };
    let ledgers = [connect().await, connect().await];
    let accounts = [account_in(0), account_in(1)];
    for round in 0..RACES {
        let mut posted = JoinSet::new();
        for (ledger, account) in ledgers.iter().zip(&accounts) {
            let (ledger, payment) = (ledger.clone(), format!("race-{round}"));
            let command = credit_command(account, &payment, 1, Some(&payment));
            posted.spawn(async move { ledger.post_batch(&[command]).await.unwrap() });
        }
        let outcomes: Vec<Outcome> = posted.join_all().await.into_iter().flatten().collect();
        let applied = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied { .. })).count();
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Refused(_))).count();
        assert_eq!((applied, refused), (1, 1), "round {round}: {outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_takes_only_its_own_accounts_away_and_a_book_moves_under_load() {
    if !is_available().await {
        return;
    }
    let (mut nodes, book) = Nodes::with_books(BOOKS).await;
    let service = Process::serve(&["--database-url", &book.url]);
    let on_dead_node = books_of(&book, &nodes.name(1)).await;
    assert!((1..BOOKS).contains(&on_dead_node.len()), "{on_dead_node:?}");

    let is_over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for number in 0..BOOKS {
        let account = account_in(number);
        callers.spawn(call(service.client().await, account, number, Arc::clone(&is_over)));
    }
    sleep(QUIET).await;
    nodes.kill(1);
    sleep(away()).await;
    nodes.start(1).await;
    sleep(Duration::from_secs(4)).await; // what was in doubt is settled, and sessions are found again
    let (moved, target) = (format!("book_{:02}", on_dead_node[0]), nodes.name(2));
    printed(run_within(
        PATIENCE,
        Process::command().args(["books", "move", &moved, &target]).args(["--database-url", &book.url]),
    ));
    sleep(Duration::from_secs(1)).await;
    is_over.store(true, Ordering::Relaxed);
    let told: BTreeMap<usize, Told> = callers.join_all().await.into_iter().collect();
    for (number, told) in &told {
        let Told { answered, unavailable, others, recovered, .. } = told;
        let (quiet, meanwhile) = (told.p99(..QUIET), told.p99(QUIET..QUIET + away()));
        println!(
            "book {number}: {answered} answered, {unavailable} unavailable; p99 {quiet:?}, then {meanwhile:?}"
        );
        assert_eq!(others, &[], "book {number}");
        assert!(*answered > 10 && *recovered, "book {number} was not served");
        let is_away = on_dead_node.contains(number);
        assert_eq!(*unavailable > 0, is_away, "book {number}: {unavailable}");
        assert!(is_away || meanwhile <= quiet.max(P99_LEAST) * SLOWER_MAX, "book {number}: {meanwhile:?}");
    }
    assert!(books_of(&book, &target).await.contains(&on_dead_node[0]));
    audit(&book).await;
}

/// The numbers of the books on a node.
async fn books_of(book: &TestBook, node: &str) -> Vec<usize> {
    let listed = printed(billing(&["books", "--database-url", &book.url]).await);
    let on_node = listed.lines().filter(|line| line.contains(node));
    on_node.map(|line| line[5..7].parse().unwrap()).collect()
}

/// What a caller was told.
#[derive(Debug, Default)]
struct Told {
    answered: usize,
    unavailable: usize,
    /// Codes other than UNAVAILABLE, and than ABORTED for a row that is in doubt.
    others: Vec<Code>,
    /// When each answered call began, since the first, and how long it took.
    took: Vec<(Duration, Duration)>,
    /// Whether the last call was answered.
    recovered: bool,
}

impl Told {
    /// The p99 of the calls that began in some time.
    fn p99(&self, time: impl RangeBounds<Duration>) -> Duration {
        let took = self.took.iter().filter(|(began, _)| time.contains(began));
        let mut took: Vec<Duration> = took.map(|(_, took)| *took).collect();
        took.sort_unstable();
        took.get(took.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
    }
}

/// Credits one account until it is told to stop. Without external ids: their names are spread over all nodes.
async fn call(mut client: Client, account: String, book: usize, is_over: Arc<AtomicBool>) -> (usize, Told) {
    let (mut told, first) = (Told::default(), Instant::now());
    for n in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{account}-{n}");
        let began = Instant::now();
        let answer = client.credit(deposit(&account, &key, 1)).await;
        told.recovered = answer.is_ok();
        if told.recovered {
            told.took.push((began - first, began.elapsed()));
        }
        match answer.map_err(|status| status.code()) {
            Ok(_) => told.answered += 1,
            Err(Code::Unavailable | Code::Aborted) => told.unavailable += 1,
            Err(other) => told.others.push(other),
        }
    }
    (book, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_told_the_same_as_by_plain_postgresql() {
    if !is_available().await {
        return;
    }
    let (_nodes, on_nodes) = Nodes::with_books(BOOKS).await;
    tell_the_same(&TestBook::with_books(1).await, &on_nodes).await;
    audit(&on_nodes).await;
}

/// A ledger with one book, on plain PostgreSQL, is split over the nodes.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_with_one_book_is_split_over_the_nodes() {
    if !is_available().await {
        return;
    }
    let (_nodes, new) = Nodes::with_books(BOOKS).await;
    let old = TestBook::with_books(1).await;
    crate::random_books::fill(&old, "one").await;
    let mut split = Process::command();
    split.args(["split", "--from", &old.url, "--database-url", &new.url, "--close"]).stdin(Stdio::null());
    let said = printed(run_within(PATIENCE, &mut split));
    assert!(said.contains("closed: "), "{said}");
    assert_eq!(audit(&new).await, audit(&old).await);
}

/// What an audit says, but for how long it took.
async fn audit(book: &TestBook) -> Vec<String> {
    let said = printed(billing(&["audit", "--database-url", &book.url]).await);
    assert!(said.starts_with("Everything adds up."), "{said}");
    said.lines().take(3).map(str::to_owned).collect()
}
