//! Where a message of PostgreSQL's protocol ends, and what it says.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A whole message, as it is sent on.
pub struct Message {
    pub bytes: Vec<u8>,
}

impl Message {
    /// The first one of a connection, which has no letter.
    pub async fn read_first(from: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        read(from, 4).await
    }

    /// One of the others.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        read(from, 5).await
    }

    /// Whether the server answers it once it has carried out all before it.
    pub fn is_answered(&self) -> bool {
        matches!(self.bytes[0], b'S' | b'Q')
    }

    /// Whether it commits.
    pub fn is_commit(&self) -> bool {
        self.bytes[0] == b'Q' && self.sql().as_deref() == Some("COMMIT")
    }

    /// Whether it prepares a statement.
    pub fn prepares(&self) -> bool {
        self.bytes[0] == b'P'
    }

    /// Whether it ends an answer.
    pub fn ends_answer(&self) -> bool {
        self.bytes[0] == b'Z'
    }

    /// The text of the statement, if it has one.
    pub fn sql(&self) -> Option<String> {
        match self.bytes[0] {
            b'P' => Some(second_text(&self.bytes[5..])),
            b'Q' => Some(text(&self.bytes[5..])),
            _ => None,
        }
    }
}

/// A letter except in the first, the length of all but the letter, and the rest.
async fn read(from: &mut (impl AsyncRead + Unpin), head: usize) -> Option<Message> {
    let mut bytes = vec![0; head];
    from.read_exact(&mut bytes).await.ok()?;
    let length = u32::from_be_bytes(bytes[head - 4..].try_into().unwrap()) as usize;
    bytes.resize(head + length - 4, 0);
    from.read_exact(&mut bytes[head..]).await.ok()?;
    Some(Message { bytes })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap()).into_owned()
}

/// The text after the first one, which is the name of the prepared statement.
fn second_text(bytes: &[u8]) -> String {
    text(bytes.splitn(2, |byte| *byte == 0).nth(1).unwrap())
}
