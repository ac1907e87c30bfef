//! The image, without building one: the program in a root that has what the Dockerfile's last stage has, and no more.

mod dockerfile;
mod root;

use std::{fs, path::Path};

use tonic::Request;

use crate::support::{
    process::{Process, new_token},
    waiting::{ended, output, printed, run},
    wire::Wire,
    *,
};
use dockerfile::Dockerfile;
use root::Root;

const CREDENTIALS: &str = "/etc/billing/credentials";

#[tokio::test(flavor = "multi_thread")]
async fn in_the_image_the_program_migrates_serves_and_stops_without_rights_and_without_writing() {
    let Some(root) = Root::make() else { return };
    let book = TestBook::create_empty().await;
    let wire = Wire::open(&book.url).await; // the image has PostgreSQL's socket as little as a container has
    let (token, line) = new_token("checkout", "coordinator");
    root.mount(CREDENTIALS, &line);

    let version = printed(output(root.command(&["--version"])).await);
    assert!(version.starts_with(concat!("billing ", env!("CARGO_PKG_VERSION"), " (commit ")), "{version}");
    let mut migrate = root.command(&["migrate"]);
    migrate.env("DATABASE_URL", &wire.url);
    assert!(printed(output(migrate).await).starts_with("The schema is up to date now."));

    let mut serve = root.command(&[]);
    serve.env("DATABASE_URL", &wire.url).env("BILLING_CREDENTIALS", CREDENTIALS);
    serve.env("BILLING_ALLOW_UNSAFE_DATABASE", "true"); // the tests' own is
    // Free ports, since this is one machine for all.
    for port in ["BILLING_LISTEN", "BILLING_METRICS_LISTEN", "BILLING_HEALTH_LISTEN"] {
        serve.env(port, "0.0.0.0:0");
    }
    let service = Process::start(serve).unwrap_or_else(|log| panic!("it ended at its start: {log:#?}"));
    let port = service.address.rsplit_once(':').unwrap().1;
    let mut client = connect(&format!("http://127.0.0.1:{port}")).await;
    let mut credit = Request::new(deposit("ann", "order-1", 5));
    credit.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    client.credit(credit).await.answered();

    assert_has_no_rights(service.id());
    assert!(tokio::task::spawn_blocking(move || service.terminate()).await.unwrap().success());
    book.check().await;
}

/// Fails unless a process is user 65532, has no capability, and sees one read-only file system and no other.
fn assert_has_no_rights(process: u32) {
    let of_process = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).unwrap();
    let status = of_process("status");
    for line in
        ["Uid:\t65532\t65532\t65532\t65532", "Gid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000"]
    {
        assert!(status.lines().any(|is| is == line), "{line}: {status}");
    }
    let mounts = of_process("mounts");
    let options: Vec<&str> = mounts.lines().filter_map(|mount| mount.split_whitespace().nth(3)).collect();
    assert!(matches!(options[..], [options] if options.starts_with("ro")), "{mounts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_by_itself_refuses_to_listen_without_credentials() {
    let Some(root) = Root::make() else { return };
    let mut serve = root.command(&[]);
    serve.env("DATABASE_URL", "postgres://billing@127.0.0.1:1/billing");
    let (_, said) = ended(output(serve).await, 64);
    assert!(said.contains("--listen must be a loopback address, since there are no --credentials"), "{said}");
}

#[test]
fn all_that_the_build_copies_is_there_and_is_all_that_docker_is_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfile = Dockerfile::read();
    let mut copied: Vec<&str> = dockerfile.build().copies().flat_map(|(from, _)| from).collect();
    let ignore = fs::read_to_string(root.join(".dockerignore")).unwrap();
    let mut shown: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"), "all else is kept away");
    copied.sort_unstable();
    shown.sort_unstable();
    assert_eq!(copied, shown);
    assert!(copied.into_iter().all(|path| root.join(path).exists()));
}

#[test]
fn the_image_is_built_with_the_revision_that_it_is_labelled_with() {
    let dockerfile = Dockerfile::read();
    assert_eq!(dockerfile.build().one("ARG"), "REVISION=unknown");
    let build = dockerfile.build().one("RUN");
    assert!(build.contains("BILLING_COMMIT=\"$REVISION\" cargo build"), "{build}");
}

#[test]
fn the_ports_and_variables_of_the_image_are_those_of_the_program() {
    let (dockerfile, help) = (Dockerfile::read(), printed(run(Process::command().arg("--help"))));
    let image = dockerfile.last();
    let exposed: Vec<&str> = image.one("EXPOSE").split_whitespace().collect();
    for (name, address) in image.environment() {
        assert!(help.contains(&format!("[env: {name}=")), "{name}");
        assert!(exposed.contains(&address.rsplit_once(':').unwrap().1), "{address} is not exposed");
    }
}
