//! A URL leads where psql goes with it, or it is refused: real psql and the program are watched as they knock.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::unix::net::UnixListener,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    cluster::cluster,
    dir::Dir,
    process::Process,
    waiting::{PATIENCE, ended, run, wait_for_exit},
};

/// Who knocked, at which of the doors, and what it wants: user, database and options.
type Knock = (&'static str, BTreeMap<String, String>);

/// Doors where PostgreSQL might be, which listen to what a client says first, and close.
struct Doors {
    dir: Dir,
    ports: [u16; 3],
    knocks: Receiver<Knock>,
}

impl Doors {
    fn open() -> Self {
        let (sender, knocks) = mpsc::channel();
        let dir = Dir::new();
        let mut ports = [0; 3];
        for (port, (name, address)) in
            ports.iter_mut().zip([("a", "127.0.0.1:0"), ("b", "127.0.0.1:0"), ("six", "[::1]:0")])
        {
            let door = TcpListener::bind(address).unwrap();
            *port = door.local_addr().unwrap().port();
            let sender = sender.clone();
            thread::spawn(move || door.incoming().flatten().for_each(|stream| listen(name, stream, &sender)));
        }
        for (name, port) in [("socket", 5432), ("socket of b", ports[1])] {
            let door = UnixListener::bind(dir.path().join(format!(".s.PGSQL.{port}"))).unwrap();
            let sender = sender.clone();
            thread::spawn(move || door.incoming().flatten().for_each(|stream| listen(name, stream, &sender)));
        }
        Self { dir, ports, knocks }
    }

    /// A URL with the doors in it.
    fn url(&self, text: &str) -> String {
        let [a, b, six] = self.ports;
        let dir = self.dir.path().to_str().unwrap();
        let url = text.replace("A0", &a.to_string()).replace("B0", &b.to_string());
        url.replace("S0", &six.to_string()).replace("%DIR", &dir.replace('/', "%2F")).replace("DIR", dir)
    }

    /// Where a client knocks first, if anywhere.
    fn knock(&self, mut client: Command) -> Option<Knock> {
        while self.knocks.try_recv().is_ok() {}
        let mut child =
            client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let first = loop {
            assert!(Instant::now() < deadline, "it neither knocks nor ends");
            let has_ended = child.try_wait().unwrap().is_some();
            match self.knocks.recv_timeout(Duration::from_millis(50)) {
                Ok(knock) => break Some(knock),
                Err(_) if has_ended => break None,
                Err(_) => {}
            }
        };
        let _ = child.kill(); // may have ended already
        wait_for_exit(&mut child);
        first
    }
}

fn listen(name: &'static str, mut stream: impl std::io::Read + std::io::Write, knocks: &Sender<Knock>) {
    let mut message = || -> std::io::Result<Vec<u8>> {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
        stream.read_exact(&mut message)?;
        if message == 80_877_103_u32.to_be_bytes() {
            stream.write_all(b"N")?; // there is no TLS
            message.clear();
        }
        Ok(message)
    };
    let Ok(message) = message().and_then(|said| if said.is_empty() { message() } else { Ok(said) }) else {
        return;
    };
    let texts: Vec<String> = message[4..]
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    let mut wanted: BTreeMap<String, String> =
        texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    wanted.retain(|key, _| ["user", "database", "options"].contains(&key.as_str()));
    let user = wanted["user"].clone();
    wanted.entry("database".to_owned()).or_insert(user); // as the server has it
    let _ = knocks.send((name, wanted)); // whoever asked may have heard enough
}

fn psql(url: &str) -> Command {
    let mut psql = Command::new(cluster().bin_dir().join("psql"));
    psql.env_clear()
        .env("PGGSSENCMODE", "disable")
        .env("PGCONNECT_TIMEOUT", "5")
        .args(["-X", "-w", "-c", ""])
        .arg(url);
    psql
}

fn billing(url: &str) -> Command {
    let mut billing = Process::command();
    billing.args(["audit", "--database-url", url]);
    billing
}

#[test]
fn a_url_leads_where_psql_goes_with_it_or_is_refused() {
    let doors = Doors::open();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(); // nobody listens there now
    let (mut followed, mut only_by_psql) = (0, Vec::new());
    for text in [
        "postgres://u@127.0.0.1:A0/d",
        "postgresql://u:p@127.0.0.1:B0/d?sslmode=disable",
        "postgres://u@localhost:A0/d",
        "postgres://127.0.0.1:A0",
        "postgres://u@127.0.0.1:A0",
        "postgres://u@127.0.0.1:A0/",
        "postgres://u@127.0.0.1:A0?dbname=x",
        // Parameters replace.
        "postgres://u@127.0.0.1:A0/d?port=B0",
        "postgres://u@127.0.0.1:A0/d?host=DIR",
        "postgres://u@127.0.0.1:A0/d?host=DIR&port=5432",
        "postgres://u@127.0.0.1:A0/d?host=DIR&port=B0",
        "postgres://u@nowhere.invalid:A0/d?host=127.0.0.1",
        "postgres://u@nowhere.invalid:A0/d?host=127.0.0.1&host=DIR&port=",
        "postgres://u@nowhere.invalid:A0/d?hostaddr=127.0.0.1",
        "postgres://u@127.0.0.1:A0/d?dbname=other&user=me",
        "postgres://u@127.0.0.1:A0/d?dbname=",
        "postgres://u@127.0.0.1:A0/d?port=B0&port=A0",
        "postgres://u@127.0.0.1/d?port=B0",
        "postgres://?host=127.0.0.1&port=B0&user=u&dbname=d",
        "postgres:///d?host=127.0.0.1&port=B0&user=u",
        "postgres:///d?host=&port=B0&user=u",
        // Encoding.
        "postgres://u@%DIR/d",
        "postgres://u@%DIR:B0/d",
        "postgres://u%40x:p%2F%3F@127.0.0.1:A0/d%20e",
        "postgres://u@127.0.0.1:A0/d%2Fe",
        "postgres://u@127.0.0.1:A0/d/e",
        "postgres://u@127.0.0.1:A0/d+e?user=u+v",
        "postgres://u@127.0.0.1:A0/d%",
        "postgres://u@127.0.0.1:A0/d%00e",
        "postgres://u@127.0.0.1:%41/d",
        "postgres://u@/d?host=%44IR",
        "postgres://u@127.0.0.1:A0/it's%5C",
        "postgres://u@127.0.0.1:A0/d?options=-csearch_path%3Dx%20-c%20jit%3Doff",
        "postgres://u@127.0.0.1:A0/d?options=-csearch_path=x",
        "postgres://u@127.0.0.1:A0/d?%75ser=me",
        "postgres://u@127.0.0.1:A0/d?ssl%6dode=disable&us%65r=me",
        "postgres://u@127.0.0.1:A0/d?%zzser=me",
        "postgres://u@127.0.0.1:A0/d?user%3Dme",
        // Repeated, and empty.
        "postgres://u@127.0.0.1:A0/d?user=me&user=you&options=-cjit%3Don&options=",
        "postgres://u@127.0.0.1:A0/d?sslmode=require&sslmode=disable",
        "postgres://u@127.0.0.1:A0/d?sslmode=disable&sslmode=",
        "postgres://u@127.0.0.1:A0/d?target_session_attrs=",
        "postgres://u@127.0.0.1:A0/d?connect_timeout=",
        "postgres://u@127.0.0.1:A0/d?user=&host=&port=&dbname=&hostaddr=127.0.0.1",
        "postgres://u@127.0.0.1:A0/d?user=&hostaddr=&application_name=",
        "postgres://u@127.0.0.1:A0/d?nothing=",
        // Several hosts.
        "postgres://u@127.0.0.1:CLOSED,127.0.0.1:B0/d",
        "postgres://u@127.0.0.1,127.0.0.1/d?port=CLOSED,B0",
        "postgres://u@127.0.0.1,localhost/d?port=B0",
        "postgres://u@127.0.0.1:CLOSED,127.0.0.1:CLOSED/d?host=127.0.0.1",
        "postgres://u@127.0.0.1:CLOSED,127.0.0.1:B0/d?host=127.0.0.1",
        "postgres://u@/d?host=/nowhere,DIR",
        "postgres://u@/d?host=127.0.0.1%2CDIR&port=CLOSED%2C5432",
        "postgres://u@127.0.0.1%2C127.0.0.1:B0/d",
        "postgres://u@/d?host=nowhere.invalid,other.invalid&hostaddr=127.0.0.1,127.0.0.1&port=CLOSED,A0",
        "postgres://u@/d?host=127.0.0.1,127.0.0.1&hostaddr=127.0.0.1&port=A0",
        "postgres://u@127.0.0.1,127.0.0.1,127.0.0.1/d?port=A0,B0",
        // IPv6.
        "postgres://u@[::1]:S0/d",
        "postgres://u@[::1]/d?port=S0",
        "postgres://u@/d?host=::1&port=S0",
        "postgres://u@[::1]:CLOSED,[::1]:S0/d",
        "postgres://u@[::1/d?port=S0",
        "postgres://u@[::1]S0/d",
        "postgres://u@[]:A0/d",
        // What psql understands and the program does not, or neither does.
        "postgres://u@127.0.0.1:A0/d?target_session_attrs=primary",
        "postgres://u@127.0.0.1:A0/d?target_session_attrs=prefer-standby",
        "postgres://u@127.0.0.1:A0/d?target_session_attrs=standby",
        "postgres://u@127.0.0.1:A0/d?service=none",
        "postgres://u@127.0.0.1:A0/d?sslcert=/dev/null&sslkey=/dev/null&sslmode=disable",
        "postgres://u@127.0.0.1:A0/d?sslmode=allow",
        "postgres://u@127.0.0.1:A0/d?ssl=true",
        "postgres://u@127.0.0.1:A0/d?gssencmode=disable",
        "postgres://u@127.0.0.1:A0/d?fallback_application_name=me",
        "postgres://u@127.0.0.1:A0/d?client_encoding=UTF8",
        "postgres://u@127.0.0.1:A0/d?keepalives_count=1",
        "postgres://u@127.0.0.1:A0/d?keepalives_retries=1",
        "postgres://u@127.0.0.1:A0/d?sslnegotiation=postgres",
        "postgres://u@127.0.0.1:A0/d?passfile=/dev/null",
        "postgres://u@127.0.0.1:A0/d?nothing=1",
        "postgres://u@127.0.0.1:A0/d?dbname",
        "postgres://u@127.0.0.1:0/d",
        "postgres://u@127.0.0.1:A0B/d",
        "postgres://u@127.0.0.1:1:A0/d",
        "POSTGRES://u@127.0.0.1:A0/d",
    ] {
        let url = doors.url(&text.replace("CLOSED", &closed.to_string()));
        let (by_psql, by_us) = (doors.knock(psql(&url)), doors.knock(billing(&url)));
        if by_us.is_some() {
            assert_eq!(by_us, by_psql, "{text}");
            followed += 1;
        } else if by_psql.is_some() {
            only_by_psql.push(text);
        }
    }
    assert!(followed > 35, "only {followed} were not refused");
    let parameters: Vec<_> =
        only_by_psql.iter().filter_map(|text| text.split_once('?')).map(|(_, p)| p).collect();
    let refused = [
        "target_session_attrs=primary",
        "target_session_attrs=prefer-standby",
        "target_session_attrs=standby",
        "sslcert=/dev/null&sslkey=/dev/null&sslmode=disable",
        "sslmode=allow",
        "gssencmode=disable",
        "fallback_application_name=me",
        "client_encoding=UTF8",
        "passfile=/dev/null",
    ];
    assert_eq!(parameters, refused);
}

#[test]
fn what_is_not_supported_is_refused_by_its_name_with_what_to_do_instead() {
    for (instead, parameters) in [
        ("write the password into the URL", &["passfile", "passfil%65"][..]),
        ("write the parameters of the service into the URL", &["service"]),
        ("use a password", &["sslcert", "sslkey", "sslpassword"]),
        ("revocation is not checked", &["sslcrl"]),
        ("remove it", &["sslcompression", "sslsni", "sslnegotiation", "replication"]),
        ("TLS is 1.2 or 1.3", &["ssl_min_protocol_version"]),
        ("use sslmode=require", &["ssl"]),
        ("use TLS and a password", &["gssencmode", "krbsrvname"]),
        ("sslmode=verify-full", &["requirepeer"]),
        ("the encoding is UTF-8", &["client_encoding"]),
        ("use application_name", &["fallback_application_name"]),
        ("unknown parameter", &["sslmod", "keepalives_retries"]),
        ("use any, read-write or read-only", &["target_session_attrs"]),
        ("use disable, prefer, require, verify-ca or verify-full", &["sslmode", "ssl%6dode"]),
        (
            "a value",
            &["hostaddr", "port", "tcp_user_timeout", "connect_timeout", "keepalives", "keepalives_count"],
        ),
        ("a value", &["channel_binding", "load_balance_hosts"]),
    ] {
        for parameter in parameters {
            is_refused(parameter, instead);
        }
    }
}

/// Fails unless the program refuses a parameter, and says what to do instead.
fn is_refused(parameter: &str, instead: &str) {
    let name = parameter.replace("%65", "e").replace("%6d", "m");
    let may_be_empty = ["hostaddr", "port"].contains(&parameter);
    for value in ["s3cret", ""].iter().filter(|value| !value.is_empty() || !may_be_empty) {
        let url = format!("postgres://u:s3cret@h/d?{parameter}={value}");
        let (_, said) = ended(run(&mut billing(&url)), 64);
        let names_it = ["parameter", "value for"].map(|what| said.contains(&format!("{what} {name}")));
        assert!(
            names_it.contains(&true) && said.contains(instead) && !said.contains("s3cret"),
            "{parameter}: {said}"
        );
    }
}
