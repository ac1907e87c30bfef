//! A desk: the service on a book, the console beside it, an operator with a browser, and what else an operator may be.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{
    TestBook,
    address::own_ip,
    calls::{Client, with_token},
    dir::Dir,
    process::{Process, new_token},
    waiting::PATIENCE,
};

use super::browser::Browser;

/// The service, the console, and tokens for both.
pub struct Desk {
    /// The service.
    pub service: Process,
    /// The console.
    pub console: Process,
    /// Tokens: of somebody who may do everything, of somebody who only grants, and of somebody who only reads.
    pub all: String,
    pub admin: String,
    pub reader: String,
    /// The directory of the service's credentials.
    pub credentials: Dir,
}

impl Desk {
    /// A desk on a book. `flags` are the console's.
    pub fn set(book: &TestBook, flags: &[&str]) -> Self {
        let [all, admin, reader] = [("all", "coordinator,admin"), ("admin", "admin"), ("reader", "reader")]
            .map(|(name, roles)| new_token(name, roles));
        let lines = [&all.1, &admin.1, &reader.1].map(String::as_str).concat();
        let (service, credentials) = book.serve_to(&lines, &["--metrics-listen", "127.0.0.1:0"]);
        let metrics = format!("http://{}/metrics", service.metrics_address());
        let console = console(&[&["--target", &service.url(), "--metrics", &metrics], flags].concat());
        Self { service, console, all: all.0, admin: admin.0, reader: reader.0, credentials }
    }

    /// Ends the service.
    pub fn stop_service(&mut self) {
        self.service.signal(Signal::KILL);
        let began = Instant::now();
        while !self.service.has_ended() {
            assert!(began.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the service again, where it was.
    pub fn start_service(&mut self, book: &TestBook) {
        let address = self.service.address.clone();
        let credentials = self.credentials.path().join("credentials");
        let flags = [
            "--database-url",
            &book.url,
            "--listen",
            &address,
            "--credentials",
            credentials.to_str().unwrap(),
        ];
        self.service = Process::serve(&flags);
    }

    /// A page's address.
    pub fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.console.address)
    }

    /// A client of the service.
    pub async fn client(&self) -> Client {
        self.service.client().await
    }

    /// A call as somebody who may do everything.
    pub fn call<T>(&self, message: T) -> tonic::Request<T> {
        with_token(&self.all, message)
    }

    /// A browser in which somebody with a token has signed in.
    pub async fn sit(&self, token: &str) -> Browser {
        let browser = Browser::start(true).await;
        self.sign_in(&browser, token).await;
        browser
    }

    /// Signs in.
    pub async fn sign_in(&self, browser: &Browser, token: &str) {
        browser.open(&self.at("/sign-in")).await;
        browser.fill("#token", token).await;
        browser.click("main button").await;
        browser.sees("Overview").await;
    }
}

/// The console with flags, on a free port.
pub fn console(flags: &[&str]) -> Process {
    let listen = format!("{}:0", own_ip());
    let mut command = Process::command();
    command.args(["console", "--listen", &listen]).args(flags);
    Process::start(command).unwrap_or_else(|log| panic!("it ended at its start: {log:#?}"))
}
