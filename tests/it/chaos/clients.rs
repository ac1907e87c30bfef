//! The callers: each asks for one operation after another, and again until it is answered; and looks at what there is.

use std::{
    collections::BTreeSet,
    iter, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use billing::grpc::proto::{self, get_operation_response};
use fastrand::Rng;
use tokio::{task::JoinSet, time::timeout};
use tonic::{Response, Status};

use super::{
    history::{Found, History, Seen},
    operations::{Accounts, changed},
    wording::{Outcome, Told, count_microseconds, failure, send, send_list, timed, timestamp},
};
use crate::{
    model::Call,
    support::{Client, connect_lazily},
};

/// How many callers there are.
const CLIENTS: usize = 12;
/// How long a caller thinks at most before it asks for the next operation, in milliseconds.
const PAUSE_MAX: u64 = 15;
/// One operation in eight is in a list: one time in so many a list is sent, of five operations on average.
const LIST_EVERY: u8 = 36;
/// How much later than its deadline a call that gRPC does not end is given up.
const PATIENCE: Duration = Duration::from_secs(1);
/// More than the entries of any account.
const PAGE_MAX: i32 = 1_000;

/// What the callers share.
#[derive(Debug)]
pub struct Load {
    /// Where the replicas are.
    pub urls: [String; 2],
    pub history: History,
    pub accounts: Accounts,
    /// Whether to begin no further operation.
    pub is_over: AtomicBool,
}

/// Starts the callers, which go on until it is over.
pub fn start(load: &Arc<Load>, rng: &mut Rng) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(Caller::new(load, number, rng.fork()).go_on());
    }
    clients
}

/// Asks what became of all that was asked, again for all that was answered, and how all accounts stand.
pub async fn settle(load: &Arc<Load>, rng: &mut Rng) {
    let records = load.history.records().clone();
    let mut shares = vec![Vec::new(); CLIENTS];
    for (index, operation) in records.operations.values().enumerate() {
        let is_answered = operation.standing().next().is_some();
        shares[index % CLIENTS].push((operation.call.clone(), is_answered));
    }
    let mut clients = JoinSet::new();
    for (number, share) in shares.into_iter().enumerate() {
        clients.spawn(Caller::new(load, number, rng.fork()).ask_again(share));
    }
    clients.join_all().await;
    let mut caller = Caller::new(load, 0, rng.fork());
    let payees = records.operations.values().flat_map(|operation| operation.call.legs());
    let asked = records.operations.keys().map(|(account, _)| account);
    let accounts: BTreeSet<&String> = asked.chain(payees.map(|leg| &leg.account)).collect();
    for account in accounts {
        while !caller.read_page(account, PAGE_MAX).await {}
        while !caller.read_account(account, None).await {}
        while !caller.read_grants(account, false).await {}
        let always = (0, clock());
        while !caller.read_statement(account, always).await {}
    }
}

/// One caller.
struct Caller {
    load: Arc<Load>,
    number: usize,
    /// How many operations it has asked for.
    asked: usize,
    rng: Rng,
    replicas: [Client; 2],
}

impl Caller {
    fn new(load: &Arc<Load>, number: usize, rng: Rng) -> Self {
        let replicas = load.urls.each_ref().map(|url| connect_lazily(url));
        Self { load: Arc::clone(load), number, asked: 0, rng, replicas }
    }

    async fn go_on(mut self) {
        while !self.load.is_over.load(Ordering::Relaxed) {
            let pause = self.rng.u64(..=PAUSE_MAX);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            match self.rng.u8(..20) {
                0..=1 => {
                    self.read().await;
                }
                2 => self.name_an_old_key().await,
                _ if self.rng.u8(..LIST_EVERY) == 0 => self.operate_on_a_list().await,
                _ => {
                    let call = self.choose();
                    self.operate(&call).await;
                }
            }
        }
    }

    /// A fresh operation, which is about to be asked for.
    fn choose(&mut self) -> Call {
        let key = format!("job-{}-{}", self.number, self.asked);
        self.asked += 1;
        let call = self.load.accounts.choose(&mut self.rng, key);
        self.load.history.ask(&call);
        call
    }

    /// Sends a list, and what is not answered again: in a list, sometimes among what is answered, or by itself.
    async fn operate_on_a_list(&mut self) {
        let calls: Vec<Call> = (0..self.rng.usize(2..=8)).map(|_| self.choose()).collect();
        self.load.history.list();
        let mut open = self.attempt_list(&calls).await;
        if self.rng.u8(..10) == 0 {
            return; // answered or not: it is not asked again
        }
        while !open.is_empty() {
            tokio::time::sleep(Duration::from_millis(self.rng.u64(..200))).await;
            match self.rng.u8(..4) {
                0 => {
                    for call in mem::take(&mut open) {
                        self.ask_until_answered(&call).await;
                    }
                }
                1 => open = self.attempt_list(&calls).await,
                _ => open = self.attempt_list(&open).await,
            }
        }
    }

