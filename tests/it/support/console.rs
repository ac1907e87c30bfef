//! The `console` blocks of a page: commands, and what they print.

/// The commands of a page, each with what it prints by the page.
pub fn commands(page: &str) -> Vec<(String, String)> {
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let parts = blocks.flat_map(|block| {
        let parts: Vec<String> = format!("\n{block}").split("\n$ ").skip(1).map(str::to_owned).collect();
        parts
    });
    parts.map(|part| split_command(&part)).collect()
}

/// A command, which goes on after a line that ends in a backslash or inside quotes, and what it prints.
fn split_command(part: &str) -> (String, String) {
    let mut lines = part.lines();
    let mut command = lines.next().unwrap().to_owned();
    let is_open = |command: &str, quote| command.matches(quote).count() % 2 == 1;
    while command.ends_with('\\') || is_open(&command, '\'') || is_open(&command, '"') {
        command = format!("{command}\n{}", lines.next().unwrap());
    }
    (command, lines.collect::<Vec<_>>().join("\n"))
}

/// The text with each time of a JSON answer and the speed of an audit blanked, and without blanks at its end.
pub fn without_times(text: &str) -> String {
    let blanked = text.lines().map(|line| match line.split_once("Time\": \"") {
        Some((name, _)) => format!("{name}Time\""),
        None if line.ends_with(" entries per second") => "entries per second".to_owned(),
        None => without_refused_time(line.trim_end()),
    });
    blanked.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// The line with the time of a refusal blanked, which stands among the metadata of an error.
fn without_refused_time(line: &str) -> String {
    let Some((before, rest)) = line.split_once("refused_time\":") else { return line.to_owned() };
    let after = rest.splitn(3, '"').nth(2).unwrap_or_default();
    format!("{before}refused_time\":{after}")
}

/// The part of a page below a heading, up to the next heading of any kind.
pub fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    rest.split("\n#").next().unwrap()
}
