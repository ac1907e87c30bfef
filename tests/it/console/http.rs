//! Plain requests, as whoever is no browser may send them.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::waiting::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The cookie that it sets, to be sent back.
    pub fn cookie(&self) -> Option<String> {
        self.header("set-cookie").map(|header| header.split(';').next().unwrap().to_owned())
    }
}

/// Gets a page.
pub async fn get(url: &str, cookie: Option<&str>, headers: &[(&str, &str)]) -> Reply {
    ask("GET", url, cookie, headers, "").await
}

/// Sends a form.
pub async fn post(url: &str, cookie: Option<&str>, body: &str) -> Reply {
    ask("POST", url, cookie, &[("Content-Type", "application/x-www-form-urlencoded")], body).await
}

async fn ask(method: &str, url: &str, cookie: Option<&str>, headers: &[(&str, &str)], body: &str) -> Reply {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let given = headers.iter().copied().chain(cookie.map(|cookie| ("Cookie", cookie)));
    let given: String = given.map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
    let length = body.len();
    let head =
        format!("{method} /{path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n{given}\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all([&head, body].concat().as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let pair =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Reply { status, headers: lines.filter_map(pair).collect(), body: body.to_owned() }
}
