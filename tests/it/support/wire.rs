//! The wire to PostgreSQL, tapped, cut and stalled: a proxy that knows where one message ends and the next begins.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
};

use super::TestBook;

/// A proxy between the service and PostgreSQL.
pub struct Wire {
    /// The database, through this proxy.
    pub url: String,
    state: Arc<Mutex<State>>,
}

/// Where the wire is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The request never reaches the server.
    Before,
    /// The server carries it out, and its answer is lost.
    After,
}

/// How long each answer takes on its way: long enough to see which requests do not wait for it.
const ANSWER_DELAY: Duration = Duration::from_millis(10);

/// A message to the server that it answers.
#[derive(Debug, Clone)]
pub struct Request {
    /// The connection, by number.
    pub connection: usize,
    /// The text of the statement, if the message had one: when it is prepared, or sent as it is.
    pub sql: Option<String>,
    /// Whether a statement was prepared.
    pub prepares: bool,
    /// Whether it was sent without waiting for the answer to the one before it.
    pub follows: bool,
}

/// How many round trips requests take.
pub fn round_trips(requests: &[Request]) -> usize {
    requests.iter().filter(|request| !request.follows).count()
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    connections: usize,
    cut: Option<(usize, Cut)>,
    cut_at_commit: Option<Cut>,
    stall_at_commit: Option<Duration>,
    stalled_until: Option<Instant>,
    answer_delay: Duration,
}

impl Wire {
    /// A proxy in front of a book.
    pub async fn tap(book: &TestBook) -> Self {
        Self::tap_with_delay(book, ANSWER_DELAY).await
    }

    /// A proxy that takes no longer than it must.
    pub async fn tap_without_delay(book: &TestBook) -> Self {
        Self::tap_with_delay(book, Duration::ZERO).await
    }

    async fn tap_with_delay(book: &TestBook, answer_delay: Duration) -> Self {
        let (before, socket_dir) = book.url.split_once("?host=").unwrap();
        let socket = format!("{}/.s.PGSQL.5432", socket_dir.split_once('&').unwrap().0);
        let database = before.rsplit_once('/').unwrap().1;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://billing@{}/{database}?sslmode=disable", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { answer_delay, ..State::default() }));
        tokio::spawn(accept(listener, socket, Arc::clone(&state)));
        Self { url, state }
    }

    /// The requests since the last time.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// Cuts the connection of the request that is `after` further ones away: 0 for the next.
    pub fn cut(&self, after: usize, cut: Cut) {
        self.state.lock().unwrap().cut = Some((after, cut));
    }

    /// Cuts the connection of the next COMMIT.
    pub fn cut_at_commit(&self, cut: Cut) {
        self.state.lock().unwrap().cut_at_commit = Some(cut);
    }

    /// Whether a cut of a COMMIT is still to come.
    pub fn is_uncut_at_commit(&self) -> bool {
        self.state.lock().unwrap().cut_at_commit.is_some()
    }

    /// Lets nothing through for a while, in either direction: all of it only comes late.
    pub fn stall(&self, duration: Duration) {
        self.state.lock().unwrap().stalled_until = Some(Instant::now() + duration);
    }

    /// Lets the next COMMIT through, and then nothing for a while.
    pub fn stall_at_commit(&self, duration: Duration) {
        self.state.lock().unwrap().stall_at_commit = Some(duration);
    }

