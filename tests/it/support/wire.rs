//! The wire to PostgreSQL, tapped and cut: a proxy that knows where one message ends and the next begins.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Notify,
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

/// A message to the server that it answers: one round trip.
#[derive(Debug, Clone)]
pub struct RoundTrip {
    /// The connection, by number.
    pub connection: usize,
    /// The text of the statement, if the message had one: when it is prepared, or sent as it is.
    pub sql: Option<String>,
    /// Whether a statement was prepared.
    pub prepares: bool,
}

#[derive(Default)]
struct State {
    round_trips: Vec<RoundTrip>,
    connections: usize,
    cut: Option<(usize, Cut)>,
}

impl Wire {
    /// A proxy in front of a book.
    pub async fn tap(book: &TestBook) -> Self {
        let (before, socket_dir) = book.url.split_once("?host=").unwrap();
        let socket = format!("{}/.s.PGSQL.5432", socket_dir.split_once('&').unwrap().0);
        let database = before.rsplit_once('/').unwrap().1;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://billing@{}/{database}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        tokio::spawn(accept(listener, socket, Arc::clone(&state)));
        Self { url, state }
    }

    /// The round trips since the last time.
    pub fn take_round_trips(&self) -> Vec<RoundTrip> {
        std::mem::take(&mut self.state.lock().unwrap().round_trips)
    }

    /// Cuts the connection of the round trip that is `after` further ones away: 0 for the next.
    pub fn cut(&self, after: usize, cut: Cut) {
        self.state.lock().unwrap().cut = Some((after, cut));
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
    let answer_is_lost = Arc::new(Notify::new());
    let requests = async {
        let startup = read_message(&mut from_client, false).await?;
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
                let round_trip = RoundTrip { connection, sql: sql.take(), prepares };
                prepares = false;
                match state.lock().unwrap().next_is_cut(round_trip) {
                    Some(Cut::Before) => return None::<()>,
                    Some(Cut::After) => answer_is_lost.notify_one(),
                    None => {}
                }
            }
            to_server.write_all(&message).await.ok()?;
        }
    };
    let answers = async {
        let mut lost = false;
        loop {
            let message = tokio::select! {
                biased;
                () = answer_is_lost.notified() => { lost = true; continue }
                message = read_message(&mut from_server, true) => message?,
            };
            match (lost, message[0]) {
                (true, b'Z') => return None::<()>,
                (true, _) => {}
                (false, _) => to_client.write_all(&message).await.ok()?,
            }
        }
    };
    tokio::select! { _ = requests => {}, _ = answers => {} }
}

impl State {
    fn next_is_cut(&mut self, round_trip: RoundTrip) -> Option<Cut> {
        self.round_trips.push(round_trip);
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