    /// Sends a list to a replica, and returns what it did not answer.
    async fn attempt_list(&mut self, calls: &[Call]) -> Vec<Call> {
        let (mut replica, deadline) = (self.replica(), self.deadline());
        let sent = self.load.history.now();
        let outcomes = timeout(deadline + PATIENCE, send_list(&mut replica, calls, deadline)).await;
        let outcomes = outcomes.unwrap_or_else(|_| vec![nothing_at_all(); calls.len()]);
        let settled = iter::zip(calls, outcomes);
        settled
            .filter_map(|(call, outcome)| (!self.settled(call, sent, outcome)).then(|| call.clone()))
            .collect()
    }

    async fn operate(&mut self, call: &Call) {
        match self.rng.u8(..20) {
            0..=1 => {
                self.attempt(call).await; // answered or not: it is not asked again
            }
            2..=3 => {
                if !self.attempt_twice_at_once(call).await {
                    self.ask_until_answered(call).await;
                }
            }
            _ => self.ask_until_answered(call).await,
        }
    }

    async fn ask_until_answered(&mut self, call: &Call) {
        let mut pause = 5;
        while !self.attempt(call).await {
            tokio::time::sleep(Duration::from_millis(self.rng.u64(..pause))).await;
            pause = (pause * 2).min(200);
            if self.rng.u8(..4) == 0 {
                self.read_operation(&call.account, &call.key).await;
            }
        }
    }

    /// Calls a replica, and returns whether it answered.
    async fn attempt(&mut self, call: &Call) -> bool {
        let (replica, deadline) = (self.replica(), self.deadline());
        let sent = self.load.history.now();
        let outcome = send_patiently(replica, call, deadline).await;
        self.settled(call, sent, outcome)
    }

    /// Calls both replicas, and returns whether one answered.
    async fn attempt_twice_at_once(&mut self, call: &Call) -> bool {
        let deadlines = (self.deadline(), self.deadline());
        let sent = self.load.history.now();
        let [one, other] = self.replicas.clone();
        let outcomes =
            tokio::join!(send_patiently(one, call, deadlines.0), send_patiently(other, call, deadlines.1));
        let answered = [self.settled(call, sent, outcomes.0), self.settled(call, sent, outcomes.1)];
        answered.contains(&true)
    }

    fn settled(&self, call: &Call, sent: u64, outcome: Outcome) -> bool {
        if let Outcome::Told(told) = &outcome {
            self.load.accounts.learn(call, told);
        }
        let is_told = matches!(outcome, Outcome::Told(_));
        self.load.history.settle(call, sent, outcome);
        is_told
    }

    /// With the same request, or by mistake with another.
    async fn name_an_old_key(&mut self) {
        let Some((account, key)) = self.load.accounts.answered(&mut self.rng) else { return };
        let call = self.load.history.call(&account, &key).expect("it was asked");
        if self.rng.bool() {
            self.attempt(&call).await;
        } else {
            let misuse = changed(&call);
            let outcome = send_patiently(self.replica(), &misuse, self.deadline()).await;
            self.load.history.misuse(misuse, outcome);
        }
    }

    /// Looks first: a call would do again what was lost.
    async fn ask_again(mut self, operations: Vec<(Call, bool)>) {
        for (call, _) in &operations {
            while !self.read_operation(&call.account, &call.key).await {}
        }
        for (call, _) in operations.iter().filter(|(_, is_answered)| *is_answered) {
            while !self.attempt(call).await {}
        }
    }

    /// Reads something, once, and returns whether that was answered.
    async fn read(&mut self) -> bool {
        let account = self.load.accounts.name(&mut self.rng);
        let page_size = self.rng.i32(1..=6);
        let now = clock();
        let moments = [(); 2].map(|()| self.load.accounts.moment(&mut self.rng, &account, now));
        match self.rng.u8(..9) {
            0 => self.read_account(&account, Some(moments[0])).await,
            1..=2 => self.read_account(&account, None).await,
            3..=4 => self.read_page(&account, page_size).await,
            5 => {
                let only_open = self.rng.bool();
                self.read_grants(&account, only_open).await
            }
            6 => {
                let [one, other] = moments;
                self.read_statement(&account, (one.min(other), one.max(other))).await
            }
            _ => match self.load.accounts.answered(&mut self.rng) {
                Some((account, key)) => self.read_operation(&account, &key).await,
                None => false,
            },
        }
    }