    /// Returns when a COMMIT was let through and nothing has been since.
    pub async fn stalled_at_commit(&self) {
        while self.state.lock().unwrap().stall_at_commit.is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whether a cut is still to come. Forgets it.
    pub fn is_uncut(&self) -> bool {
        self.state.lock().unwrap().cut.take().is_some()
    }
}

async fn accept(listener: TcpListener, socket: String, state: Arc<Mutex<State>>) {
    while let Ok((client, _)) = listener.accept().await {
        client.set_nodelay(true).unwrap();
        let server = UnixStream::connect(&socket).await.unwrap();
        tokio::spawn(relay(client, server, Arc::clone(&state)));
    }
}

async fn relay(client: TcpStream, server: UnixStream, state: Arc<Mutex<State>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let connection = {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        state.connections
    };
    let answers = Mutex::new(Answers { owed: 1, until_lost: None }); // the answer to the startup is owed
    let requests = async {
        let startup = read_message(&mut from_client, false).await?;
        wait_out_stall(&state).await;
        to_server.write_all(&startup).await.ok()?;
        let mut sql = None;
        let mut prepares = false;
        loop {
            let message = read_message(&mut from_client, true).await?;
            match message[0] {
                b'P' => {
                    prepares = true;
                    sql = Some(second_text(&message[5..]));
                }
                b'Q' => sql = Some(text(&message[5..])),
                _ => {}
            }
            if matches!(message[0], b'S' | b'Q') {
                let follows = answers.lock().unwrap().owed > 0;
                let request = Request { connection, sql: sql.take(), prepares, follows };
                prepares = false;
                let cut = state.lock().unwrap().next_is_cut(request);
                if cut == Some(Cut::Before) {
                    return None::<()>;
                }
                answers.lock().unwrap().owe_one_more(cut == Some(Cut::After));
            }
            wait_out_stall(&state).await;
            if is_commit(&message) {
                state.lock().unwrap().begin_stall_at_commit();
            }
            to_server.write_all(&message).await.ok()?;
        }
    };
    let relay_answers = async {
        loop {
            let message = read_message(&mut from_server, true).await?;
            let ends = message[0] == b'Z';
            let delay = state.lock().unwrap().answer_delay;
            if ends && !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            wait_out_stall(&state).await;
            let lost = answers.lock().unwrap().is_lost(ends);
            match (lost, ends) {
                (true, true) => return None::<()>,
                (true, false) => {}
                (false, _) => to_client.write_all(&message).await.ok()?,
            }
        }
    };
    tokio::select! { _ = requests => {}, _ = relay_answers => {} }
}

/// The answers under way on a connection.
struct Answers {
    owed: usize,
    /// How many come before the one that is lost.
    until_lost: Option<usize>,
}

impl Answers {
    fn owe_one_more(&mut self, lost: bool) {
        if lost {
            self.until_lost = Some(self.owed);
        }
        self.owed += 1;
    }

    /// Whether a part of an answer, maybe its end, is lost.
    fn is_lost(&mut self, ends: bool) -> bool {
        let lost = self.until_lost == Some(0);
        if ends && !lost {
            self.owed -= 1;
            self.until_lost = self.until_lost.map(|answers| answers - 1);
        }
        lost
    }
}

impl State {
    fn begin_stall_at_commit(&mut self) {
        if let Some(duration) = self.stall_at_commit.take() {
            self.stalled_until = Some(Instant::now() + duration);
        }
    }

    fn next_is_cut(&mut self, request: Request) -> Option<Cut> {
        let is_commit = request.sql.as_deref() == Some("COMMIT");
        self.requests.push(request);
        if is_commit && let Some(cut) = self.cut_at_commit.take() {
            return Some(cut);
        }
        let (after, cut) = self.cut.as_mut()?;
        if *after > 0 {
            *after -= 1;
            return None;
        }
        let cut = *cut;
        self.cut = None;
        Some(cut)
    }
}

async fn wait_out_stall(state: &Mutex<State>) {
    loop {
        let until = state.lock().unwrap().stalled_until;
        match until.filter(|until| *until > Instant::now()) {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => return,
        }
    }
}

fn is_commit(message: &[u8]) -> bool {
    message[0] == b'Q' && text(&message[5..]) == "COMMIT"
}

/// A whole message: a letter except for the first, the length of all but the letter, and the rest.
async fn read_message(from: &mut (impl AsyncRead + Unpin), has_letter: bool) -> Option<Vec<u8>> {
    let mut message = vec![0; if has_letter { 5 } else { 4 }];
    from.read_exact(&mut message).await.ok()?;
    let length = &message[message.len() - 4..];
    let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
    let head = message.len();
    message.resize(head + length - 4, 0);
    from.read_exact(&mut message[head..]).await.ok()?;
    Some(message)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap()).into_owned()
}

/// The text after the first one: the name of the prepared statement.
fn second_text(bytes: &[u8]) -> String {
    text(bytes.splitn(2, |byte| *byte == 0).nth(1).unwrap())
}
