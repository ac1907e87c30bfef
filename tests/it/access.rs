//! Who may call: tokens, client certificates and roles, on the built program.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use billing::grpc::proto::{
    AccountState, ApplyRequest, CaptureRequest, ExtendReservationRequest, GetCallerRequest,
    GetCallerResponse, GetEntryRequest, GetReservationRequest, ReleaseRequest, ReserveRequest,
};
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use crate::{
    metrics::{figure, get},
    support::{
        authority::{Authority, Issued},
        console::section,
        dir::Dir,
        process::{Process, new_token},
        waiting::{self, run},
        *,
    },
};

/// No key: of what is undone the entry says whose decision that is, and where there is none only the method does.
const NOBODYS: &str = "job-that-never-was";

/// What each method answers to a token: whether it lets it in.
async fn let_in(client: &mut Client, token: Option<&str>) -> Vec<(&'static str, Result<(), (Code, String)>)> {
    fn verdict<T: std::fmt::Debug>(answer: Result<T, Status>) -> Result<(), (Code, String)> {
        match answer {
            Err(status) if [Code::Unauthenticated, Code::PermissionDenied].contains(&status.code()) => {
                Err(reason::<T>(Err(status)))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
    let mut verdicts = Vec::new();
    macro_rules! call {
        ($($method:ident($message:expr);)+) => {$(
            let request = match token {
                Some(token) => with_token(token, $message),
                None => Request::new($message),
            };
            verdicts.push((stringify!($method), verdict(client.$method(request).await)));
        )+};
    }
    call! {
        get_account(get_account("ann"));
        list_accounts(list_accounts("a"));
        get_statement(get_statement("ann"));
        find_payment(find_payment("cs_1"));
        get_entry(GetEntryRequest::default());
        list_entries(list_entries("ann"));
        get_operation(get_operation("ann", "order-1"));
        get_reservation(GetReservationRequest::default());
        list_reservations(list_reservations("ann"));
        list_grants(list_grants("ann"));
        get_caller(GetCallerRequest {});
        credit(deposit("ann", "order-1", 100));
        charge(charge("ann", "job-1", 10));
        refund(refund("ann", "refund-1", 5, NOBODYS));
        reverse(reverse("ann", "reversal-1", 5, NOBODYS));
        withdraw(withdraw("ann", "payout-1", 5));
        reserve(ReserveRequest::default());
        capture(CaptureRequest::default());
        release(ReleaseRequest::default());
        extend_reservation(ExtendReservationRequest::default());
        admin_credit(grant("ann", "grant-1", 5));
        set_account(set_account("ann", "decision-1", AccountState::Active));
        apply(ApplyRequest::default());
    }
    verdicts
}

/// The methods and who may call each, by the table in `docs/SECURITY.md`.
fn documented() -> BTreeMap<String, Vec<String>> {
    let page = fs::read_to_string("docs/SECURITY.md").unwrap();
    let rows = section(&page, "## Roles").lines().filter(|line| line.starts_with('|'));
    let mut rows = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let roles = rows.next().unwrap();
    let rows = rows.skip(1).flat_map(|row| {
        let may = row.iter().zip(&roles).skip(1).filter(|(cell, _)| **cell == "yes");
        let may: Vec<_> = may.map(|(_, role)| role.trim_matches('`').to_owned()).collect();
        let methods = row[0].split(", ").map(|name| name.trim_matches('`').to_owned());
        methods.map(|method| (method, may.clone())).collect::<Vec<_>>()
    });
    rows.collect()
}

/// The name of a method as the proto has it: `AdminCredit` of `admin_credit`.
fn proto_name(method: &str) -> String {
    method.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_its_roles_may_by_the_table_in_the_documentation_and_nothing_else() {
    on_a_book(async |book| {
        let sets = [
            "reader",
            "coordinator",
            "admin",
            "reader,coordinator",
            "reader,admin",
            "admin,coordinator",
            "reader,coordinator,admin",
        ];
        let tokens: Vec<_> =
            sets.iter().enumerate().map(|(number, roles)| new_token(&format!("c{number}"), roles)).collect();
        let lines: String = tokens.iter().map(|(_, line)| line.as_str()).collect();
        let (service, _dir) = book.serve_to(&lines, &[]);
        let mut client = service.client().await;
        let unauthenticated = (Code::Unauthenticated, "UNAUTHENTICATED".to_owned());
        for token in [None, Some("billing_wrong"), Some(&tokens[2].0[..20])] {
            for (method, verdict) in let_in(&mut client, token).await {
                assert_eq!(verdict.as_ref(), Err(&unauthenticated), "{method} with {token:?}");
            }
        }
        let documented = documented();
        for (roles, (token, _)) in sets.iter().zip(&tokens) {
            let verdicts = let_in(&mut client, Some(token)).await;
            assert_eq!(verdicts.len(), documented.len());
            for (method, verdict) in verdicts {
                let needed = &documented[&proto_name(method)];
                let expected = if roles.split(',').any(|role| needed.iter().any(|other| other == role)) {
                    Ok(())
                } else {
                    Err((Code::PermissionDenied, "PERMISSION_DENIED".to_owned()))
                };
                assert_eq!(verdict, expected, "{method} as {roles}");
            }
        }
        for malformed in ["Basic YTpi", "Bearer", &tokens[2].0] {
            let call = with_header("authorization", malformed, deposit("ann", "order-2", 1));
            assert_eq!(reason(client.credit(call).await), unauthenticated, "{malformed}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_told_its_own_name_and_roles_and_who_needs_no_credentials_has_all() {
    on_a_book(async |book| {
        let (token, line) = new_token("ops", "admin,coordinator");
        let (service, _dir) = book.serve_to(&line, &[]);
        let caller =
            service.client().await.get_caller(with_token(&token, GetCallerRequest {})).await.unwrap();
        let expected = |name: &str, roles: &[&str]| GetCallerResponse {
            caller: name.into(),
            roles: roles.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(caller.into_inner(), expected("ops", &["coordinator", "admin"]));
        let open = book.serve().await;
        let caller = open.client().await.get_caller(GetCallerRequest {}).await.unwrap().into_inner();
        assert_eq!(caller, expected("", &["reader", "coordinator", "admin"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_refused_to_a_caller_who_may_not_make_the_call() {
    on_a_book(async |book| {
        let (ops, ops_line) = new_token("ops", "admin");
        let (web, web_line) = new_token("web", "coordinator");
        let (service, _dir) = book.serve_to(&(ops_line + &web_line), &[]);
        let mut client = service.client().await;
        let (entry, _) = client.admin_credit(with_token(&ops, grant("ann", "grant-1", 5))).await.answered();
        assert_eq!(entry.caller, "ops");
        let answer = client.admin_credit(with_token(&web, grant("ann", "grant-1", 5))).await;
        let metadata = refused(answer, Code::PermissionDenied, "PERMISSION_DENIED");
        assert_eq!((metadata["caller"].as_str(), metadata["needed"].as_str()), ("web", "admin"));
        let answer = client.credit(with_token(&ops, deposit("ann", "order-1", 5))).await;
        let message = answer.as_ref().unwrap_err().message().to_owned();
        assert_eq!(message, "Credit needs the role coordinator, and ops has admin");
        // Grants are an admin's only way to give money.
        let metadata = refused(answer, Code::PermissionDenied, "PERMISSION_DENIED");
        assert_eq!((metadata["roles"].as_str(), metadata["needed"].as_str()), ("admin", "coordinator"));
        let answer = client.admin_credit(grant("ann", "grant-1", 5)).await;
        refused(answer, Code::Unauthenticated, "UNAUTHENTICATED");
        let again = client.admin_credit(with_token(&ops, grant("ann", "grant-1", 5))).await.answered();
        assert_eq!(again, (entry, true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_the_caller_is_kept_with_its_entry_and_is_no_part_of_what_it_asked() {
    on_a_book(async |book| {
        let (web, web_line) = new_token("web", "coordinator");
        let (jobs, jobs_line) = new_token("jobs", "coordinator");
        let (service, _dir) = book.serve_to(&(web_line + &jobs_line), &[]);
        let mut client = service.client().await;
        let (first, _) = client.credit(with_token(&web, deposit("ann", "order-1", 5))).await.answered();
        let (second, _) = client.charge(with_token(&jobs, charge("ann", "job-1", 5))).await.answered();
        assert_eq!((first.caller.as_str(), second.caller.as_str()), ("web", "jobs"));
        let again = client.credit(with_token(&jobs, deposit("ann", "order-1", 5))).await.answered();
        assert_eq!(again, (first, true), "the key has one answer, whoever asks");
        let entries = client.list_entries(with_token(&web, list_entries("ann"))).await.unwrap();
        let entries = entries.into_inner().entries;
        assert_eq!(entries.iter().map(|entry| entry.caller.as_str()).collect::<Vec<_>>(), ["jobs", "web"]);
    })
    .await;
}

/// What a test does to a credentials file.
type Change = Box<dyn Fn(&Watched)>;

/// A service whose credentials file is a test's to change.
struct Watched {
    dir: Dir,
    service: Process,
    client: Client,
}

impl Watched {
    async fn start(book: &TestBook, credentials: &str) -> Self {
        let (service, dir) = book.serve_to(credentials, &["--metrics-listen", "127.0.0.1:0"]);
        let client = service.client().await;
        Self { dir, service, client }
    }

    /// Waits until a token is answered so.
    async fn until(&mut self, token: &str, expected: Code) {
        for _ in 0..100 {
            if code_with(&mut self.client, token).await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the change of the credentials is not noticed");
    }

    /// Whether the metrics say that the file is in use whole; and how often it was not after a change.
    async fn reloads(&self) -> (bool, i64) {
        let text = get(self.service.metrics_address(), "/metrics").await;
        let value = |name: &str| figure(&text, &format!("billing_{name}{{files=\"credentials\"}}"));
        (value("last_reload_successful") == 1, value("reload_failures_total"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_read_again_when_they_change() {
    on_a_book(async |book| {
        let (old, old_line) = new_token("web", "coordinator");
        let (new, new_line) = new_token("web", "coordinator");
        let mut watched = Watched::start(book, &old_line).await;
        watched.client.credit(with_token(&old, deposit("ann", "order-1", 5))).await.answered();
        assert_eq!(code_with(&mut watched.client, &new).await, Code::Unauthenticated);

        watched.dir.write("credentials", &(old_line.clone() + &new_line));
        watched.until(&new, Code::Ok).await;
        assert_eq!(code_with(&mut watched.client, &old).await, Code::Ok, "both, while they change over");

        watched.dir.write("credentials", &new_line);
        watched.until(&old, Code::Unauthenticated).await; // over the connection that it had
        assert_eq!(code_with(&mut watched.client, &new).await, Code::Ok);
        assert_eq!(watched.reloads().await, (true, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_the_credentials_file_who_is_not_in_it_is_let_in_no_more() {
    on_a_book(async |book| {
        let (web, web_line) = new_token("web", "coordinator");
        let (other, other_line) = new_token("other", "coordinator");
        let mut watched = Watched::start(book, &web_line).await;
        watched.client.credit(with_token(&web, deposit("ann", "order-1", 5))).await.answered();
        let path = watched.dir.path().join("credentials");
        let text = |text: &str| -> Change {
            let text = text.to_owned();
            Box::new(move |watched| drop(watched.dir.write("credentials", &text)))
        };
        let removed = |then: fn(&Path)| -> Change {
            let path = path.clone();
            Box::new(move |_| {
                fs::remove_file(&path).unwrap();
                then(&path);
            })
        };
        for (change, others_stand) in [
            (text(""), false),
            (text(&(web_line.replace("sha256", "sha257") + &other_line)), true),
            (removed(|_| ()), false),
            (removed(|path| fs::create_dir(path).unwrap()), false),
            (removed(|path| assert!(run(Command::new("mkfifo").arg(path)).status.success())), false),
        ] {
            let (_, failures) = watched.reloads().await;
            change(&watched);
            watched.until(&web, Code::Unauthenticated).await;
            let expected = if others_stand { Code::Ok } else { Code::Unauthenticated };
            assert_eq!(code_with(&mut watched.client, &other).await, expected);
            assert_eq!(watched.reloads().await, (false, failures + 1));
            if path.is_dir() {
                fs::remove_dir(&path).unwrap();
            }
            watched.dir.write("credentials", &web_line);
            watched.until(&web, Code::Ok).await;
            assert_eq!(watched.reloads().await, (true, failures + 1));
        }
        let said = watched.service.log().all().join("\n");
        assert!(said.contains("line 1: the credential must be"), "{said}");
        let hash = web_line.split_once("sha256:").unwrap().1.trim();
        assert!(!said.contains(hash), "a line is named, and not quoted: {said}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credentials_file_that_is_away_for_a_moment_shuts_nobody_out() {
    on_a_book(async |book| {
        let (web, web_line) = new_token("web", "coordinator");
        let mut watched = Watched::start(book, &web_line).await;
        watched.client.credit(with_token(&web, deposit("ann", "order-1", 5))).await.answered();
        let path = watched.dir.path().join("credentials");
        // The service looks twice, half a second apart: at most one of the two falls into such a moment.
        for _ in 0..8 {
            fs::remove_file(&path).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            watched.dir.write("credentials", &web_line);
            tokio::time::sleep(Duration::from_millis(800)).await;
            assert_eq!(code_with(&mut watched.client, &web).await, Code::Ok);
        }
        assert_eq!(watched.reloads().await, (true, 0));
    })
    .await;
}

async fn code_with(client: &mut Client, token: &str) -> Code {
    let answer = client.get_account(with_token(token, get_account("ann"))).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_no_credentials_and_reflection_does() {
    on_a_book(async |book| {
        let (token, line) = new_token("tools", "reader");
        let (service, _dir) = book.serve_to(&line, &[]);
        health::check(&mut health::health(&service.url()).await, "liveness").await;
        let list = |arguments: &[&str]| {
            let grpcurl = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/grpcurl");
            let mut grpcurl = Command::new(grpcurl);
            let output = run(grpcurl.arg("-plaintext").args(arguments).args([&service.address, "list"]));
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        let refused = list(&[]);
        assert!(refused.contains("credentials are required"), "{refused}");
        let listed = list(&["-H", &format!("authorization: Bearer {token}")]);
        assert!(listed.contains("billing.v1.BillingService"), "{listed}");
    })
    .await;
}

/// A service with TLS and client certificates, and the authority that it trusts.
struct Guarded {
    dir: Dir,
    authority: Authority,
    service: Process,
}

impl Guarded {
    fn start(book: &TestBook, credentials: &str) -> Self {
        let (dir, authority) = (Dir::new(), Authority::new("ours"));
        let Issued { certificate, key } = authority.issue("billing.internal");
        let service = Process::serve(&[
            "--database-url",
            &book.url,
            "--credentials",
            &dir.write("credentials", credentials),
            "--tls-cert",
            &dir.write("cert.pem", &certificate),
            "--tls-key",
            &dir.write("key.pem", &key),
            "--tls-client-ca",
            &dir.write("ca.pem", &authority.pem()),
            "--metrics-listen",
            "127.0.0.1:0",
        ]);
        Self { dir, authority, service }
    }

    /// A client that trusts an authority, and has a certificate or not.
    async fn try_client(
        &self,
        trusted: &Authority,
        own: Option<&Issued>,
    ) -> Result<Client, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(trusted.pem()))
            .domain_name("billing.internal");
        if let Some(Issued { certificate, key }) = own {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Channel::from_shared(format!("https://{}", self.service.address)).unwrap();
        Ok(Client::new(endpoint.tls_config(tls).unwrap().connect().await?))
    }

    async fn client(&self, own: Option<&Issued>) -> Client {
        self.try_client(&self.authority, own).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_a_credential_if_it_is_good_and_its_name_is_known() {
    on_a_book(async |book| {
        let (token, line) = new_token("tool", "coordinator,admin");
        let credentials =
            format!("web coordinator dns:web.internal\njobs reader uri:spiffe://test/jobs\n{line}");
        let guarded = Guarded::start(book, &credentials);
        let ours = &guarded.authority;

        let mut web = guarded.client(Some(&ours.issue("web.internal"))).await;
        let (entry, _) = web.credit(deposit("ann", "order-1", 5)).await.answered();
        assert_eq!(entry.caller, "web");
        let answer = web.admin_credit(grant("ann", "grant-1", 5)).await;
        refused(answer, Code::PermissionDenied, "PERMISSION_DENIED");
        // A token that is sent decides, even beside a certificate.
        let (entry, _) = web.admin_credit(with_token(&token, grant("ann", "grant-1", 5))).await.answered();
        assert_eq!(entry.caller, "tool");
        let answer = web.credit(with_token("wrong", deposit("ann", "order-1", 5))).await;
        refused(answer, Code::Unauthenticated, "UNAUTHENTICATED");

        let mut jobs = guarded.client(Some(&ours.issue_for_uri("spiffe://test/jobs"))).await;
        assert_eq!(available(&mut jobs, "ann").await, 10);
        let answer = jobs.credit(deposit("ann", "order-1", 5)).await;
        assert_eq!(reason(answer), (Code::PermissionDenied, "PERMISSION_DENIED".into()), "not even a replay");

        let foreign = Authority::new("foreign");
        for (certificate, why) in [
            (None, "credentials are required"),
            (Some(ours.issue_expired("web.internal")), "expired"),
            (Some(foreign.issue("web.internal")), "UnknownIssuer"),
            (Some(ours.issue("other.internal")), "no name of the client certificate is known"),
            (Some(ours.issue_for_uri("web.internal:x")), "no name of the client certificate is known"),
        ] {
            let mut client = guarded.client(certificate.as_ref()).await;
            let answer = client.credit(deposit("ann", "order-1", 5)).await;
            let message = answer.as_ref().unwrap_err().message().to_owned();
            refused(answer, Code::Unauthenticated, "UNAUTHENTICATED");
            assert!(message.contains(why), "{message}");
            // Health is open to everybody, and a token lets in whoever has one.
            client.credit(with_token(&token, deposit("ann", "order-1", 5))).await.answered();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_when_they_change() {
    on_a_book(async |book| {
        let (token, line) = new_token("web", "coordinator");
        let guarded = Guarded::start(book, &(line + "jobs coordinator dns:jobs.internal"));
        let next = Authority::new("next");
        let theirs = next.issue("jobs.internal");
        let mut before = guarded.client(None).await;
        let mut held = guarded.client(Some(&guarded.authority.issue("jobs.internal"))).await;
        held.credit(deposit("ann", "order-0", 5)).await.answered();
        before.credit(with_token(&token, deposit("ann", "order-1", 5))).await.answered();
        assert!(guarded.try_client(&next, None).await.is_err(), "a server that is not trusted is not called");

        // First a certificate without its key, as for a moment in every change-over: nothing changes.
        let Issued { certificate, key } = next.issue("billing.internal");
        guarded.dir.write("cert.pem", &certificate);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        guarded.client(None).await.credit(with_token(&token, deposit("ann", "order-1", 5))).await.answered();
        let metrics = get(guarded.service.metrics_address(), "/metrics").await;
        let expiry = figure(&metrics, "billing_certificate_expiry_timestamp_seconds{files=\"tls\"}");
        let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        assert!((now..now + 3_600).contains(&expiry), "{expiry}");
        assert!(metrics.contains("billing_last_reload_successful{files=\"tls\"} 0"), "{metrics}");

        guarded.dir.write("key.pem", &key);
        guarded.dir.write("ca.pem", &next.pem());
        let mut client = waiting::until("the new certificates are used", async || {
            guarded.try_client(&next, Some(&theirs)).await.ok()
        })
        .await;
        let (entry, _) = client.credit(deposit("ann", "order-2", 5)).await.answered();
        assert_eq!(entry.caller, "jobs");
        // Nor is the old one on the connection that it had.
        refused(held.credit(deposit("ann", "order-0", 5)).await, Code::Unauthenticated, "UNAUTHENTICATED");
        before.credit(with_token(&token, deposit("ann", "order-1", 5))).await.answered();
        let mut client =
            guarded.try_client(&next, Some(&guarded.authority.issue("jobs.internal"))).await.unwrap();
        let answer = client.credit(deposit("ann", "order-3", 5)).await;
        assert_eq!(reason(answer), (Code::Unauthenticated, "UNAUTHENTICATED".into()), "no longer trusted");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_the_log_or_an_answer_at_any_level() {
    on_a_book(async |book| {
        let dir = Dir::new();
        let (token, line) = new_token("web", "coordinator");
        let url = book.url.replace("billing@", "billing:hunter2@");
        let mut serve = Process::command();
        serve.args(["--log-level", "trace", "--credentials", &dir.write("credentials", &line)]);
        serve.env("DATABASE_URL", url);
        let service = Process::start(serve).unwrap();
        let (log, mut client) = (service.log(), service.client().await);
        client.credit(with_token(&token, deposit("ann", "order-1", 5))).await.answered();
        let wrong = format!("{}x", &token[..token.len() - 1]);
        let status = client.credit(with_token(&wrong, deposit("ann", "order-1", 5))).await.unwrap_err();
        service.kill();
        let said = log.whole().join("\n") + &format!("{status:?}");
        assert!(said.contains("serving gRPC"), "{said}");
        for secret in [&token[8..], &wrong[8..], "hunter2"] {
            assert!(!said.contains(secret), "{secret} is in the log:\n{said}");
        }
    })
    .await;
}

#[test]
fn a_wrong_configuration_of_access_is_reported_whole_and_before_anything_is_served() {
    let dir = Dir::new();
    let Issued { certificate, .. } = Authority::new("ours").issue("billing.internal");
    let cert = dir.write("cert.pem", &certificate);
    let other_key = dir.write("key.pem", &Authority::new("ours").issue("billing.internal").key);
    let bad = dir.write("credentials", "web king sha256:abc\n");
    let report = |flags: &[&str]| {
        let mut serve = Process::command();
        let output = run(serve.args(["--database-url", "postgres://nobody@127.0.0.1:1/none"]).args(flags));
        let report = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{report}");
        report
    };
    for (flags, expected) in [
        (&["--listen", "0.0.0.0:0"][..], &["--listen must be a loopback address"][..]),
        (
            &["--credentials", "/nowhere", "--tls-cert", &cert],
            &["--credentials: cannot read /nowhere", "need each other"],
        ),
        (
            &["--credentials", &bad, "--tls-cert", &cert, "--tls-key", &other_key],
            &["line 1: a role", "--tls-cert: "],
        ),
        (&["--tls-client-ca", &cert], &["--tls-client-ca needs --tls-cert"]),
        (&["--tls-cert", &bad, "--tls-key", &bad], &["no certificate in PEM form"]),
        (
            &["--connection-age-max", "1ms", "--connections-max", "0"],
            &["--connection-age-max", "--connections-max"],
        ),
    ] {
        let report = report(flags);
        for line in expected {
            assert!(report.contains(line), "{flags:?}: {report}");
        }
    }
}
