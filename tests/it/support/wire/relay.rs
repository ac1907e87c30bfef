//! One connection through the proxy, from its first message until either side, or a fault, ends it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpStream, UnixStream},
    sync::watch,
};

use super::{
    Request,
    message::Message,
    trouble::{Conditions, Cut, Trouble},
};

/// Relays messages both ways until there is no more to relay.
pub(super) async fn relay(client: TcpStream, server: UnixStream, trouble: Arc<Trouble>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut conditions = trouble.conditions();
    let hang_ups = conditions.borrow().hang_ups;
    let relay = Relay {
        connection: trouble.count_connection(),
        trouble,
        answers: Mutex::new(Answers { owed: 1, until_lost: None }), // the answer to the startup is owed
    };
    tokio::select! {
        _ = relay.requests(BufReader::new(from_client), to_server) => {}
        _ = relay.answers(BufReader::new(from_server), to_client) => {}
        _ = conditions.wait_for(|now| now.hang_ups > hang_ups) => {}
    }
}

struct Relay {
    connection: usize,
    trouble: Arc<Trouble>,
    answers: Mutex<Answers>,
}

impl Relay {
    /// Ends with the connection, or where it is cut.
    async fn requests(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Option<Infallible> {
        let mut conditions = self.trouble.conditions();
        let startup = Message::read_first(&mut from).await?;
        forward(&mut conditions, &startup, &mut to).await?;
        let (mut sql, mut prepares) = (None, false);
        loop {
            let message = Message::read(&mut from).await?;
            prepares |= message.prepares();
            sql = message.sql().or(sql);
            if message.is_answered() {
                let request = self.request(sql.take(), std::mem::take(&mut prepares));
                let cut = self.trouble.cut_of(request);
                if cut == Some(Cut::Before) {
                    return None;
                }
                self.answers.lock().unwrap().owe_one_more(cut == Some(Cut::After));
            }
            if message.is_commit()
                && let Some(duration) = self.trouble.take_planned_stall()
            {
                Trouble::stall_for(&self.trouble, duration);
                to.write_all(&message.bytes).await.ok()?;
            } else {
                forward(&mut conditions, &message, &mut to).await?;
            }
        }
    }

    fn request(&self, sql: Option<String>, prepares: bool) -> Request {
        let follows = self.answers.lock().unwrap().owed > 0;
        Request { connection: self.connection, sql, prepares, follows }
    }

    /// Ends with the connection, or after the answer that is lost has come.
    async fn answers(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Option<Infallible> {
        let mut conditions = self.trouble.conditions();
        loop {
            let message = Message::read(&mut from).await?;
            let ends = message.ends_answer();
            if ends {
                let delay = conditions.borrow().answer_delay;
                tokio::time::sleep(delay).await;
            }
            let lost = self.answers.lock().unwrap().is_lost(ends);
            match (lost, ends) {
                (true, true) => return None,
                (true, false) => {}
                (false, _) => forward(&mut conditions, &message, &mut to).await?,
            }
        }
    }
}

/// Sends a message on, once nothing is stalled.
async fn forward(
    conditions: &mut watch::Receiver<Conditions>,
    message: &Message,
    to: &mut (impl AsyncWrite + Unpin),
) -> Option<()> {
    conditions.wait_for(|now| !now.is_stalled).await.ok()?;
    to.write_all(&message.bytes).await.ok()
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
