//! The wire to PostgreSQL, tapped, cut, stalled and slowed: a proxy that knows where one message ends and the next begins.

mod message;
mod relay;
mod trouble;

use std::{sync::Arc, time::Duration};

use tokio::net::{TcpListener, UnixStream};

pub use trouble::Cut;

use super::TestBook;
use trouble::{Conditions, Trouble, Which};

/// How long each answer takes over a tapped wire: long enough to see which requests do not wait for it.
const TAPPED_DELAY: Duration = Duration::from_millis(10);

/// A proxy between the service and PostgreSQL.
pub struct Wire {
    /// The database, through this proxy.
    pub url: String,
    trouble: Arc<Trouble>,
}

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

impl Wire {
    /// A proxy in front of a book that keeps what it sees, and takes its time for answers.
    pub async fn tap(book: &TestBook) -> Self {
        let conditions = Conditions { answer_delay: TAPPED_DELAY, ..Conditions::default() };
        Self::new(&book.url, Trouble::new(conditions, true)).await
    }

    /// A proxy in front of a database, which need not always be there.
    pub async fn open(database_url: &str) -> Self {
        Self::new(database_url, Trouble::new(Conditions::default(), false)).await
    }

    async fn new(database_url: &str, trouble: Trouble) -> Self {
        let (before, socket_dir) = database_url.split_once("?host=").unwrap();
        let socket = format!("{}/.s.PGSQL.5432", socket_dir.split_once('&').unwrap().0);
        let database = before.rsplit_once('/').unwrap().1;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Before TLS there is a question and an answer which are no messages.
        let url = format!("postgres://billing@{}/{database}?sslmode=disable", listener.local_addr().unwrap());
        let trouble = Arc::new(trouble);
        tokio::spawn(accept(listener, socket, Arc::clone(&trouble)));
        Self { url, trouble }
    }

    /// The requests since the last time.
    pub fn take_requests(&self) -> Vec<Request> {
        self.trouble.plan().seen.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Cuts the connection of the request that is `after` further ones away: 0 for the next.
    pub fn cut(&self, after: usize, cut: Cut) {
        self.trouble.plan().cut = Some((Which::After(after), cut));
    }

    /// Cuts the connection of the next COMMIT.
    pub fn cut_commit(&self, cut: Cut) {
        self.trouble.plan().cut = Some((Which::Commit, cut));
    }

    /// Whether a cut is still to come.
    pub fn has_cut_to_come(&self) -> bool {
        self.trouble.plan().cut.is_some()
    }

    /// The same; but it will not come any more.
    pub fn is_uncut(&self) -> bool {
        self.trouble.plan().cut.take().is_some()
    }

    /// Cuts every connection now.
    pub fn cut_all(&self) {
        self.trouble.change(|conditions| conditions.hang_ups += 1);
    }

    /// Forwards nothing, though connections stay, until told otherwise.
    pub fn stall(&self, is_stalled: bool) {
        self.trouble.change(|conditions| conditions.is_stalled = is_stalled);
    }

    /// Forwards nothing for a while: all of it only comes late.
    pub fn stall_for(&self, duration: Duration) {
        Trouble::stall_for(&self.trouble, duration);
    }

    /// Lets the next COMMIT through, and then nothing for a while.
    pub fn stall_at_commit(&self, duration: Duration) {
        self.trouble.plan().stall_at_commit = Some(duration);
    }

    /// Returns when a COMMIT was let through and nothing has been since.
    pub async fn stalled_at_commit(&self) {
        let _ = self.trouble.conditions().wait_for(|now| now.is_stalled).await; // the sender is this one's
    }

    /// Makes each answer take so long on its way.
    pub fn delay(&self, delay: Duration) {
        self.trouble.change(|conditions| conditions.answer_delay = delay);
    }
}

async fn accept(listener: TcpListener, socket: String, trouble: Arc<Trouble>) {
    while let Ok((client, _)) = listener.accept().await {
        client.set_nodelay(true).unwrap();
        // With no server behind it, the connection ends as if it had been the server's own.
        if let Ok(server) = UnixStream::connect(&socket).await {
            tokio::spawn(relay::relay(client, server, Arc::clone(&trouble)));
        }
    }
}
