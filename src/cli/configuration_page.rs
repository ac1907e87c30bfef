//! `docs/CONFIGURATION.md`: its tables are what clap knows of the commands and their flags.

use std::{env, fs, path::Path};

use clap::{Arg, Command, CommandFactory as _};

use super::Cli;

const BEGIN: &str = "<!-- flags:begin, by BLESS=1 cargo test --lib configuration_page -->\n";
const END: &str = "<!-- flags:end -->\n";

/// The part of the page between its marks: a section for each command, and a table for each group of its flags.
fn tables() -> String {
    let mut program = Cli::command();
    program.build();
    let everywhere = flags(&program).filter(|flag| flag.is_global_set());
    let mut page = table("## Every command", "", everywhere);
    for command in program.get_subcommands() {
        section(&mut page, command, "billing");
    }
    page
}

fn section(page: &mut String, command: &Command, parent: &str) {
    let name = format!("{parent} {}", command.get_name());
    let mut headings: Vec<Option<&str>> = own_flags(command).map(Arg::get_help_heading).collect();
    headings.dedup();
    let mut title = format!("## `{name}`");
    let mut about = format!("{}.\n\n", command.get_about().expect("every command has a help text"));
    for heading in headings {
        if let Some(heading) = heading {
            page.push_str(format!("{title}\n\n{about}").trim_start());
            (title, about) = (format!("### {heading}"), String::new());
        }
        let group = own_flags(command).filter(|flag| flag.get_help_heading() == heading);
        page.push_str(&table(&title, &about, group));
        (title, about) = Default::default();
    }
    for command in command.get_subcommands() {
        section(page, command, &name);
    }
}

fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|flag| !matches!(flag.get_id().as_str(), "help" | "version"))
}

fn own_flags(command: &Command) -> impl Iterator<Item = &Arg> {
    flags(command).filter(|flag| !flag.is_global_set())
}

fn table<'a>(title: &str, about: &str, flags: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = flags.map(row).collect();
    format!("{title}\n\n{about}| flag | variable | default | |\n|---|---|---|---|\n{rows}\n")
}

fn row(flag: &Arg) -> String {
    let value = flag.get_value_names().filter(|_| flag.get_action().takes_values());
    let value = value.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let name = flag.get_long().map(|long| format!("--{long} ")).unwrap_or_default();
    let variable = flag.get_env().map(|name| format!("`{}`", name.display())).unwrap_or_default();
    let help = flag.get_help().expect("every flag has a help text").to_string().replace('|', "\\|");
    let (help, default) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.trim_end_matches('.'), default.trim_end_matches(']').to_owned()),
        None => (help.as_str(), default(flag)),
    };
    format!("| `{}` | {variable} | {default} | {help} |\n", format!("{name}{value}").trim_end())
}

fn default(flag: &Arg) -> String {
    let values = flag.get_default_values().iter().filter(|_| flag.get_action().takes_values());
    let values: Vec<_> = values.map(|value| format!("`{}`", value.display())).collect();
    if flag.is_required_set() { "required".to_owned() } else { values.join(" ") }
}

#[test]
fn the_tables_of_the_page_are_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let tables = tables();
    if env::var_os("BLESS").is_some() {
        fs::write(path, format!("{before}{BEGIN}\n{tables}{END}{after}")).unwrap();
        return;
    }
    let differs = tables.lines().zip(written.trim_start().lines()).find(|(program, page)| program != page);
    assert!(
        written.trim_start() == tables,
        "docs/CONFIGURATION.md is out of date; renew it with BLESS=1 cargo test --lib configuration_page: {differs:?}"
    );
}