    /// As of a time that has passed, or now.
    async fn read_account(&mut self, account: &str, as_of: Option<i64>) -> bool {
        let account_id = account.to_owned();
        let request = proto::GetAccountRequest { account_id, as_of: as_of.map(timestamp) };
        let sent = self.load.history.now();
        let mut replica = self.replica();
        let from = clock();
        let answer = replica.get_account(timed(request, self.deadline())).await;
        let clock = (from, clock());
        self.seen(account, sent, answer, |found| {
            let account = found.map(|response| response.account.expect("an account"));
            Seen::Account { account, as_of, clock }
        })
    }

    async fn read_grants(&mut self, account: &str, only_open: bool) -> bool {
        let account_id = account.to_owned();
        let request =
            proto::ListGrantsRequest { account_id, page_size: PAGE_MAX, only_open, ..Default::default() };
        let sent = self.load.history.now();
        let mut replica = self.replica();
        let from = clock();
        let answer = replica.list_grants(timed(request, self.deadline())).await;
        let clock = (from, clock());
        self.seen(account, sent, answer, |found| {
            let grants = found.map(|page| page.grants);
            Seen::Grants { grants, only_open, clock }
        })
    }

    /// From one time to another, both of which have passed.
    async fn read_statement(&mut self, account: &str, period: (i64, i64)) -> bool {
        let account_id = account.to_owned();
        let (from_time, until_time) = (Some(timestamp(period.0)), Some(timestamp(period.1)));
        let request = proto::GetStatementRequest { account_id, from_time, until_time };
        let sent = self.load.history.now();
        let mut replica = self.replica();
        let from = clock();
        let answer = replica.get_statement(timed(request, self.deadline())).await;
        let clock = (from, clock());
        self.seen(account, sent, answer, |statement| Seen::Statement { statement, period, clock })
    }

    async fn read_page(&mut self, account: &str, page_size: i32) -> bool {
        let account_id = account.to_owned();
        let request = proto::ListEntriesRequest { account_id, page_size, ..Default::default() };
        let sent = self.load.history.now();
        let mut replica = self.replica();
        let answer = replica.list_entries(timed(request, self.deadline())).await;
        self.seen(account, sent, answer, |found| Seen::Page(found.map_or(Vec::new(), |page| page.entries)))
    }

    async fn read_operation(&mut self, account: &str, key: &str) -> bool {
        let (account_id, idempotency_key) = (account.to_owned(), key.to_owned());
        let request = proto::GetOperationRequest { account_id, idempotency_key };
        let sent = self.load.history.now();
        let mut replica = self.replica();
        let answer = replica.get_operation(timed(request, self.deadline())).await;
        self.seen(account, sent, answer, |found| {
            let found = found.map(|response| match response.outcome.expect("an outcome") {
                get_operation_response::Outcome::Applied(entry) => Found::Applied(entry),
                get_operation_response::Outcome::Refused(mut refusal) => {
                    count_microseconds(&mut refusal.metadata);
                    Found::Refused(refusal)
                }
            });
            Seen::Operation { key: key.to_owned(), found }
        })
    }

    /// Writes down what a read showed, and returns whether it was answered.
    fn seen<T>(
        &self,
        account: &str,
        sent: u64,
        answer: Result<Response<T>, Status>,
        seen: impl FnOnce(Option<T>) -> Seen,
    ) -> bool {
        let found = match answer {
            Ok(response) => Some(response.into_inner()),
            Err(status) => match failure(&status) {
                Outcome::Told(Told::NotFound { .. }) => None,
                Outcome::Unanswered(_) => return false,
                other @ (Outcome::Told(_) | Outcome::Unexplained(_)) => {
                    self.load.history.incident(format!("a read of {account} was answered {other:?}"));
                    return false;
                }
            },
        };
        self.load.history.read(account, sent, seen(found));
        true
    }

    fn replica(&mut self) -> Client {
        self.replicas[self.rng.usize(..2)].clone()
    }

    /// Mostly some seconds; sometimes so little that it often passes.
    fn deadline(&mut self) -> Duration {
        let is_short = self.rng.u8(..7) == 0;
        Duration::from_millis(if is_short { self.rng.u64(20..=200) } else { self.rng.u64(2_000..=5_000) })
    }
}

/// What the machine's clock says, in microseconds.
pub fn clock() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since_epoch.as_micros()).unwrap()
}

/// A call that ends whatever becomes of its connection.
async fn send_patiently(mut replica: Client, call: &Call, deadline: Duration) -> Outcome {
    let sent = timeout(deadline + PATIENCE, send(&mut replica, call, deadline)).await;
    sent.unwrap_or_else(|_| nothing_at_all())
}

fn nothing_at_all() -> Outcome {
    Outcome::Unanswered("nothing at all".into())
}
